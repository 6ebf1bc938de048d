import numpy as np
import pytest

from loc3r_ros.engines.manifest import VideoSpec
from loc3r_ros.errors import ConfigError
from loc3r_ros.evaluation.clips import check_seeds, load_clip, parse_seeds
from loc3r_ros.geometry import transform_points
from loc3r_ros.world.sample import make_sample
from loc3r_ros.world.splits import Split

VIDEO = VideoSpec(image_size=32, rows=5, columns=5, newline="grid", frames=4, pixels_per_patch=6.0, tokens=31)


@pytest.fixture(scope="module")
def clip():
    return load_clip(1_100_003, 4, VIDEO)


def test_a_clip_is_what_the_model_takes(clip):
    assert clip.images.shape == (4, 32, 32, 3)
    assert clip.patches.shape == (4, 25, 2)
    assert clip.is_place.shape == (4, 25)
    assert len(clip.situations) > 0
    assert len(clip.questions) > 0
    np.testing.assert_allclose(clip.anchor_t_camera[0, :2, 3], 0.0, atol=1e-9)


def test_patches_leave_the_margin_out(clip):
    """Five patches of 6 pixels are 30 of 32: the patch in row r begins at pixel 6 r."""
    sample = make_sample(1_100_003, frames=4, width=32, height=32, grid=(5, 5))
    rays = np.linalg.inv(sample.camera_matrix)
    assert clip.is_place.sum() > 20
    for frame, patch in np.argwhere(clip.is_place):
        row, column = divmod(int(patch), 5)
        v, u = (axis.ravel() for axis in np.mgrid[6 * row : 6 * row + 6, 6 * column : 6 * column + 6])
        points = (rays @ np.stack([u, v, np.ones_like(u)])).T * sample.frames.depth[frame, v, u][:, None]
        middle = np.median(transform_points(clip.anchor_t_camera[frame], points)[:, :2], axis=0)
        np.testing.assert_allclose(clip.patches[frame, patch], middle, atol=1e-4)


def test_seeds_of_tests_and_validation():
    assert check_seeds(range(1_100_000, 1_100_200), (Split.TEST, Split.VALIDATION)) is Split.TEST
    assert check_seeds(range(1_000_000, 1_000_002), (Split.VALIDATION,)) is Split.VALIDATION


@pytest.mark.parametrize(
    ("seeds", "allowed", "words"),
    [
        (range(7, 9), (Split.TEST, Split.VALIDATION), "hold train scenes: use test scenes"),
        (range(999_999, 1_000_003), (Split.TEST, Split.VALIDATION), "hold train scenes"),
        (range(1_100_000, 1_100_009), (Split.VALIDATION,), "hold test scenes: use validation scenes"),
        (range(1_099_990, 1_100_009), (Split.TEST, Split.VALIDATION), "of two splits"),
        (range(1_100_000, 1_100_001), (Split.TEST,), "give two or more"),
        (range(9, 3), (Split.TEST,), "give two or more"),
    ],
)
def test_other_seeds_are_refused(seeds, allowed, words):
    with pytest.raises(ConfigError, match=words):
        check_seeds(seeds, allowed)


def test_ranges_of_seeds():
    assert parse_seeds("5:9") == range(5, 9)
    for text in ("5", "5:", "a:b", "-1:3", "1:2:3"):
        with pytest.raises(ConfigError, match="FIRST:END"):
            parse_seeds(text)
