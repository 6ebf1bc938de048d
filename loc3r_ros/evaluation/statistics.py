"""Means and medians with bootstrap intervals over scenes: what was asked in one scene is not independent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

DRAWS = 1000
LEVEL = 95.0
"""Percent of the bootstrap's draws that lie within an interval."""


@dataclass(frozen=True)
class Estimate:
    """A number and how it would vary with other scenes.

    Attributes:
        value: of all scenes; NaN where there is nothing to measure.
        draws: (DRAWS,) the same of scenes drawn with replacement.
        count: how many values it is made of.
    """

    value: float
    draws: Array
    count: int

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % percentile interval; NaN where there is nothing to measure."""
        if np.isnan(self.draws).all():
            return float("nan"), float("nan")
        low, high = np.nanpercentile(self.draws, [50 - LEVEL / 2, 50 + LEVEL / 2])
        return float(low), float(high)

    def __sub__(self, other: Estimate) -> Estimate:
        """Return the difference over the same scenes."""
        return Estimate(self.value - other.value, self.draws - other.draws, min(self.count, other.count))


@dataclass(frozen=True)
class Measured:
    """Values and the scene that each comes from.

    Attributes:
        value: (N,) measured values.
        scene: (N,) numbers of scenes, 0 to `scenes` - 1.
        scenes: how many scenes there are, with or without a value.
    """

    value: Array
    scene: npt.NDArray[np.int64]
    scenes: int

    def mean(self) -> Estimate:
        """Return the mean over all values."""
        drawn = resamples(self.scenes)
        sums, counts = (np.bincount(self.scene, weights, self.scenes) for weights in (self.value, None))
        draws = _ratio(drawn @ sums, drawn @ counts)
        return Estimate(float(_ratio(sums.sum(), counts.sum())), draws, len(self.value))

    def median(self) -> Estimate:
        """Return the median of all values; of an even number of them the lower of the two in the middle."""
        if not len(self.value):
            return Estimate(float("nan"), np.full(DRAWS, np.nan), 0)
        order = np.argsort(self.value, kind="stable")
        weight = np.vstack([np.ones(len(order)), resamples(self.scenes)[:, self.scene[order]]])
        passed = np.cumsum(weight, axis=1)
        middle = np.argmax(passed >= passed[:, -1:] / 2, axis=1)
        medians = np.where(passed[:, -1] > 0, self.value[order][middle], np.nan)
        return Estimate(float(medians[0]), medians[1:], len(order))

    def where(self, mask: npt.NDArray[np.bool_]) -> Measured:
        """Return the values where an (N,) mask holds, of as many scenes."""
        return Measured(self.value[mask], self.scene[mask], self.scenes)


def measured(groups: Sequence[npt.NDArray[np.floating]]) -> Measured:
    """Return the values of a list with one array for each scene."""
    scene = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    return Measured(np.concatenate([*groups, np.empty(0)]).astype(np.float64), scene, len(groups))


def mean_of(estimates: Sequence[Estimate]) -> Estimate:
    """Return the plain mean of some estimates over the same scenes; those of nothing are left out."""
    known = [one for one in estimates if one.count]
    if not known:
        return Estimate(float("nan"), np.full(DRAWS, np.nan), 0)
    draws = np.array([one.draws for one in known])
    counts = (~np.isnan(draws)).sum(axis=0)
    mean = float(np.mean([one.value for one in known]))
    return Estimate(mean, _ratio(np.nansum(draws, axis=0), counts), sum(one.count for one in known))


def resamples(scenes: int) -> Array:
    """Return (DRAWS, scenes) how often each draw takes each scene: the same draws for all metrics."""
    return np.random.default_rng(0).multinomial(scenes, np.full(scenes, 1 / scenes), DRAWS).astype(np.float64)


def _ratio(above: Array, below: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below > 0, above / below, np.nan)
