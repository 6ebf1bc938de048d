from dataclasses import replace

import numpy as np
import pytest

from loc3r_ros.geometry import camera_heading
from loc3r_ros.world import walk as walks
from loc3r_ros.world.camera import focal_length
from loc3r_ros.world.clearance import clearance, solids
from loc3r_ros.world.generate import make_scene
from loc3r_ros.world.render import Renderer
from loc3r_ros.world.sight import CLEAR_SHARE, sightings
from loc3r_ros.world.walk import make_walk

SEEDS = (*range(24), *range(1_000_000, 1_000_006))


@pytest.fixture(scope="module")
def walked():
    scenes = [make_scene(seed) for seed in SEEDS]
    renderers = [Renderer(scene) for scene in scenes]
    return [
        (scene, renderer, make_walk(scene, renderer, 32)) for scene, renderer in zip(scenes, renderers, strict=True)
    ]


def test_no_camera_comes_nearer_than_the_radius(walked):
    for scene, _, walk in walked:
        assert clearance(solids(scene), walk.position[:, :2]).min() > walks.RADIUS, scene.seed


def test_nothing_stands_between_two_frames(walked):
    share = np.linspace(0, 1, 9)[:, None]
    for scene, _, walk in walked:
        start, end = walk.position[:-1, None, :2], walk.position[1:, None, :2]
        between = (start + share * (end - start)).reshape(-1, 2)
        assert clearance(solids(scene), between).min() > walks.RADIUS, scene.seed


def test_steps_and_turns_stay_in_their_limits(walked):
    for _, _, walk in walked:
        assert np.hypot(*np.diff(walk.position[:, :2], axis=0).T).max() <= walks.MAX_STEP
        assert np.abs(np.diff(walk.yaw)).max() <= walks.MAX_TURN


def test_height_and_pitch_stay_in_their_limits_and_sway(walked):
    for _, _, walk in walked:
        for values, (low, high) in ((walk.position[:, 2], walks.HEIGHT), (walk.pitch, walks.PITCH)):
            assert low <= values.min() < values.max() <= high


def test_poses_have_the_headings_and_positions_of_the_walk(walked):
    for _, _, walk in walked[:3]:
        poses = walk.world_t_camera
        np.testing.assert_allclose(poses[:, :3, 3], walk.position)
        headings = [camera_heading(pose) for pose in poses]
        np.testing.assert_allclose(np.exp(1j * np.array(headings)), np.exp(1j * walk.yaw), atol=1e-9)
        np.testing.assert_allclose(poses[:, 2, 2], -np.sin(walk.pitch), atol=1e-9)


def test_walks_start_on_an_object_and_see_most(walked):
    shares = []
    for scene, renderer, walk in walked:
        frames = renderer.render(walk.world_t_camera, 64, 64, focal_length(64, 1.4), antialias=False)
        shown = sightings(frames.segmentation, len(scene.furniture))
        assert (shown.share[0] >= CLEAR_SHARE / 2).any(), f"seed {scene.seed} starts on a bare wall"
        shares.append(len(shown.seen) / len(scene.furniture))
    assert np.mean(shares) > 0.85


def test_walks_through_two_rooms_enter_both(walked):
    two = [(scene, walk) for scene, _, walk in walked if scene.doorway is not None]
    entered = [len(set(walk.position[:, 0] > scene.doorway.x)) == 2 for scene, walk in two]
    assert len(two) >= 5
    assert np.mean(entered) >= 0.8


def test_the_same_seed_walks_the_same_way():
    scene = make_scene(5)
    first, second = (make_walk(scene, Renderer(scene), 16) for _ in range(2))
    for name in ("position", "yaw", "pitch"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_a_scene_without_room_is_refused(monkeypatch):
    scene = make_scene(5)
    monkeypatch.setattr(walks, "RADIUS", 20.0)
    with pytest.raises(walks.WalkError, match="no place to stand"):
        make_walk(scene, Renderer(scene), 8)


def test_a_scene_without_furniture_is_refused():
    scene = replace(make_scene(5), furniture=())
    with pytest.raises(walks.WalkError, match="nothing to look at"):
        make_walk(scene, Renderer(scene), 8)
