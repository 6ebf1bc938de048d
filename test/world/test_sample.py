import hashlib
import json
import math
import time

import numpy as np
import pytest

from loc3r_ros.errors import ConfigError
from loc3r_ros.geometry import camera_heading, compose2, invert, project, transform_points
from loc3r_ros.world.camera import exposure_gains
from loc3r_ros.world.generate import GENERATOR_VERSION, make_scene
from loc3r_ros.world.render import Renderer
from loc3r_ros.world.sample import FIELD_OF_VIEW, camera_matrix, make_sample, make_text
from loc3r_ros.world.splits import Split
from loc3r_ros.world.walk import make_walk


def digest(sample):
    """Return everything that a sample says, as bytes and text."""
    arrays = (sample.frames.rgb, sample.frames.depth, sample.frames.segmentation, sample.anchor_t_camera)
    arrays += (sample.layout.position, sample.layout.height, sample.layout.valid)
    situations = [(one.text, one.pose.tobytes(), one.spread, one.ceiling) for one in sample.situations]
    return [array.tobytes() for array in arrays], situations, sample.questions


def test_a_seed_gives_the_same_bits_whatever_the_threads():
    first, second = (make_sample(7, frames=6, width=64, height=48, grid=(6, 8), threads=n) for n in (1, 2))
    assert digest(first) == digest(second)
    assert first.frames.rgb.shape == (6, 48, 64, 3)
    assert first.layout.position.shape == (6, 6, 8, 2)


def test_other_seeds_give_other_samples(samples):
    assert len({sample.frames.rgb.tobytes() for sample in samples}) == len(samples)


def test_seeds_outside_of_the_split_are_refused():
    with pytest.raises(ConfigError, match="belongs to the train split"):
        make_sample(7, Split.TEST)
    with pytest.raises(ConfigError, match="belongs to the validation split"):
        make_sample(1_000_000, Split.TRAIN)


@pytest.mark.parametrize("wrong", [{"frames": 1}, {"width": 8}, {"height": 20, "grid": (24, 8)}])
def test_sizes_that_cannot_be_are_refused(wrong):
    with pytest.raises(ConfigError, match=r"ask for"):
        make_sample(1, **wrong)


def test_the_anchor_is_under_the_first_camera(samples):
    for sample in samples:
        first = sample.anchor_t_camera[0]
        np.testing.assert_allclose(first[:2, 3], 0, atol=1e-9)
        assert camera_heading(first) == pytest.approx(0, abs=1e-9)
        assert first[2, 3] == pytest.approx(sample.world_t_camera[0, 2, 3])


def test_situations_are_in_the_anchor_frame(samples):
    """Their region, in the world, lies around their pose carried back to the world."""
    for sample in samples:
        for situation in sample.situations:
            pose = compose2(sample.world_t_anchor, situation.pose)
            off = np.hypot(*(situation.region.pose[:, :2] - pose[:2]).T)
            assert math.sqrt((off**2).mean()) == pytest.approx(situation.spread)


def corners_of(item):
    heights = (item.elevation, item.elevation + item.size[2])
    return np.vstack([np.column_stack([item.footprint, np.full(4, z)]) for z in heights])


def test_camera_matrix_and_poses_put_objects_where_the_pictures_show_them(samples):
    shown = 0
    for sample in samples[:3]:
        for pose, segmentation in zip(sample.world_t_camera, sample.frames.segmentation, strict=True):
            for item in sample.scene.furniture:
                v, u = np.nonzero(segmentation == item.id)
                if len(v) < 60 or min(u.min(), v.min()) == 0 or max(u.max(), v.max()) == 127:
                    continue
                in_camera = transform_points(invert(pose), corners_of(item))
                pixels, in_front = project(sample.camera_matrix, in_camera)
                assert in_front.all()
                assert (pixels.min(axis=0) <= [u.min() + 1, v.min() + 1]).all()
                assert (pixels.max(axis=0) >= [u.max() - 1, v.max() - 1]).all()
                shown += 1
    assert shown >= 40


def test_the_camera_sees_as_wide_as_it_says():
    matrix = camera_matrix(320, 200)
    edges, _ = project(matrix, np.array([[math.tan(FIELD_OF_VIEW / 2) * side, 0, 1] for side in (-1, 1)]))
    np.testing.assert_allclose(edges[:, 0], [-0.5, 319.5])


def test_text_alone_is_that_of_the_sample(samples):
    for sample in samples[::3]:
        situations, questions = make_text(sample.scene.seed)
        assert [one.text for one in situations] == [one.text for one in sample.situations]
        assert tuple(questions) == sample.questions


# The first 16 digits of the digest of each seed's walk and language. They change only together with GENERATOR_VERSION.
PINNED_VERSION = 1
PINNED = {7: "cd210c564a204449", 1_000_000: "a7a2c33aa6d04f83", 1_100_007: "b8a249b20f5ecc88"}


def language_digest(seed):
    scene = make_scene(seed)
    walk = make_walk(scene, Renderer(scene), 32)
    situations, questions = make_text(seed)
    numbers = [np.round(values, 3).tolist() for values in (walk.position, walk.yaw, walk.pitch)]
    numbers += [np.round(one.pose, 3).tolist() for one in situations]
    texts = [one.text for one in situations] + [(one.text, one.answer, one.situation) for one in questions]
    return hashlib.sha256(json.dumps([numbers, texts]).encode()).hexdigest()[:16]


@pytest.mark.parametrize("seed", PINNED)
def test_walks_and_words_of_a_seed_never_change_unnoticed(seed):
    """Guards the training data: who changes a sample raises GENERATOR_VERSION and pins the new digests here."""
    assert GENERATOR_VERSION == PINNED_VERSION
    assert language_digest(seed) == PINNED[seed]


@pytest.mark.slow
def test_truth_and_language_cost_at_most_as_much_as_the_pictures(samples):
    """CPU time of all but rendering against that of rendering with anti-aliasing (measured: 0.7 of it)."""
    pictures = everything = 0.0
    for sample in samples:
        renderer, gain = Renderer(sample.scene), exposure_gains(sample.scene.seed, 32)
        start = time.process_time()
        renderer.render(sample.world_t_camera, 128, 128, sample.camera_matrix[0, 0], gain=gain)
        rendered = time.process_time()
        make_sample(sample.scene.seed)
        pictures += rendered - start
        everything += time.process_time() - rendered
    assert everything - pictures < pictures
