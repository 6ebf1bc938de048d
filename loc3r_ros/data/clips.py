"""Clips for the pose prior: pieces of walks, forwards or backwards, at several speeds, and their mirror images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loc3r_ros.world.draw import Draw


@dataclass(frozen=True, eq=False)
class Clip:
    """Which pictures of a walk a clip shows.

    Attributes:
        frames: (T,) indices, evenly spread, in the order of the walk or against it.
        mirrored: a mirror shows them: left is right, in the pictures and in the way that the camera takes.
    """

    frames: NDArray[np.intp]
    mirrored: bool


def cut(walk: int, frames: int, max_step: int, draw: Draw, backwards: bool = True) -> Clip:
    """Choose a piece of a walk.

    Args:
        walk: pictures of the walk, at least as many as the clip has.
        frames: of the clip, 2 or more.
        max_step: largest step between two pictures of the clip, in pictures of the walk.
        draw: decides.
        backwards: half of the clips go against the order of the walk.
    """
    step = 1 + draw.integer(min(max_step, (walk - 1) // (frames - 1)))
    start = draw.integer(walk - step * (frames - 1))
    chosen = start + step * np.arange(frames)
    return Clip(chosen[::-1] if draw.chance(0.5) and backwards else chosen, draw.chance(0.5))
