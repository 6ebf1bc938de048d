"""From a camera's image to what the engines take."""

from __future__ import annotations

import numpy as np

from loc3r_ros import images
from loc3r_ros.engines.manifest import Manifest
from loc3r_ros.errors import ImageError
from loc3r_ros.interface import FloatArray, ImageArray
from loc3r_ros.memory import Frame


def prepare(
    manifest: Manifest,
    image: ImageArray,
    stamp: int,
    odometry: FloatArray | None,
    base_t_camera: FloatArray | None = None,
) -> Frame:
    """Resize an image for both engines.

    Args:
        manifest: of the engines.
        image: (H, W, 3) uint8 RGB of any size.
        stamp: ns.
        odometry: (4, 4) `odom_t_camera`, or None.
        base_t_camera: (4, 4) the camera on its robot, or None.

    Raises:
        ImageError: it is no such image, or the pose prior's route cannot make its size of it.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ImageError(f"An image must be an (H, W, 3) uint8 RGB array, not {found}.")
    if not image.size:
        raise ImageError(f"The image is empty: {image.shape[1]} x {image.shape[0]} pixels.")
    picture = images.resize_siglip(image, manifest.video.image_size)
    prior_picture = picture if manifest.pose_prior.route == "vlm3r" else cropped(manifest, image)
    return Frame(stamp, picture, prior_picture, patch_colours(manifest, picture), odometry, base_t_camera)


def cropped(manifest: Manifest, image: ImageArray) -> ImageArray:
    """Return the image as CUT3R's own loader gives it, (H, W, 3) uint8 of the engine's size."""
    size = manifest.pose_prior.image_size
    picture = images.resize_cut3r(image, "224" if size == (224, 224) else "512")
    if picture.shape[:2] != size:
        raise ImageError(
            f"A camera of {image.shape[1]} x {image.shape[0]} pixels gives the pose prior {picture.shape[1]} x "
            f"{picture.shape[0]}, but these engines are for {size[1]} x {size[0]}: export them again with "
            f"pose_prior.image_size {list(picture.shape[:2])}."
        )
    return picture.astype(np.uint8, copy=False)


def patch_colours(manifest: Manifest, picture: ImageArray) -> ImageArray:
    """Return the (patches, 3) uint8 mean colours of the patches of the vision engine's picture."""
    video = manifest.video
    rows, columns = (
        np.minimum(np.arange(count) * video.pixels_per_patch, video.image_size - 1).astype(np.intp)
        for count in (video.rows, video.columns)
    )
    sums = np.add.reduceat(np.add.reduceat(picture.astype(np.float32), rows, axis=0), columns, axis=1)
    heights, widths = (np.diff(np.append(starts, video.image_size)) for starts in (rows, columns))
    return (sums / (heights[:, None, None] * widths[None, :, None])).round().astype(np.uint8).reshape(-1, 3)
