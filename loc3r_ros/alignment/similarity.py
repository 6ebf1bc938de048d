"""A planar similarity fitted robustly to two sets of poses, with an honest covariance.

Maximum a posteriori: Gaussian noise of a nominal size that the residuals correct, the model's own metric scale as a
prior on log scale, poses beyond the 99.9 % gate left out (trimmed least squares). The prior on scale makes the
degenerate cases honest: whoever has not moved knows no scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loc3r_ros import geometry
from loc3r_ros.interface import FloatArray

SCALE_SIGMA = 0.2
"""Standard deviation of the log of the model's own metric scale."""
LARGEST_SCALE = 2.0
"""The scale lies between 1 / LARGEST_SCALE and LARGEST_SCALE; a fit at that bound is a failure."""
GATE = 16.27
"""Chi-square at 99.9 % for three degrees of freedom."""
FEWEST = 6
"""Residuals without which their correlation is not estimated."""
NOMINAL_WEIGHT = 4.0
"""Observations that the calibrated noise counts for beside the residuals."""
NOISE_BOUNDS = 0.05, 1.5
"""The noise of the prior, as a multiple of the calibrated one."""
FRESH = 1.5
"""Poses whose heading is at most so many times as uncertain as the best one's tell where the fit begins."""
ITERATIONS = 30


@dataclass(frozen=True)
class Fit:
    """A planar similarity from one set of poses to another.

    Attributes:
        similarity: (4,) x, y, heading, log scale.
        covariance: (4, 4) of it.
        residuals: (N, 3) x, y, heading.
        distances: (N,) squared Mahalanobis distances of the residuals.
    """

    similarity: FloatArray
    covariance: FloatArray
    residuals: FloatArray
    distances: FloatArray

    @property
    def is_outlier(self) -> npt.NDArray[np.bool_]:
        """(N,) whether a pose lies beyond the 99.9 % gate."""
        return self.distances > GATE


def fit_similarity(source: FloatArray, target: FloatArray, sigma: FloatArray) -> Fit:
    """Fit `target = similarity(source)`.

    Args:
        source: (N, 3) poses in the plane, N >= 1.
        target: (N, 3) of the same in another frame.
        sigma: (3,) or (N, 3) nominal noise of x, y, heading.
    """
    sigma = np.broadcast_to(sigma, source.shape)
    fresh = sigma[:, 2] <= FRESH * sigma[:, 2].min()  # the others are here to be explained, not to explain
    similarity, noise = _start(source[fresh], target[fresh]), 1.0
    prior, bound = np.diag([0.0, 0.0, 0.0, SCALE_SIGMA**-2]), math.log(LARGEST_SCALE)
    for _ in range(ITERATIONS):
        residuals, jacobian = _linearise(similarity, source, target)
        distances = ((residuals / sigma) ** 2).sum(axis=1)
        kept = distances <= max(GATE * noise**2, float(np.median(distances[fresh])))
        noise = _noise(distances[kept & fresh])
        whitened = (jacobian[kept] / (noise * sigma[kept])[..., None]).reshape(-1, 4)
        errors = (residuals[kept] / (noise * sigma[kept])).ravel()
        step = np.linalg.solve(whitened.T @ whitened + prior, whitened.T @ errors - prior @ similarity)
        similarity = similarity + step
        similarity[3] = np.clip(similarity[3], -bound, bound)
        if np.abs(step).max() < 1e-10:
            break
    residuals, jacobian = _linearise(similarity, source, target)
    information = whitened.T @ whitened / _redundancy(residuals[kept] / sigma[kept]) + prior
    similarity[2] = geometry.wrap_angle(similarity[2])
    distances = ((residuals / (noise * sigma)) ** 2).sum(axis=1)
    return Fit(similarity, np.linalg.inv(information), residuals, distances)


def placement_jacobian(turned: FloatArray, points: FloatArray) -> FloatArray:
    """Return (N, 3, 4), how placed poses change with x, y, heading and log scale; `turned` is scale times rotation."""
    lever = points @ turned.T
    jacobian = np.zeros((len(points), 3, 4))
    jacobian[:, 0, 0] = jacobian[:, 1, 1] = jacobian[:, 2, 2] = 1.0
    jacobian[:, 0, 2], jacobian[:, 1, 2] = -lever[:, 1], lever[:, 0]
    jacobian[:, :2, 3] = lever
    return jacobian


def _linearise(similarity: FloatArray, source: FloatArray, target: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the (N, 3) residuals and the (N, 3, 4) Jacobian of what is predicted."""
    turned = np.exp(similarity[3]) * geometry.rotation2(similarity[2])
    jacobian = placement_jacobian(turned, source[:, :2])
    residuals = target - source - (0.0, 0.0, similarity[2])
    residuals[:, :2] = target[:, :2] - similarity[:2] - source[:, :2] @ turned.T
    residuals[:, 2] = geometry.wrap_angle(residuals[:, 2])
    return residuals, jacobian


def _start(source: FloatArray, target: FloatArray) -> FloatArray:
    """Return a (4,) similarity that few outliers do not move: medians."""
    turns = geometry.angle_difference(target[:, 2], source[:, 2])
    heading = turns[np.abs(geometry.angle_difference(turns[:, None], turns)).sum(axis=1).argmin()]
    first, second = np.triu_indices(len(source), 1)
    there, here = (np.hypot(*(poses[first, :2] - poses[second, :2]).T) for poses in (target, source))
    is_long = (there > 0.5) & (here > 0.1)
    bound = math.log(LARGEST_SCALE)
    scale = np.clip(np.median(np.log(there[is_long] / here[is_long])), -bound, bound) if is_long.any() else 0.0
    turned = np.exp(scale) * geometry.rotation2(heading)
    return np.array([*np.median(target[:, :2] - source[:, :2] @ turned.T, axis=0), heading, scale])


def _noise(distances: FloatArray) -> float:
    """Return the noise as a multiple of the nominal one, which weighs as `NOMINAL_WEIGHT` observations."""
    freedom = max(0, 3 * len(distances) - 4)
    used = distances.sum() if freedom else 0.0
    return float(np.clip(math.sqrt((NOMINAL_WEIGHT + used) / (NOMINAL_WEIGHT + freedom)), *NOISE_BOUNDS))


def _redundancy(residuals: FloatArray) -> float:
    """Return how many neighbours say the same: (1 + r) / (1 - r), r the correlation of (N, 3) successive residuals."""
    energy = float((residuals**2).sum())
    if len(residuals) < FEWEST or energy == 0.0:
        return 1.0
    correlation = min(max(float((residuals[1:] * residuals[:-1]).sum()) / energy, 0.0), 0.9)
    return (1.0 + correlation) / (1.0 - correlation)
