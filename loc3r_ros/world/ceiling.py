"""How well a perfect reader of a situation could answer: what the words leave open, no model can know."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np

from loc3r_ros.geometry import Array, circular_mean, wrap_angle
from loc3r_ros.world.viewpoints import Region


@dataclass(frozen=True)
class Ceiling:
    """Share of the poses consistent with a situation for which a reader who names their mean is right, 0..1."""

    acc_05m: float
    acc_10m: float
    acc_15deg: float
    acc_30deg: float


def best_guess(region: Region) -> Array:
    """Return the (3,) mean pose of a region: what a reader says who knows the whole floor plan but only these words."""
    return np.array([*region.pose[:, :2].mean(axis=0), circular_mean(region.pose[:, 2])])


def ceiling_of(region: Region) -> Ceiling:
    """Return the accuracy of the best guess over a region, all its poses being equally likely."""
    guess = best_guess(region)
    distance = np.hypot(*(region.pose[:, :2] - guess[:2]).T)
    turn = np.degrees(np.abs(wrap_angle(region.pose[:, 2] - guess[2])))
    return Ceiling(
        *(float((distance < limit).mean()) for limit in (0.5, 1.0)),
        *(float((turn < limit).mean()) for limit in (15, 30)),
    )


def mean_ceiling(ceilings: Iterable[Ceiling]) -> Ceiling:
    """Return the mean over situations: print it next to every localisation score."""
    every = list(ceilings)
    return Ceiling(*(float(np.mean([getattr(one, field.name) for one in every])) for field in fields(Ceiling)))
