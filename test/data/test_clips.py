"""Clips: pieces of walks and their mirror images, in which pictures, depths and poses still agree."""

import numpy as np
import pytest

from loc3r_ros.data.clips import Clip, ClipCutter, cut, mirrored
from loc3r_ros.data.videos import make_video
from loc3r_ros.world.draw import Draw


@pytest.fixture(scope="module")
def walk():
    video = make_video(3, 8, 32)
    return Clip(video.rgb, video.frames.depth, video.world_t_camera)


def world_points(clip):
    """Return the (N, H, W, 3) points that the pictures show."""
    v, u = np.mgrid[: clip.depth.shape[1], : clip.depth.shape[2]]
    rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(clip.camera_matrix).T
    points = clip.depth[..., None] * rays
    rotation, position = clip.world_t_camera[:, :3, :3], clip.world_t_camera[:, :3, 3]
    return np.einsum("nij,nhwj->nhwi", rotation, points) + position[:, None, None]


@pytest.mark.parametrize("frames", [2, 3, 8])
def test_a_clip_is_a_piece_of_the_walk(walk, frames):
    starts = set()
    for number in range(20):
        clip = cut(walk, frames, 3, Draw(0, f"clip {number}"))
        found = [int(np.flatnonzero((walk.world_t_camera == pose).all(axis=(1, 2)))[0]) for pose in clip.world_t_camera]
        steps = np.diff(found)
        assert len(clip.rgb) == frames and (steps == steps[0]).all() and 1 <= abs(steps[0]) <= 3
        assert (clip.rgb == walk.rgb[found]).all() and (clip.depth == walk.depth[found]).all()
        starts.add((found[0], int(steps[0])))
    assert len(starts) > 1


def test_a_mirror_shows_the_same_points_on_the_other_side(walk):
    points, other = world_points(walk), world_points(mirrored(walk))
    np.testing.assert_allclose(other[:, :, ::-1] * [-1, 1, 1], points, atol=1e-5)
    rotation = mirrored(walk).world_t_camera[:, :3, :3]
    np.testing.assert_allclose(np.linalg.det(rotation), 1.0, atol=1e-9)


def test_a_kept_walk_gives_the_same_clips(tmp_path):
    keeping, fresh = (ClipCutter.open(32, 6, 2, root) for root in (str(tmp_path), ""))
    for number in (1, 2):
        ours, other = (one.clip(3, 4, Draw(number, "clip")) for one in (keeping, fresh))
        assert (ours.rgb == other.rgb).all() and (ours.depth == other.depth).all()
        assert (ours.world_t_camera == other.world_t_camera).all()
    assert len(list(tmp_path.glob("*/3.npy"))) == 1
