"""Errors of places and of camera trajectories."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from loc3r_ros import geometry
from loc3r_ros.geometry import Array

POSITION_LIMITS = {"acc_0.5m": 0.5, "acc_1.0m": 1.0}
"""Metres (SQA3D, `utils/localization_metric.py`; arXiv 2603.18002)."""
HEADING_LIMITS = {"acc_15deg": 15.0, "acc_30deg": 30.0}
"""Degrees."""
ACCURACIES = (*POSITION_LIMITS, *HEADING_LIMITS)


def position_error(estimated: Array, true: Array) -> Array:
    """Return (N,) metres between the positions of (N, 3) poses x, y, heading."""
    return np.hypot(*(estimated[:, :2] - true[:, :2]).T)


def heading_error(estimated: Array, true: Array) -> Array:
    """Return (N,) degrees, 0 to 180, between the headings of (N, 3) poses."""
    return np.degrees(np.abs(geometry.angle_difference(estimated[:, 2], true[:, 2])))


def accuracies(metres: Array, degrees: Array) -> dict[str, npt.NDArray[np.bool_]]:
    """Return for each of ACCURACIES whether each error is under the limit (strictly, as SQA3D has it).

    Position and heading are judged apart.
    """
    by_position = {name: metres < limit for name, limit in POSITION_LIMITS.items()}
    return by_position | {name: degrees < limit for name, limit in HEADING_LIMITS.items()}


@dataclass(frozen=True)
class TrajectoryErrors:
    """How a camera's estimated poses differ from the true ones.

    The absolute errors are those of a robot that trusts the estimate: both trajectories begin at the same pose and
    nothing is aligned or scaled. N poses have N - 1 of each.

    Attributes:
        metres: (N - 1,) absolute translation errors.
        degrees: (N - 1,) absolute rotation errors.
        step_metres: (N - 1,) translation errors of the motion from pose to pose.
        step_degrees: (N - 1,) rotation errors of the same.
        aligned_metres: RMSE after the best rotation, translation and scale (ATE as in Sturm et al., IROS 2012).
        scale: factor on the estimate that this alignment needs.
        rigid_metres: RMSE after the best rotation and translation alone.
        still_metres: RMSE of the best constant position; `aligned_metres` is never above it.
    """

    metres: Array
    degrees: Array
    step_metres: Array
    step_degrees: Array
    aligned_metres: float
    scale: float
    rigid_metres: float
    still_metres: float


def trajectory_errors(estimated: Array, true: Array) -> TrajectoryErrors:
    """Compare two trajectories of (N, 4, 4) camera poses, N >= 2, each in a frame of its own."""
    from_first = [geometry.invert(poses[0]) @ poses for poses in (estimated, true)]
    steps = [np.array([geometry.relative(a, b) for a, b in pairwise(p)]) for p in (estimated, true)]
    points, target = estimated[:, :3, 3], true[:, :3, 3]
    scale, aligned = align(points, target)
    return TrajectoryErrors(
        *_errors(*(p[1:] for p in from_first)),
        *_errors(*steps),
        aligned_metres=_rms(aligned - target),
        scale=scale,
        rigid_metres=_rms(align(points, target, scaled=False)[1] - target),
        still_metres=_rms(target - target.mean(axis=0)),
    )


def _rms(difference: Array) -> float:
    """Return the root of the mean squared length of (N, 3) vectors."""
    return float(np.sqrt((difference**2).sum(axis=1).mean()))


def _errors(estimated: Array, true: Array) -> tuple[Array, Array]:
    """Return metres and degrees between (N, 4, 4) poses."""
    metres = np.linalg.norm(estimated[:, :3, 3] - true[:, :3, 3], axis=1)
    turns = [geometry.rotation_angle(geometry.relative(a, b)) for a, b in zip(estimated, true, strict=True)]
    return metres, np.degrees(turns)


def align(points: Array, target: Array, scaled: bool = True) -> tuple[float, Array]:
    """Return scale and (N, 3) `points` after the similarity that brings them closest to `target` (Umeyama, 1991).

    The scale is 1 where the points do not differ, or where `scaled` is false.
    """
    mean, target_mean = points.mean(axis=0), target.mean(axis=0)
    centred, centred_target = points - mean, target - target_mean
    left, singular, right = np.linalg.svd(centred_target.T @ centred)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right)) or 1.0])
    spread = float((centred**2).sum())
    scale = float((singular * signs).sum() / spread) if scaled and spread > 1e-12 else 1.0
    return scale, scale * centred @ ((left * signs) @ right).T + target_mean
