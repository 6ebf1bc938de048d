"""Every encoding against a reference written here, and every kind of broken message."""

import array
import io
import math

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from loc3r_ros import images
from loc3r_ros.errors import ImageError

WIDTH, HEIGHT = 16, 12
BAYER = ("rggb", "bggr", "gbrg", "grbg")


def rgb_picture(seed=0, width=WIDTH, height=HEIGHT):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def message(rows, padding=0):
    """The bytes and the step of an image whose rows (H, ...) are followed by rubbish."""
    rows = np.ascontiguousarray(rows)
    flat = rows.reshape(len(rows), -1).view(np.uint8)
    rubbish = np.full((len(rows), padding), 0xA5, np.uint8)
    return np.hstack([flat, rubbish]).tobytes(), flat.shape[1] + padding


def decode(rows, encoding, padding=0, is_bigendian=False, width=WIDTH, height=HEIGHT):
    data, step = message(rows, padding)
    return images.decode(data, encoding, width, height, step, is_bigendian)


def bt601(y, u, v):
    """ITU-R BT.601, video range (luma 16..235, under it black; chroma 16..240); (H, W) each, to (H, W, 3) RGB."""
    y, u, v = (np.asarray(plane, np.float64) for plane in (y, u, v))
    luma = np.maximum(y - 16, 0) * 255 / 219
    red = luma + 255 / 224 * 1.402 * (v - 128)
    blue = luma + 255 / 224 * 1.772 * (u - 128)
    green = (luma - 0.299 * red - 0.114 * blue) / 0.587
    return np.clip(np.stack([red, green, blue], -1), 0, 255)


def yuv_planes(seed=1):
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8) for _ in range(3))


def mosaic(rgb, pattern):
    """Keep of each pixel the colour that a Bayer filter lets through."""
    channel = {"r": 0, "g": 1, "b": 2}
    result = np.empty(rgb.shape[:2], rgb.dtype)
    for i, colour in enumerate(pattern):
        row, column = divmod(i, 2)
        result[row::2, column::2] = rgb[row::2, column::2, channel[colour]]
    return result


