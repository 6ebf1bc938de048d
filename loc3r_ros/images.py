"""Pixels: from the encodings of sensor_msgs/Image and CompressedImage to RGB, and on to the size that a model wants.

Raw images: `decode` checks the header against the data, lays a view over it (row padding and byte order included) and
converts it only where it is not RGB already. Colours are those of cv_bridge: YUV is BT.601 in video range (luma
16..235), 16 bits become 8 by rounding v * 255 / 65535. Whatever is wrong with a message ends in an `ImageError`.

Resizing: SigLIP and CUT3R were trained behind Pillow's filters, which OpenCV's do not equal; each route here gives the
pixels of the reference loaders.
"""

from __future__ import annotations

import io
from array import array
from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from loc3r_ros.errors import ConfigError, ImageError
from loc3r_ros.interface import FloatArray, ImageArray

Data = bytes | bytearray | memoryview | array | npt.NDArray[np.uint8]
"""What holds the bytes of a message."""

MAX_PIXELS = 1 << 26
"""An image of more pixels than this (67 million) is a broken header, not a picture."""

_END_MARKS = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"IEND"}
"""How a JPEG and a PNG begin and end; older OpenCV fills what is missing of a truncated one with grey."""


@dataclass(frozen=True)
class _Encoding:
    """How an encoding lays out a row, and the OpenCV code that makes RGB of it (None: it is RGB).

    `chroma_rows` marks planar 4:2:0, where half as many rows again of interleaved chroma follow the rows of luma. Width
    and height must be multiples of `multiple` (width, height), and at least `smallest`.
    """

    channels: int
    code: int | None
    bits: int = 8
    chroma_rows: bool = False
    multiple: tuple[int, int] = (1, 1)
    smallest: int = 1


def _bayer(code: int, bits: int) -> _Encoding:
    return _Encoding(1, code, bits, smallest=3)  # OpenCV interpolates from 3 x 3 on and gives black below


_UYVY = _Encoding(2, cv2.COLOR_YUV2RGB_UYVY, multiple=(2, 1))
_YUYV = _Encoding(2, cv2.COLOR_YUV2RGB_YUYV, multiple=(2, 1))
_BAYER_CODES = {  # OpenCV names a pattern by the two pixels at (1, 1) and (1, 2), ROS by the first four
    "rggb": cv2.COLOR_BayerBG2RGB,
    "bggr": cv2.COLOR_BayerRG2RGB,
    "gbrg": cv2.COLOR_BayerGR2RGB,
    "grbg": cv2.COLOR_BayerGB2RGB,
}
_ENCODINGS: dict[str, _Encoding] = {
    "rgb8": _Encoding(3, None),
    "bgr8": _Encoding(3, cv2.COLOR_BGR2RGB),
    "rgba8": _Encoding(4, cv2.COLOR_RGBA2RGB),
    "bgra8": _Encoding(4, cv2.COLOR_BGRA2RGB),
    "mono8": _Encoding(1, cv2.COLOR_GRAY2RGB),
    "mono16": _Encoding(1, cv2.COLOR_GRAY2RGB, 16),
    "8UC1": _Encoding(1, cv2.COLOR_GRAY2RGB),
    "8UC3": _Encoding(3, cv2.COLOR_BGR2RGB),
    "8UC4": _Encoding(4, cv2.COLOR_BGRA2RGB),
    "yuv422": _UYVY,
    "uyvy": _UYVY,
    "yuv422_yuy2": _YUYV,
    "yuyv": _YUYV,
    "nv12": _Encoding(1, cv2.COLOR_YUV2RGB_NV12, chroma_rows=True, multiple=(2, 2)),
    "nv21": _Encoding(1, cv2.COLOR_YUV2RGB_NV21, chroma_rows=True, multiple=(2, 2)),
    **{f"bayer_{name}{bits}": _bayer(code, bits) for bits in (8, 16) for name, code in _BAYER_CODES.items()},
}
ENCODINGS = tuple(_ENCODINGS)
"""The encodings that `decode` knows. 8UC1, 8UC3 and 8UC4 are read as OpenCV means them: grey, BGR, BGRA."""

DEPTH_ENCODINGS = ("16UC1", "32FC1", "mono32")


