"""Whether an estimate knows how wrong it is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from loc3r_ros.geometry import Array

ELLIPSE_COVERAGE = {1: 1 - np.exp(-0.5), 2: 1 - np.exp(-2.0)}
"""Share of a normal distribution in the plane within its 1- and 2-sigma ellipses: 39.3 % and 86.5 %."""
NORMAL_COVERAGE = {1: float(special.erf(np.sqrt(0.5))), 2: float(special.erf(np.sqrt(2.0)))}
"""Share of a normal distribution on a line within 1 and 2 sigma: 68.3 % and 95.4 %."""
BINS = 10


def squared_mahalanobis(error: Array, covariance: Array) -> Array:
    """Return (N,) squared errors (N, 2) in units of their covariances (N, 2, 2)."""
    return np.einsum("ni,nij,nj->n", error, np.linalg.inv(covariance), error)


def ellipse_levels(squared: Array) -> Array:
    """Return the share of the predicted distribution that lies nearer than each error: even in 0..1 if it is honest.

    Args:
        squared: (N,) of `squared_mahalanobis`, of normal distributions in the plane.
    """
    return -np.expm1(-0.5 * squared)


def normal_levels(error: Array, sigma: Array) -> Array:
    """Return the same of errors (N,) on a line and their standard deviations (N,)."""
    return special.erf(np.abs(error) / (np.sqrt(2.0) * sigma))


def calibration_error(levels: npt.ArrayLike) -> float:
    """Return the expected calibration error of (N,) levels: 0 is honest, 0.5 the worst.

    The mean over all p of how far the share of errors within the predicted region of probability p is from p
    (Kuleshov et al., ICML 2018): the area between the two curves of a reliability diagram.
    """
    p = (np.arange(1000) + 0.5) / 1000
    within = np.searchsorted(np.sort(np.asarray(levels)), p, side="right") / np.size(levels)
    return float(np.abs(within - p).mean())


def confidence_error(confidence: Array, right: npt.NDArray[np.bool_]) -> float:
    """Return the expected calibration error of (N,) probabilities of being right (Guo et al., ICML 2017; ten bins)."""
    number = np.minimum((confidence * BINS).astype(int), BINS - 1)
    surplus = np.bincount(number, weights=confidence - right, minlength=BINS)
    return float(np.abs(surplus).sum() / len(confidence))


def rank_correlation(one: Array, other: Array) -> float:
    """Return Spearman's rank correlation of two (N,) arrays; NaN where one of them does not vary."""
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(stats.spearmanr(one, other).statistic)


def position_sigma(covariance: Array) -> Array:
    """Return (N,) metres: the rms standard deviation per axis of the positions of (N, 3, 3) covariances."""
    return np.sqrt(0.5 * (covariance[:, 0, 0] + covariance[:, 1, 1]))