@pytest.mark.parametrize("padding", [0, 5])
class TestColour:
    def test_packed_colours(self, padding):
        rgb = rgb_picture()
        alpha = np.full((HEIGHT, WIDTH, 1), 7, np.uint8)
        rows = {
            "rgb8": rgb,
            "bgr8": rgb[..., ::-1],
            "8UC3": rgb[..., ::-1],
            "rgba8": np.dstack([rgb, alpha]),
            "bgra8": np.dstack([rgb[..., ::-1], alpha]),
            "8UC4": np.dstack([rgb[..., ::-1], alpha]),
        }
        for encoding, pixels in rows.items():
            assert np.array_equal(decode(pixels, encoding, padding), rgb), encoding

    def test_grey(self, padding):
        grey = rgb_picture()[..., 0]
        for encoding in ("mono8", "8UC1"):
            assert np.array_equal(decode(grey, encoding, padding), np.dstack([grey] * 3)), encoding

    @pytest.mark.parametrize("is_bigendian", [False, True])
    def test_grey_of_16_bits_is_rounded_in_either_byte_order(self, padding, is_bigendian):
        deep = np.linspace(0, 65535, WIDTH * HEIGHT).astype(np.uint16).reshape(HEIGHT, WIDTH)
        expected = np.rint(deep * (255 / 65535)).astype(np.uint8)
        rows = deep.astype(">u2" if is_bigendian else "<u2")
        assert np.array_equal(decode(rows, "mono16", padding, is_bigendian), np.dstack([expected] * 3))

    @pytest.mark.parametrize(
        ("encoding", "order"), [("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuyv", "yuyv"), ("yuv422_yuy2", "yuyv")]
    )
    def test_yuv_with_half_the_chroma(self, padding, encoding, order):
        y, u, v = yuv_planes()
        chroma = np.empty((HEIGHT, WIDTH), np.uint8)
        chroma[:, 0::2], chroma[:, 1::2] = u[:, ::2], v[:, ::2]
        rows = np.dstack([chroma, y] if order == "uyvy" else [y, chroma])
        expected = bt601(y, u[:, ::2].repeat(2, 1), v[:, ::2].repeat(2, 1))
        assert np.abs(decode(rows, encoding, padding) - expected).max() <= 2

    @pytest.mark.parametrize("encoding", ["nv12", "nv21"])
    def test_yuv_with_a_quarter_of_the_chroma(self, padding, encoding):
        y, u, v = yuv_planes()
        quarter = [plane[::2, ::2] for plane in ((u, v) if encoding == "nv12" else (v, u))]
        rows = np.vstack([y, np.dstack(quarter).reshape(HEIGHT // 2, WIDTH)])
        expected = bt601(y, *(plane[::2, ::2].repeat(2, 0).repeat(2, 1) for plane in (u, v)))
        assert np.abs(decode(rows, encoding, padding) - expected).max() <= 2

    @pytest.mark.parametrize("pattern", BAYER)
    @pytest.mark.parametrize("bits", [8, 16])
    def test_bayer(self, padding, pattern, bits):
        """A smooth picture comes back; a wrong pattern would swap red and blue or shift the lattice."""
        x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
        rgb = np.dstack([40 + 8 * x, 200 - 6 * y, 20 + 4 * x + 5 * y]).astype(np.uint8)
        raw = mosaic(rgb, pattern)
        if bits == 16:
            raw = raw.astype(np.uint16) * 257
        decoded = decode(raw, f"bayer_{pattern}{bits}", padding)
        np.testing.assert_allclose(decoded[2:-2, 2:-2].astype(int), rgb[2:-2, 2:-2].astype(int), atol=1)

    def test_bayer_of_16_bits_in_big_endian(self, padding):
        raw = np.full((HEIGHT, WIDTH), 200 * 257, ">u2")
        assert (decode(raw, "bayer_rggb16", padding, is_bigendian=True) == 200).all()


def test_every_encoding_of_the_interface_is_known():
    wanted = ["rgb8", "bgr8", "rgba8", "bgra8", "mono8", "mono16"]
    wanted += ["yuv422", "uyvy", "yuyv", "yuv422_yuy2", "nv12", "nv21"]
    wanted += [f"bayer_{pattern}{bits}" for pattern in BAYER for bits in (8, 16)]
    assert set(wanted) <= set(images.ENCODINGS)


@pytest.mark.parametrize("encoding", images.ENCODINGS)
def test_the_shape_is_always_that_of_rgb(encoding):
    decoded = images.decode(bytes(4096), encoding, WIDTH, HEIGHT, 4 * WIDTH)
    assert (decoded.shape, decoded.dtype) == ((HEIGHT, WIDTH, 3), np.uint8)


class TestViews:
    @pytest.mark.parametrize("container", [bytes, bytearray, memoryview, lambda data: array.array("B", data)])
    @pytest.mark.parametrize("padding", [0, 3])
    def test_rgb_is_not_copied_whatever_holds_it(self, container, padding):
        data, step = message(rgb_picture(), padding)
        held = container(data)
        decoded = images.decode(held, "rgb8", WIDTH, HEIGHT, step)
        assert np.shares_memory(decoded, np.frombuffer(held, np.uint8))
        assert np.array_equal(decoded, rgb_picture())

    def test_a_numpy_array_is_not_copied_either(self):
        held = rgb_picture().reshape(-1)
        assert np.shares_memory(images.decode(held, "rgb8", WIDTH, HEIGHT, 3 * WIDTH), held)

    def test_the_last_row_may_lack_its_padding(self):
        data, step = message(rgb_picture(), 5)
        assert np.array_equal(images.decode(data[:-5], "rgb8", WIDTH, HEIGHT, step), rgb_picture())
        with pytest.raises(ImageError, match="truncated"):
            images.decode(data[:-6], "rgb8", WIDTH, HEIGHT, step)


class TestBrokenHeaders:
    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            ((b"", "rgb8", 4, 4, 12), r"truncated: .* need 48 bytes, and 0 came"),
            ((bytes(47), "rgb8", 4, 4, 12), r"truncated: .* need 48 bytes, and 47 came"),
            ((bytes(16), "nv12", 4, 4, 4), r"truncated: .* need 24 bytes, and 16 came"),
            ((bytes(48), "rgb8", 0, 4, 12), "empty: its header says 0 x 4"),
            ((bytes(48), "rgb8", 4, 0, 12), "empty: its header says 4 x 0"),
            ((bytes(48), "rgb8", 4, 4, 0), "step of 0 bytes is too small for 4 pixels in rgb8, which need 12"),
            ((bytes(48), "mono16", 4, 4, 7), "step of 7 bytes is too small"),
            ((bytes(48), "rgb9", 4, 4, 12), "Unknown image encoding 'rgb9'; known are rgb8, bgr8"),
            ((bytes(48), "", 4, 4, 12), "Unknown image encoding ''"),
            ((bytes(48), "16UC1", 4, 4, 8), "depth images"),
            ((bytes(48), "rgb8", 2**32 - 1, 2**32 - 1, 2**32 - 1), "more than the 67108864 allowed"),
            ((bytes(48), "uyvy", 3, 4, 6), "cannot be 3 x 4 pixels"),
            ((bytes(48), "nv12", 4, 3, 4), "cannot be 4 x 3 pixels"),
            ((bytes(48), "bayer_rggb8", 2, 2, 2), "at least 3"),
        ],
    )
    def test_the_sentence_names_the_cause(self, arguments, says):
        with pytest.raises(ImageError, match=says):
            images.decode(*arguments)

    @given(
        data=st.binary(max_size=300),
        encoding=st.one_of(st.sampled_from(images.ENCODINGS), st.text(max_size=12)),
        width=st.one_of(st.integers(0, 12), st.integers(0, 2**32 - 1)),
        height=st.one_of(st.integers(0, 12), st.integers(0, 2**32 - 1)),
        step=st.one_of(st.integers(0, 60), st.integers(0, 2**32 - 1)),
        is_bigendian=st.integers(0, 255),
    )
    @example(b"\0" * 300, "bayer_grbg16", 3, 3, 7, 1)
    @example(b"\0" * 300, "mono8", 1, 1, 2**32 - 1, 0)
    def test_no_header_raises_anything_else(self, data, encoding, width, height, step, is_bigendian):
        try:
            decoded = images.decode(data, encoding, width, height, step, is_bigendian)
        except ImageError as error:
            assert str(error).endswith(".")
        else:
            assert decoded.shape == (height, width, 3)


def jpeg(rgb, **options):
    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, "JPEG", quality=95, **options)
    return stream.getvalue()