def decode(
    data: Data, encoding: str, width: int, height: int, step: int, is_bigendian: bool | int = False
) -> ImageArray:
    """Return the RGB picture of a sensor_msgs/Image, as a view of `data` where it is RGB already.

    Args:
        data: the bytes; more of them than needed are ignored.
        encoding: one of `ENCODINGS`.
        width: pixels.
        height: pixels.
        step: bytes from one row to the next.
        is_bigendian: byte order of 16-bit encodings.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ImageError: the header is impossible or the data too short; the sentence says which.
    """
    layout = _layout(encoding)
    _check_size(width, height)
    if width % layout.multiple[0] or height % layout.multiple[1] or min(width, height) < layout.smallest:
        raise ImageError(
            f"An image in {encoding} cannot be {width} x {height} pixels: it needs at least {layout.smallest} each "
            f"way, and multiples of {layout.multiple[0]} x {layout.multiple[1]}. Check the camera driver."
        )
    pixels = _view(data, layout, encoding, width, height, step, bool(is_bigendian))
    if layout.code is None:
        return pixels
    try:
        rgb = cv2.cvtColor(pixels, layout.code)
    except cv2.error as error:
        raise ImageError(f"OpenCV cannot convert the {width} x {height} image from {encoding}: {error}.") from error
    if layout.bits == 16:
        rgb = cv2.convertScaleAbs(rgb, alpha=255.0 / 65535.0)
    return np.asarray(rgb, dtype=np.uint8)


def _layout(encoding: str) -> _Encoding:
    if encoding in DEPTH_ENCODINGS:
        raise ImageError(f"The encoding {encoding} is that of depth images: choose a topic with colour images.")
    if encoding not in _ENCODINGS:
        raise ImageError(f"Unknown image encoding {encoding[:40]!r}; known are {', '.join(ENCODINGS)}.")
    return _ENCODINGS[encoding]


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"The image is empty: its header says {width} x {height} pixels. Check the camera driver.")
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"The header says {width} x {height} pixels, more than the {MAX_PIXELS} allowed: it is broken, or the "
            f"image must be made smaller before it is sent."
        )


def _bytes(data: Data) -> memoryview:
    return memoryview(data).cast("B") if len(data) else memoryview(b"")  # type: ignore[arg-type]  # all are buffers


def _view(
    data: Data, layout: _Encoding, encoding: str, width: int, height: int, step: int, is_bigendian: bool
) -> npt.NDArray[Any]:
    """Lay (rows, width) or (rows, width, channels) over the bytes; 16 bits are copied into native order."""
    content = _bytes(data)
    row_bytes = width * layout.channels * layout.bits // 8
    rows = height + height // 2 if layout.chroma_rows else height
    if step < row_bytes:
        raise ImageError(
            f"The step of {step} bytes is too small for {width} pixels in {encoding}, which need {row_bytes}: the "
            f"camera driver fills `step` wrongly."
        )
    needed = (rows - 1) * step + row_bytes  # the last row may come without its padding
    if len(content) < needed:
        raise ImageError(
            f"The image data are truncated: {width} x {height} pixels in {encoding} with a step of {step} bytes need "
            f"{needed} bytes, and {len(content)} came. Check the camera driver and the network."
        )
    itemsize = layout.bits // 8
    dtype = np.dtype(np.uint8 if itemsize == 1 else (">u2" if is_bigendian else "<u2"))
    axes = 2 if layout.channels == 1 else 3
    shape, strides = (rows, width, layout.channels), (step, layout.channels * itemsize, itemsize)
    pixels: npt.NDArray[Any] = np.ndarray(shape[:axes], dtype, content, strides=strides[:axes])
    # OpenCV takes neither foreign byte order nor rows at odd addresses.
    return pixels if itemsize == 1 else np.ascontiguousarray(pixels, dtype=np.uint16)


def decode_compressed(data: Data, image_format: str = "") -> ImageArray:
    """Return the RGB picture of a sensor_msgs/CompressedImage. An EXIF orientation is ignored: cameras do not turn.

    Args:
        data: a JPEG, PNG or other still picture that OpenCV reads; what it is, its first bytes say.
        image_format: the message's `format` (such as "rgb8; jpeg compressed bgr8"), for refusals and error texts.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: not a picture, truncated, damaged or absurdly large. Flipped bits inside a JPEG go unnoticed, as the
            format has no checksum.
    """
    if "compressedDepth" in image_format:
        raise ImageError(f"The format {image_format!r} is that of depth images: choose a topic with colour images.")
    content = _bytes(data)
    _check_size(*_compressed_size(content, image_format))
    if _END_MARKS.get(bytes(content[:2]), b"") not in bytes(content[-4096:]):  # cameras pad behind it
        raise ImageError(f"The compressed image is truncated: its {len(content)} bytes lack the end of their format.")
    try:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        bgr = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(f"OpenCV cannot read the compressed image (format {image_format!r}): {error}.") from error
    if bgr is None:
        raise ImageError(f"The compressed image of {len(content)} bytes (format {image_format!r}) is damaged.")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr), dtype=np.uint8)


