"""Where the pose prior's trajectory places an anchor in the odometry, and whether the pose prior went wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loc3r_ros import geometry
from loc3r_ros.alignment.dead_reckoning import OdometryNoise
from loc3r_ros.alignment.similarity import (
    GATE,
    LARGEST_SCALE,
    SCALE_SIGMA,
    Fit,
    fit_similarity,
    placement_jacobian,
)
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
"""m/s. Without odometry, a faster camera is a jump of the pose prior."""


@dataclass(frozen=True)
class Alignment:
    """Where an anchor lies.

    Attributes:
        anchor_id: of the anchor.
        target_t_anchor: (3,) pose of the anchor in the odometry, or in the map where there is none.
        scale: metres in the target per metre of the model.
        covariance: (4, 4) of x, y, heading and log scale.
        has_odometry: whether the target is the odometry.
        reason: what is wrong with the pose prior, as a sentence; empty where nothing is.
        keyframe_count: keyframes with odometry.
        outlier_count: those of them that do not agree.
    """

    anchor_id: int
    target_t_anchor: FloatArray
    scale: float
    covariance: FloatArray
    has_odometry: bool
    reason: str = ""
    keyframe_count: int = 0
    outlier_count: int = 0

    @property
    def scale_sigma(self) -> float:
        """Standard deviation of `scale`."""
        return float(self.scale * np.sqrt(self.covariance[3, 3]))

    def apply(self, pose: FloatArray, covariance: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return a (3,) pose of the anchor frame and its (3, 3) covariance in the target frame, to first order."""
        turned = self.scale * geometry.rotation2(self.target_t_anchor[2])
        by_pose, by_fit = np.eye(3), placement_jacobian(turned, pose[None, :2])[0]
        by_pose[:2, :2] = turned
        placed = np.append(
            self.target_t_anchor[:2] + turned @ pose[:2], geometry.wrap_angle(self.target_t_anchor[2] + pose[2])
        )
        return placed, by_pose @ covariance @ by_pose.T + by_fit @ self.covariance @ by_fit.T

    def camera(self, anchor_t_camera: FloatArray) -> FloatArray:
        """Return the (4, 4) pose of a camera in the target frame."""
        scaled = anchor_t_camera.copy()
        scaled[:3, 3] *= self.scale
        return geometry.from_planar(self.target_t_anchor) @ scaled


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


def align(trajectory: Trajectory) -> Alignment:
    """Return where the anchor lies in the odometry; at least one keyframe has odometry."""
    known = np.isfinite(trajectory.odom_t_cameras[:, 0, 0])
    odometry = trajectory.odom_t_cameras[known]
    source, target = planar(levelled(trajectory.anchor_t_cameras[known], odometry)), planar(odometry)
    sigma = _sigma(trajectory, target, trajectory.stamps[known])
    fit = fit_similarity(source, target, sigma)
    reason = _disagreement(fit) or _scale_drift(source, target, sigma)
    return Alignment(
        anchor_id=trajectory.anchor_id,
        target_t_anchor=fit.similarity[:3],
        scale=float(np.exp(fit.similarity[3])),
        covariance=fit.covariance + (spread(fit) if reason else 0.0),
        has_odometry=True,
        reason=reason,
        keyframe_count=len(source),
        outlier_count=int(fit.is_outlier.sum()),
    )


def _sigma(trajectory: Trajectory, odometry: FloatArray, stamps: npt.NDArray[np.int64]) -> FloatArray:
    """Return the (N, 3) noise of x, y, heading: that of the pose prior, and the odometry's drift from then to now.

    Args:
        trajectory: gives the noise of the pose prior.
        odometry: (N, 3) cameras in the plane.
        stamps: (N,) of them, ns.
    """
    drift, steps = OdometryNoise(), np.hypot(*np.diff(odometry[:, :2], axis=0).T)
    seconds = np.minimum(np.diff(stamps) / 1e9, LONGEST_STEP)
    distance, age = (np.append(np.cumsum(part[::-1])[::-1], 0.0) for part in (steps, seconds))
    away = np.hypot(*(odometry[:, :2] - odometry[-1, :2]).T)
    heading = drift.heading_rate * age
    place = np.sqrt(trajectory.position_sigma**2 + (drift.scale * distance) ** 2 + (heading * away) ** 2)
    return np.column_stack([place, place, np.hypot(trajectory.heading_sigma, heading)])


def _disagreement(fit: Fit) -> str:
    """Return what speaks against the pose prior: a jump, too few that agree, a scale that cannot be."""
    count, off = len(fit.distances), fit.is_outlier
    if count > NEWEST and off[-NEWEST:].all():
        gap = float(np.hypot(*np.median(fit.residuals[-NEWEST:, :2], axis=0)))
        turn = math.degrees(abs(float(fit.residuals[-1, 2])))
        return f"The pose prior jumped: the newest keyframes are {gap:.2f} m and {turn:.0f} degrees off the odometry."
    if (~off).mean() < CONSENSUS:
        return f"The pose prior disagrees with the odometry at {off.sum()} of {count} keyframes."
    if abs(fit.similarity[3]) > math.log(LARGEST_SCALE) - 1e-6:
        return f"The scale of the pose prior is out of bounds: {math.exp(fit.similarity[3]):.2f}."
    return ""


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


def prior_jump(trajectory: Trajectory) -> str:
    """Return whether the pose prior moved the camera faster than cameras move."""
    steps = np.linalg.norm(np.diff(trajectory.anchor_t_cameras[:, :3, 3], axis=0), axis=1)
    seconds = np.diff(trajectory.stamps) / 1e9
    wrong = np.flatnonzero(steps > 1.0 + FASTEST * seconds)
    if not len(wrong):
        return ""
    return f"The pose prior jumped by {steps[wrong[-1]]:.1f} m in {seconds[wrong[-1]]:.1f} s."