def png(pixels):
    return cv2.imencode(".png", pixels)[1].tobytes()


SMOOTH = np.dstack([np.full((48, 64), value, np.uint8) for value in (200, 90, 30)])


class TestCompressed:
    @pytest.mark.parametrize("image_format", ["jpeg", "rgb8; jpeg compressed bgr8", ""])
    @pytest.mark.parametrize("container", [bytes, lambda data: array.array("B", data)])
    def test_jpeg_has_its_true_colours_whatever_the_format_says(self, image_format, container):
        decoded = images.decode_compressed(container(jpeg(SMOOTH)), image_format)
        np.testing.assert_allclose(decoded.astype(int), SMOOTH, atol=4)

    def test_png_is_exact(self):
        rgb = rgb_picture()
        assert np.array_equal(images.decode_compressed(png(rgb[..., ::-1]), "bgr8; png compressed bgr8"), rgb)

    def test_grey_alpha_and_16_bits_become_rgb(self):
        grey = rgb_picture()[..., 0]
        for pixels in (grey, grey.astype(np.uint16) * 257, np.dstack([grey] * 3 + [np.full_like(grey, 9)])):
            assert np.array_equal(images.decode_compressed(png(pixels)), np.dstack([grey] * 3))

    def test_an_exif_orientation_is_ignored(self):
        exif = Image.Exif()
        exif[0x0112] = 6  # turn by 90 degrees
        assert images.decode_compressed(jpeg(SMOOTH, exif=exif)).shape == SMOOTH.shape

    def test_padding_after_the_end_mark_is_allowed(self):
        assert images.decode_compressed(jpeg(SMOOTH) + bytes(64)).shape == SMOOTH.shape

    @pytest.mark.parametrize(
        "encoded", [jpeg(rgb_picture(0, 64, 48)), png(rgb_picture(0, 64, 48))], ids=["jpeg", "png"]
    )
    @pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98])
    def test_truncated_data_are_refused(self, encoded, share):
        with pytest.raises(ImageError, match=r"(truncated|no JPEG)"):
            images.decode_compressed(encoded[: int(share * len(encoded))], "jpeg")

    def test_what_is_no_picture_is_named_by_its_first_bytes(self):
        with pytest.raises(ImageError, match=r"'h264', 9 bytes, beginning with 00 00 00 01 67.* is no JPEG"):
            images.decode_compressed(b"\0\0\0\1\x67stuff"[:9], "h264")

    def test_depth_is_refused(self):
        with pytest.raises(ImageError, match="depth"):
            images.decode_compressed(jpeg(SMOOTH), "16UC1; compressedDepth png")

    def test_a_header_that_would_fill_the_memory_is_refused_unread(self):
        bomb = bytearray(png(np.zeros((4, 4, 3), np.uint8)))
        bomb[16:24] = (60000).to_bytes(4, "big") * 2
        with pytest.raises(ImageError):
            images.decode_compressed(bytes(bomb), "png")

    @given(st.binary(max_size=200), st.text(max_size=10))
    def test_random_bytes_raise_nothing_else(self, data, image_format):
        with pytest.raises(ImageError):
            images.decode_compressed(data, image_format)

    @given(
        st.sampled_from([jpeg(rgb_picture(0)), png(rgb_picture(0))]),
        st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=8),
        st.integers(0, 400),
    )
    def test_damaged_pictures_raise_nothing_else(self, encoded, flips, cut):
        damaged = bytearray(encoded)
        for position, value in flips:
            damaged[position % len(damaged)] = value
        try:
            decoded = images.decode_compressed(bytes(damaged[: len(damaged) - cut % len(damaged)]), "jpeg")
        except ImageError:
            return
        assert (decoded.ndim, decoded.shape[2], decoded.dtype) == (3, 3, np.uint8)


class TestStamps:
    @given(st.integers(0, 2**31 - 1), st.integers(0, 999_999_999))
    def test_stamps_are_whole_nanoseconds(self, seconds, nanoseconds):
        assert divmod(images.stamp_to_ns(seconds, nanoseconds), 10**9) == (seconds, nanoseconds)

    @pytest.mark.parametrize(("seconds", "nanoseconds"), [(-1, 0), (0, 10**9), (5, 2**32 - 1), (-(2**31), 5)])
    def test_others_are_refused(self, seconds, nanoseconds):
        with pytest.raises(ImageError, match="is no time"):
            images.stamp_to_ns(seconds, nanoseconds)

    def test_neighbours_do_not_collide(self):
        assert images.stamp_to_ns(1, 5) < images.stamp_to_ns(1, 500_000_000) < math.inf