def _compressed_size(content: memoryview, image_format: str) -> tuple[int, int]:
    """Return width and height from the header of a compressed image, without decoding it."""
    try:
        with Image.open(io.BytesIO(content)) as picture:
            return picture.size
    except Exception as error:  # Pillow's readers raise whatever their parsing meets
        start = bytes(content[:8]).hex(" ") or "nothing"
        raise ImageError(
            f"The compressed image (format {image_format[:80]!r}, {len(content)} bytes, beginning with {start}) is no "
            f"JPEG, PNG or other still picture."
        ) from error


def stamp_to_ns(seconds: int, nanoseconds: int) -> int:
    """Return the stamp of a message (builtin_interfaces/Time) in ns.

    Raises:
        ImageError: it is negative or its nanoseconds are not under one second.
    """
    if seconds < 0 or not 0 <= nanoseconds < 1_000_000_000:
        raise ImageError(
            f"The stamp of {seconds} s and {nanoseconds} ns is no time: seconds must not be negative and nanoseconds "
            f"must be under 1000000000. Check the clock of the camera driver."
        )
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


# --- what the models see ----------------------------------------------------------------------------------------------

Cut3rRoute = Literal["512", "224", "vlm3r_432"]
"""How CUT3R is fed: the loader of its 512 or 224 checkpoint, or VLM-3R's way by SigLIP's 384 x 384 to 432 x 432."""

CUT3R_PATCH = 16

_FILTERS = getattr(Image, "Resampling", Image)  # Pillow 9.0 has the names in the module itself


def resize_siglip(image: ImageArray, size: int = 384) -> ImageArray:
    """Return the image squashed to (size, size, 3) by Pillow's bicubic filter, as SigLIP and the nano want it."""
    return np.asarray(Image.fromarray(image).resize((size, size), _FILTERS.BICUBIC))


def resize_cut3r(image: ImageArray, route: Cut3rRoute = "512") -> ImageArray | FloatArray:
    """Return the image at the size that CUT3R's reference loaders give it.

    Args:
        image: (H, W, 3) uint8 RGB.
        route: "512": the long side becomes 512, cropped to multiples of 16, a square to 512 x 384. "224": the short
            side becomes 224, cropped to a square. "vlm3r_432": squashed to 432 x 432.

    Returns:
        (H', W', 3) levels of 0..255: uint8, for "vlm3r_432" float32 since it interpolates between levels.

    Raises:
        ImageError: the image is so narrow that nothing of it is left.
        ConfigError: unknown route.
    """
    if route == "512":
        return _fit_long_side(image, 512)
    if route == "224":
        return _fit_square(image, 224)
    if route == "vlm3r_432":
        squashed = resize_siglip(image).astype(np.float32)
        return np.asarray(cv2.resize(squashed, (432, 432), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    raise ConfigError(f"Unknown CUT3R preprocessing {route!r}; known are {', '.join(get_args(Cut3rRoute))}.")


def _resize_long_side(image: ImageArray, long_side: int) -> Image.Image:
    height, width = image.shape[:2]
    longest = max(width, height)
    size = (round(width * long_side / longest), round(height * long_side / longest))
    if min(size) < 1:
        raise ImageError(f"The image of {width} x {height} pixels is too narrow for CUT3R.")
    resample = _FILTERS.LANCZOS if longest > long_side else _FILTERS.BICUBIC
    return Image.fromarray(image).resize(size, resample)


def _crop_centre(picture: Image.Image, half_width: int, half_height: int) -> ImageArray:
    x, y = picture.width // 2, picture.height // 2
    return np.asarray(picture.crop((x - half_width, y - half_height, x + half_width, y + half_height)))


def _fit_long_side(image: ImageArray, size: int) -> ImageArray:
    """Scale the long side to `size`, then crop to multiples of the patch; a square loses a quarter of its height."""
    picture = _resize_long_side(image, size)
    half_width, half_height = (side // 2 * 2 // CUT3R_PATCH * CUT3R_PATCH // 2 for side in picture.size)
    if picture.width == picture.height:
        half_height = 3 * half_width // 4
    if not (half_width and half_height):
        raise ImageError(f"The image of {image.shape[1]} x {image.shape[0]} pixels is too narrow for CUT3R.")
    return _crop_centre(picture, half_width, half_height)


def _fit_square(image: ImageArray, size: int) -> ImageArray:
    """Scale the short side to `size`, then crop the centre square."""
    height, width = image.shape[:2]
    picture = _resize_long_side(image, round(size * max(width / height, height / width)))
    half = min(picture.size) // 2
    return _crop_centre(picture, half, half)
