"""The resizes, pixel by pixel as the reference loaders of the models make them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from loc3r_ros import images
from loc3r_ros.errors import ConfigError, ImageError


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.shared_data
def test_siglip_equals_llava_video(shared):
    with np.load(shared / "fixtures" / "llava_video" / "tiny_video.npz") as fixture:
        for raw, expected in zip(fixture["raw_frames"], fixture["frames_384"], strict=True):
            assert np.array_equal(images.resize_siglip(raw), expected)


def synthetic_picture(width, height):
    """The picture of the CUT3R fixture."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    planes = [7 * x + 3 * y, (x // 5) ^ (y // 9), x**2 // 17 + y**2 // 29]
    return (np.dstack(planes) % 256).astype(np.uint8)


@pytest.mark.shared_data
def test_cut3r_equals_its_loader_in_all_cases(shared):
    with np.load(shared / "fixtures" / "cut3r" / "preprocess.npz") as fixture:
        cases = fixture["sizes_in_w_h_size_out_w_h"]
        assert len(cases) == 28
        for width, height, size, out_width, out_height in cases:
            resized = images.resize_cut3r(synthetic_picture(width, height), str(size))
            key = f"{width}x{height}@{size}"
            assert resized.shape == (out_height, out_width, 3), key
            assert np.array_equal(resized[::32, ::32].transpose(2, 0, 1), fixture[f"{key}.px"]), key
            mean = resized.reshape(-1, 3).mean(axis=0) / 127.5 - 1.0
            np.testing.assert_allclose(mean, fixture[f"{key}.mean"], atol=1e-6, err_msg=key)


def bilinear(image, size):
    """Half-pixel centres, no antialias, borders repeated: torch's align_corners=False; (H, W, 3) to (size, size, 3)."""

    def along(axis_size):
        source = np.clip((np.arange(size) + 0.5) * axis_size / size - 0.5, 0, axis_size - 1)
        low = np.floor(source).astype(int)
        return low, np.minimum(low + 1, axis_size - 1), source - low

    (top, bottom, down), (left, right, across) = along(image.shape[0]), along(image.shape[1])
    rows = image[top] * (1 - down)[:, None, None] + image[bottom] * down[:, None, None]
    return rows[:, left] * (1 - across)[:, None] + rows[:, right] * across[:, None]


def test_vlm3r_goes_by_siglip_and_stays_between_the_levels():
    image = noise(90, 160)
    resized = images.resize_cut3r(image, "vlm3r_432")
    assert (resized.shape, resized.dtype) == ((432, 432, 3), np.float32)
    np.testing.assert_allclose(resized, bilinear(images.resize_siglip(image).astype(np.float64), 432), atol=1e-3)


@pytest.mark.parametrize("size", [64, 128, 384])
def test_siglip_is_pillows_bicubic_at_any_size(size):
    image = noise(120, 160)
    expected = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))
    assert np.array_equal(images.resize_siglip(image, size), expected)


@pytest.mark.parametrize("resize", [images.resize_siglip, images.resize_cut3r])
def test_rows_with_padding_and_read_only_views_will_do(resize):
    image = noise(120, 163)
    view = np.frombuffer(image.tobytes(), np.uint8).reshape(image.shape)[:, :160]
    assert np.array_equal(resize(view), resize(view.copy()))


@given(st.integers(1, 700), st.integers(1, 700), st.sampled_from(["512", "224", "vlm3r_432"]))
def test_an_image_of_any_size_gives_whole_patches_or_a_sentence(width, height, route):
    try:
        resized = images.resize_cut3r(np.zeros((height, width, 3), np.uint8), route)
    except ImageError as error:
        assert "too narrow" in str(error)
        assert max(width / height, height / width) > 16
    else:
        assert resized.shape[0] % 16 == resized.shape[1] % 16 == 0
        assert {"512": max(resized.shape) == 512, "224": resized.shape == (224, 224, 3)}.get(route, True)


def test_an_unknown_route_is_refused():
    with pytest.raises(ConfigError, match="known are 512, 224, vlm3r_432"):
        images.resize_cut3r(noise(8, 8), "256")
