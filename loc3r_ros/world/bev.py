"""Bird's-eye-view ground truth: where in the room each patch of an image lies.

The anchor frame lies on the floor under the first camera: x forward along that camera's yaw, y left, z up. It is
gravity aligned whatever the camera's pitch and roll (the bird's-eye view of arXiv 2603.18002).
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from loc3r_ros.geometry import Array, invert, world_t_anchor

MAX_SPREAD = 0.35
"""Largest standard deviation of x or y, metres, within a patch whose median still stands for one place."""


@dataclass(frozen=True)
class BevTargets:
    """What the layout head should say about each patch.

    Attributes:
        position: (N, rows, cols, 2) float32 median x, y of the patch's pixels, metres in the anchor frame.
        height: (N, rows, cols) float32 median z, metres above the floor.
        valid: (N, rows, cols) False where the patch spans a depth edge or has too few pixels with depth.
    """

    position: npt.NDArray[np.float32]
    height: npt.NDArray[np.float32]
    valid: npt.NDArray[np.bool_]


def anchor_poses(world_t_cameras: Array) -> Array:
    """Return (N, 4, 4) `anchor_t_camera` of cameras (N, 4, 4) in a world whose floor is z = 0."""
    return invert(world_t_anchor(world_t_cameras[0])) @ world_t_cameras


def patch_targets(depth: Array, anchor_t_camera: Array, intrinsics: Array, grid: tuple[int, int]) -> BevTargets:
    """Return the median place of every patch.

    Args:
        depth: (N, H, W) metres along the optical axis; 0 or not finite where nothing was hit.
        anchor_t_camera: (N, 4, 4) camera poses with optical axes.
        intrinsics: (3, 3) pinhole matrix; integer pixel coordinates are pixel centres.
        grid: patch rows and columns; H and W need not be their multiples.
    """
    frames = len(depth)
    places = np.empty((frames, *grid, 3), np.float32)
    valid = np.empty((frames, *grid), np.bool_)
    poses = np.ascontiguousarray(anchor_t_camera, np.float64)
    _patch_medians(np.ascontiguousarray(depth, np.float32), poses, np.linalg.inv(intrinsics), places, valid)
    return BevTargets(places[..., :2].copy(), places[..., 2].copy(), valid)


@numba.njit(cache=True)
def _patch_medians(depth, poses, rays, places, valid):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Fill `places` (N, rows, cols, 3) and `valid`; `rays` is the inverse of the pinhole matrix."""
    frames, height, width = depth.shape
    rows, cols = valid.shape[1:]
    points = np.empty((3, (height // rows + 1) * (width // cols + 1)))
    for frame in range(frames):
        turned = np.ascontiguousarray(poses[frame, :3, :3]) @ rays
        origin = poses[frame, :3, 3]
        for row in range(rows):
            top, bottom = row * height // rows, (row + 1) * height // rows
            for col in range(cols):
                left, right = col * width // cols, (col + 1) * width // cols
                count = 0
                for v in range(top, bottom):
                    for u in range(left, right):
                        z = depth[frame, v, u]
                        if 0 < z < np.inf:
                            for axis in range(3):
                                ray = turned[axis, 0] * u + turned[axis, 1] * v + turned[axis, 2]
                                points[axis, count] = origin[axis] + ray * z
                            count += 1
                enough = count > 0 and 2 * count >= (bottom - top) * (right - left)
                valid[frame, row, col] = (
                    enough
                    and _variance(points[0, :count]) < MAX_SPREAD**2
                    and _variance(points[1, :count]) < MAX_SPREAD**2
                )
                for axis in range(3):
                    places[frame, row, col, axis] = _median(points[axis, :count]) if count > 0 else 0.0


@numba.njit(cache=True)
def _variance(values):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    mean = 0.0
    for value in values:
        mean += value
    mean /= len(values)
    total = 0.0
    for value in values:
        total += (value - mean) ** 2
    return total / len(values)


@numba.njit(cache=True)
def _median(values):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return the median; reorders `values` (Hoare's selection)."""
    middle = len(values) // 2
    low, high = 0, len(values) - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while pivot < values[j]:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if j < middle:
            low = i
        if middle < i:
            high = j
    if len(values) % 2:
        return values[middle]
    below = values[0]
    for value in values[1:middle]:
        below = max(below, value)
    return (below + values[middle]) / 2
