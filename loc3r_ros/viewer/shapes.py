"""Outlines, meshes and colours, as arrays. Metres, radians, z up; the faces of a mesh are seen from above."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from loc3r_ros.interface import FloatArray, ImageArray

IntArray = npt.NDArray[np.int64]
Mesh = tuple[FloatArray, IntArray]
"""(V, 3) vertices and (F, 3) faces."""

ELLIPSE_POINTS = 64
BIN_POINTS = 4
"""Points on the arc of one heading bin."""
VIEW_AXES = np.array([(1.0, 0.0, 0.0), (0.0, 0.8, 0.6), (0.0, 0.6, -0.8)])
"""Right, up and forward of the overview."""
NEAREST_VIEW, MARGIN = 4.0, 1.1
"""Least distance of the overview, m, and how much farther away it is than it need be."""
SHARP = 0.5
"""m. A point of the layout with this standard deviation has half of its colour."""


def ellipse(covariance: FloatArray, sigmas: float) -> FloatArray:
    """Return the (64, 2) outline, around the origin, of the n-sigma ellipse of a (2, 2) covariance."""
    turn = np.linspace(0.0, 2.0 * np.pi, ELLIPSE_POINTS, endpoint=False)
    variances, axes = np.linalg.eigh(covariance)
    half_axes = axes * np.sqrt(np.maximum(variances, 0.0))
    if np.linalg.det(half_axes) < 0:
        half_axes[:, 0] *= -1  # counter-clockwise, so that its face is up
    outline: FloatArray = sigmas * np.stack([np.cos(turn), np.sin(turn)], axis=1) @ half_axes.T
    return outline


def rose(probabilities: FloatArray, radius: float) -> FloatArray:
    """Return the outline, around the origin, of a heading distribution; the area of a petal is its probability.

    Args:
        probabilities: (B,) of equal bins from -pi on, counter-clockwise.
        radius: of the likeliest petal, m.

    Returns:
        (4 B, 2) points.
    """
    width = 2.0 * np.pi / len(probabilities)
    starts = -np.pi + width * np.arange(len(probabilities))
    angles = (starts[:, None] + np.linspace(0.0, width, BIN_POINTS)).ravel()
    lengths = radius * np.sqrt(probabilities / max(float(probabilities.max()), 1e-12))
    return np.repeat(lengths, BIN_POINTS)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def sector(heading: float, half_angle: float, radius: float) -> FloatArray:
    """Return the (65, 2) outline of a sector whose corner is the origin; a half angle of pi gives a disc."""
    angles = heading + np.linspace(-1.0, 1.0, ELLIPSE_POINTS) * min(half_angle, np.pi)
    arc = radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.concatenate([np.zeros((1, 2)), arc])


def fan(outline: FloatArray, height: float = 0.0) -> Mesh:
    """Return the mesh of an (N, 2) outline, each point of which can be seen from the origin."""
    count = len(outline)
    vertices = np.column_stack([np.concatenate([np.zeros((1, 2)), outline]), np.full(count + 1, height)])
    rim = np.arange(count)
    return vertices, np.column_stack([np.zeros(count, np.int64), rim + 1, (rim + 1) % count + 1])


def prism(outline: FloatArray, height: float) -> Mesh:
    """Return the mesh between an (N, 2) outline on the floor and the same at a height; without the bottom."""
    count = len(outline)
    top, faces = fan(outline, height)
    bottom = np.column_stack([outline, np.zeros(count)])
    rim = np.arange(count)
    after = (rim + 1) % count
    low, high = count + 1, 1
    walls = np.concatenate(
        [
            np.column_stack([low + rim, low + after, high + after]),
            np.column_stack([low + rim, high + after, high + rim]),
        ]
    )
    return np.concatenate([top, bottom]), np.concatenate([faces, walls])


def arrow(length: float) -> FloatArray:
    """Return the (4, 2) outline of an arrow head around the origin, along x."""
    return length * np.array([(0.6, 0.0), (-0.4, 0.4), (-0.2, 0.0), (-0.4, -0.4)])


def loop(outline: FloatArray, height: float = 0.0) -> FloatArray:
    """Return the (N, 2, 3) segments around an (N, 2) outline."""
    ring = np.column_stack([outline, np.full(len(outline), height)])
    return np.stack([ring, np.roll(ring, -1, axis=0)], axis=1)


def polyline(points: FloatArray) -> FloatArray:
    """Return the (N - 1, 2, 3) segments between (N, 3) points."""
    return np.stack([points[:-1], points[1:]], axis=1)


def fade(colour: ImageArray, sigma: FloatArray, background: Sequence[int]) -> ImageArray:
    """Return (N, 3) uint8 colours that go over into the background where a point is uncertain.

    Args:
        colour: (N, 3) uint8 RGB.
        sigma: (N,) standard deviations, m; the share of a colour is 1 / (1 + (sigma / 0.5 m)^2).
        background: RGB.
    """
    share = 1.0 / (1.0 + (sigma[:, None] / SHARP) ** 2)
    return np.rint(share * colour + (1.0 - share) * np.asarray(background)).astype(np.uint8)


def surest(sigma: FloatArray, most: int) -> IntArray:
    """Return the indices of the `most` points with the smallest standard deviations, in their order."""
    if len(sigma) <= most:
        return np.arange(len(sigma))
    return np.sort(np.argpartition(sigma, most)[:most])


def fit(image: ImageArray, long_side: int) -> ImageArray:
    """Return an image whose longer side has so many pixels."""
    scale = long_side / max(image.shape[:2])
    height, width = (max(1, round(scale * size)) for size in image.shape[:2])
    method = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
    fitted: ImageArray = cv2.resize(image, (width, height), interpolation=method)  # type: ignore[assignment]
    return fitted


def overview(points: FloatArray, field_of_view: float, aspect: float) -> tuple[FloatArray, FloatArray]:
    """Return from where and at what to look, to see all points from the south, from above.

    Args:
        points: (N, 3), at least one.
        field_of_view: vertical, radians.
        aspect: width by height of the picture.

    Returns:
        (3,) position and (3,) point that is looked at, in the middle of the points.
    """
    centre = (points.min(axis=0) + points.max(axis=0)) / 2.0
    right, up, forward = VIEW_AXES
    across, height, depth = (
        np.abs((points - centre) @ right),
        np.abs((points - centre) @ up),
        (points - centre) @ forward,
    )
    slope = math.tan(field_of_view / 2.0)
    needed = np.maximum(height / slope, across / (slope * aspect)) - depth
    return centre - max(NEAREST_VIEW, MARGIN * float(needed.max())) * forward, centre
