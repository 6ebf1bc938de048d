"""What can be seen from where: exact occlusion, whatever the furniture's shape, off small pictures of its ids."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loc3r_ros.geometry import Array, wrap_angle
from loc3r_ros.world.camera import look
from loc3r_ros.world.render import Renderer

VIEWS = 4
"""Square-on views of 90 degrees make a panorama."""
WIDTH, HEIGHT = 32, 48
"""Pixels of one view: it reaches 56 degrees up and down."""

CLEAR_SHARE = 0.006
"""Share of a picture (98 pixels of 128 x 128) from which a thing counts as seen."""
GLIMPSE_SHARE = 0.0005
"""Share of a picture below which a thing does not show."""


@dataclass(frozen=True, eq=False)
class Panoramas:
    """What P eyes see of F pieces of furniture when they turn on the spot.

    Attributes:
        segmentation: (P, HEIGHT, VIEWS * WIDTH) furniture id or surface code; columns turn counter-clockwise.
        bearing: (VIEWS * WIDTH,) world bearing of each column, radians.
    """

    segmentation: npt.NDArray[np.int16]
    bearing: Array

    def pixels(self, count: int) -> npt.NDArray[np.int64]:
        """Return (P, count, VIEWS * WIDTH): how many pixels of each column show furniture 0 .. count - 1."""
        eyes, _, columns = self.segmentation.shape
        eye, row, column = np.nonzero(self.segmentation >= 0)
        furniture = self.segmentation[eye, row, column]
        index = (eye * count + furniture) * columns + column
        return np.bincount(index, minlength=eyes * count * columns).reshape(eyes, count, columns)


def panoramas(renderer: Renderer, eyes: Array) -> Panoramas:
    """Look around from points.

    Args:
        renderer: of the scene.
        eyes: (P, 3) points in the world, metres.
    """
    yaws = [view * 2 * math.pi / VIEWS for view in range(VIEWS)]
    cameras = np.array([look(x, y, z, yaw) for x, y, z in eyes for yaw in yaws])
    seen = renderer.render(cameras, WIDTH, HEIGHT, WIDTH / 2, antialias=False).segmentation
    views = seen.reshape(len(eyes), VIEWS, HEIGHT, WIDTH)[..., ::-1]  # left to right is clockwise
    strip = views.transpose(0, 2, 1, 3).reshape(len(eyes), HEIGHT, VIEWS * WIDTH)
    across = np.arctan((np.arange(WIDTH) + 0.5 - WIDTH / 2) / (WIDTH / 2))
    return Panoramas(strip, wrap_angle(np.add.outer(yaws, across).ravel()))


@dataclass(frozen=True, eq=False)
class Sightings:
    """What a video of N frames shows of F pieces of furniture.

    Attributes:
        share: (N, F) share of the picture that shows each.
    """

    share: Array

    @property
    def seen(self) -> frozenset[int]:
        """Ids of the furniture that some frame shows clearly: language names nothing else."""
        return frozenset(np.flatnonzero((self.share >= CLEAR_SHARE).any(axis=0)).tolist())

    def first_clear(self, furniture: int) -> int:
        """Return the first frame that shows it clearly; it must have been seen."""
        return int(np.argmax(self.share[:, furniture] >= CLEAR_SHARE))

    def first_glimpse(self, furniture: int) -> int:
        """Return the first frame that shows any of it worth the name; it must have been seen."""
        return int(np.argmax(self.share[:, furniture] >= GLIMPSE_SHARE))


def sightings(segmentation: npt.NDArray[np.int16], count: int) -> Sightings:
    """Count what the segmentation (N, H, W) of a video shows of furniture 0 .. count - 1."""
    frames, height, width = segmentation.shape
    coded = np.where(segmentation < 0, count, segmentation) + (np.arange(frames) * (count + 1))[:, None, None]
    pixels = np.bincount(coded.ravel(), minlength=frames * (count + 1)).reshape(frames, count + 1)
    return Sightings(pixels[:, :count] / (height * width))
