"""Where the pose prior's trajectory places an anchor in the odometry, and whether the pose prior went wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from loc3r_ros import geometry
from loc3r_ros.alignment.anchors import Alignment
from loc3r_ros.alignment.dead_reckoning import OdometryNoise
from loc3r_ros.alignment.similarity import (
    GATE,
    LARGEST_SCALE,
    SCALE_SIGMA,
    Fit,
    fit_similarity,
)
from loc3r_ros.alignment.uncertainty import LARGEST_HEADING_SIGMA
from loc3r_ros.interface import FloatArray, Trajectory

CONSENSUS = 0.7
"""Part of the keyframes that must agree with the odometry."""
NEWEST = 2
"""So many newest keyframes, all beyond the gate, are a jump; one alone is an outlier."""
HALF = 6
"""Keyframes in either half of the memory without which a drift of the scale is not looked for."""
SCALE_DRIFT = math.log(1.25)
"""Smallest change of log scale within the memory that is called a drift."""
LONGEST_STEP = 60.0
"""s. A robot that takes longer from one keyframe to the next stood meanwhile, and its odometry did not drift."""
FASTEST = 3.0
"""m/s. Without odometry, a faster camera is a jump of the pose prior,"""
FASTEST_TURN = 3.0
"""rad/s, and so is one that turns faster,"""
SLACK = 1.0
"""m and rad, with so much allowed for noise."""


# --- gravity ----------------------------------------------------------------------------------------------------------


def levelled(anchor_t_cameras: FloatArray, odom_t_cameras: FloatArray) -> FloatArray:
    """Return cameras in an anchor frame whose z is up, as the odometry knows it.

    Each camera's pitch and roll in the odometry say where up is in the anchor frame; their mean is turned to z, about
    the first camera.

    Args:
        anchor_t_cameras: (N, 4, 4), optical axes.
        odom_t_cameras: (N, 4, 4) of the same cameras.
    """
    up = np.einsum("nij,nkj,k->i", anchor_t_cameras[:, :3, :3], odom_t_cameras[:, :3, :3], (0.0, 0.0, 1.0))
    up /= max(float(np.sqrt(up @ up)), 1e-9)
    if up[2] < 0.0:  # more than a right angle: such a prior is not put right by turning it
        return anchor_t_cameras
    x, y, _ = np.cross(up, (0.0, 0.0, 1.0))
    cross = np.array([[0.0, 0.0, y], [0.0, 0.0, -x], [-y, x, 0.0]])
    turn = geometry.make_pose(np.eye(3) + cross + cross @ cross / (1.0 + up[2]), np.zeros(3))
    pivot = geometry.make_pose(np.eye(3), anchor_t_cameras[0, :3, 3])
    return np.asarray(pivot @ turn @ geometry.invert(pivot) @ anchor_t_cameras)


def planar(cameras: FloatArray) -> FloatArray:
    """Return the (N, 3) places and headings of (N, 4, 4) cameras."""
    return np.array([(*camera[:2, 3], geometry.camera_heading(camera)) for camera in cameras])


# --- is the pose prior right? -----------------------------------------------------------------------------------------


def align(trajectory: Trajectory, noise: OdometryNoise | None = None) -> Alignment:
    """Return where the anchor lies in the odometry; at least one keyframe has odometry.

    Args:
        trajectory: the keyframes.
        noise: of the odometry; None is that of an ordinary robot.
    """
    known = np.isfinite(trajectory.odom_t_cameras[:, 0, 0])
    odometry, stamps = trajectory.odom_t_cameras[known], trajectory.stamps[known]
    source, target = planar(levelled(trajectory.anchor_t_cameras[known], odometry)), planar(odometry)
    sigma = _sigma(trajectory, target, stamps, noise or OdometryNoise())
    fit = fit_similarity(source, target, sigma)
    reason, wrong = _disagreement(fit)
    if not reason:
        reason, wrong = _scale_drift(source, target, sigma), len(stamps) // 2
    return Alignment(
        anchor_id=trajectory.anchor_id,
        target_t_anchor=fit.similarity[:3],
        scale=float(np.exp(fit.similarity[3])),
        covariance=fit.covariance + (spread(fit) if reason else 0.0),
        has_odometry=True,
        reason=reason,
        since=int(stamps[wrong]) if reason else None,
        keyframe_count=len(source),
        outlier_count=int(fit.is_outlier.sum()),
    )


def _sigma(
    trajectory: Trajectory, odometry: FloatArray, stamps: npt.NDArray[np.int64], noise: OdometryNoise
) -> FloatArray:
    """Return the (N, 3) noise of x, y, heading: that of the pose prior, and the odometry's drift from then to now.

    Args:
        trajectory: gives the noise of the pose prior.
        odometry: (N, 3) cameras in the plane.
        stamps: (N,) of them, ns.
        noise: of the odometry.
    """
    seconds = np.minimum(np.diff(stamps) / 1e9, LONGEST_STEP)
    turns = np.abs(geometry.angle_difference(odometry[1:, 2], odometry[:-1, 2]))
    steps = np.hypot(*np.diff(odometry[:, :2], axis=0).T)
    distance, turned, age = (np.append(np.cumsum(part[::-1])[::-1], 0.0) for part in (steps, turns, seconds))
    away = np.hypot(*(odometry[:, :2] - odometry[-1, :2]).T)
    heading = np.hypot(noise.heading_rate * age, noise.heading * np.sqrt(turned))
    place = np.sqrt(
        trajectory.position_sigma**2
        + (noise.scale * distance) ** 2
        + noise.position**2 * distance
        + (heading * away) ** 2
    )
    return np.column_stack([place, place, np.hypot(trajectory.heading_sigma, heading)])


def _disagreement(fit: Fit) -> tuple[str, int]:
    """Return what speaks against the pose prior: a jump, too few that agree, a scale that cannot be.

    Beside it stands the first keyframe with which to begin anew.
    """
    count, off = len(fit.distances), fit.is_outlier
    if count > NEWEST and off[-NEWEST:].all():
        gap = float(np.hypot(*np.median(fit.residuals[-NEWEST:, :2], axis=0)))
        turn = math.degrees(abs(float(fit.residuals[-1, 2])))
        text = f"The pose prior jumped: the newest keyframes are {gap:.2f} m and {turn:.0f} degrees off the odometry."
        return text, count - int(np.argmin(off[::-1])) if not off.all() else 0
    if (~off).mean() < CONSENSUS:
        return f"The pose prior disagrees with the odometry at {off.sum()} of {count} keyframes.", count // 2
    if abs(fit.similarity[3]) > math.log(LARGEST_SCALE) - 1e-6:
        return f"The scale of the pose prior is out of bounds: {math.exp(fit.similarity[3]):.2f}.", count // 2
    return "", 0


def _scale_drift(source: FloatArray, target: FloatArray, sigma: FloatArray) -> str:
    """Return whether the scale of the older half of the keyframes is another than that of the newer."""
    middle = len(source) // 2
    if middle < HALF:
        return ""
    halves = [fit_similarity(source[part], target[part], sigma[part]) for part in (slice(middle), slice(middle, None))]
    old, new = (half.similarity[3] for half in halves)
    deviation = math.sqrt(sum(half.covariance[3, 3] for half in halves))
    if abs(new - old) < max(math.sqrt(GATE) * deviation, SCALE_DRIFT):
        return ""
    return f"The scale of the pose prior drifts: from {math.exp(old):.2f} to {math.exp(new):.2f} within the memory."


def spread(fit: Fit) -> FloatArray:
    """Return the (4, 4) covariance of a similarity of which the residuals say that it is wrong."""
    variance = (fit.residuals**2).mean(axis=0)
    place = float(variance[:2].sum())
    return np.diag([place, place, min(variance[2], math.pi**2), SCALE_SIGMA**2])


@dataclass(frozen=True)
class Jump:
    """A step of the pose prior that no camera makes.

    Attributes:
        text: a sentence on it.
        after: number of the first keyframe behind it.
        metres: its length.
        radians: its turn.
    """

    text: str
    after: int
    metres: float
    radians: float


def prior_jump(trajectory: Trajectory, since: int = 0) -> Jump | None:
    """Return the last step from keyframe to keyframe with which the pose prior was faster than cameras are.

    Args:
        trajectory: the keyframes.
        since: keyframes before that stamp (ns) are left out.
    """
    pairs = pairwise(trajectory.anchor_t_cameras)
    seconds, late = np.diff(trajectory.stamps) / 1e9, trajectory.stamps[:-1] >= since
    motions = [motion(before, after) for before, after in pairs]
    wrong = [n for n, (step, turn) in enumerate(motions) if late[n] and is_too_fast(step, turn, seconds[n])]
    if not wrong:
        return None
    last = wrong[-1]
    (step, turn), lasted = motions[last], float(seconds[last])
    text = f"The pose prior jumped by {step:.1f} m and {math.degrees(turn):.0f} degrees in {lasted:.1f} s."
    return Jump(text, last + 1, step, turn)


def reach(seconds: float) -> tuple[float, float]:
    """Return how far a camera can have moved and turned (m, rad) in some seconds, as standard deviations."""
    return FASTEST * seconds, min(FASTEST_TURN * seconds, LARGEST_HEADING_SIGMA)


def motion(before: FloatArray, after: FloatArray) -> tuple[float, float]:
    """Return how many metres and radians lie between two (4, 4) cameras."""
    step = geometry.relative(before, after)
    return math.hypot(*step[:3, 3]), geometry.rotation_angle(step)


def is_too_fast(step: float, turn: float, seconds: float) -> bool:
    """Say whether no camera moves so many metres and radians in so many seconds."""
    return step > SLACK + FASTEST * seconds or turn > SLACK + FASTEST_TURN * seconds
