"""The alignments of the last anchors, and places in the frames of the robot."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, replace

import numpy as np

from loc3r_ros import geometry
from loc3r_ros.alignment.similarity import SCALE_SIGMA
from loc3r_ros.alignment.trajectory import Alignment, align, prior_jump
from loc3r_ros.interface import FloatArray, Place, Trajectory

KNOWN_ALIGNMENTS = 8
GATE = 18.47
"""Chi-square at 99.9 % for four degrees of freedom."""


class Aligner:
    """The alignments of the last anchors; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._alignments: dict[int, Alignment] = {}
        self._trusted: dict[int, Alignment] = {}

    @property
    def latest(self) -> Alignment | None:
        """The newest alignment."""
        with self._lock:
            return next(reversed(self._alignments.values()), None)

    def get(self, anchor_id: int) -> Alignment | None:
        """Return the alignment of an anchor; the last few are known."""
        with self._lock:
            return self._alignments.get(anchor_id)

    def reset(self) -> None:
        """Forget them."""
        with self._lock:
            self._alignments, self._trusted = {}, {}

    def update(self, trajectory: Trajectory) -> Alignment:
        """Align anew and return the alignment.

        Where the pose prior went wrong the anchor stays where it was last known to be, with the reason and a covariance
        that covers the disagreement: the map is not bent. It stays until the prior agrees with that place again, or a
        rebuild of the memory makes a new anchor.
        """
        with self._lock:
            if np.isfinite(trajectory.odom_t_cameras).any():
                alignment = _held(self._trusted.get(trajectory.anchor_id), align(trajectory))
            else:
                alignment = self._chained(trajectory)
            self._alignments = _with(self._alignments, alignment)
            if alignment.has_odometry and not alignment.reason:
                self._trusted = _with(self._trusted, alignment)
            return alignment

    def _chained(self, trajectory: Trajectory) -> Alignment:
        """Return the place of an anchor by the pose prior alone: from that of the one before, or as the map's begin."""
        place, reason = trajectory.position_sigma**2, prior_jump(trajectory)
        noise = np.diag([place, place, trajectory.heading_sigma**2, 0.0])
        pose: FloatArray = np.zeros(3)
        covariance = np.diag([0.0, 0.0, 0.0, SCALE_SIGMA**2])
        before, has_odometry = self._alignments.get(trajectory.anchor_id - 1), False
        if trajectory.previous_t_anchor is not None and before is not None:
            pose, moved = before.apply(geometry.planar(trajectory.previous_t_anchor), noise[:3, :3])
            covariance[:3, :3], has_odometry = moved, before.has_odometry
        elif trajectory.previous_t_anchor is not None:
            reason = reason or "The place of the memory's former anchor is not known: the map began anew."
        if reason:
            covariance = covariance + noise
        return Alignment(trajectory.anchor_id, pose, 1.0, covariance, has_odometry, reason)


def _with(known: dict[int, Alignment], alignment: Alignment) -> dict[int, Alignment]:
    """Return the last few alignments, and that one as the newest."""
    others = [item for item in known.values() if item.anchor_id != alignment.anchor_id]
    return {item.anchor_id: item for item in (*others[1 - KNOWN_ALIGNMENTS :], alignment)}


def _held(trusted: Alignment | None, now: Alignment) -> Alignment:
    """Return the new alignment of an anchor, or the trusted one with a reason where the new one contradicts it."""
    if trusted is None:
        return now
    shift = np.append(now.target_t_anchor - trusted.target_t_anchor, math.log(now.scale / trusted.scale))
    shift[2] = geometry.wrap_angle(shift[2])
    reason = now.reason
    if not reason and shift @ np.linalg.solve(trusted.covariance + now.covariance, shift) > GATE:
        reason = (
            f"The pose prior has changed its mind by {np.hypot(*shift[:2]):.2f} m and "
            f"{math.degrees(abs(shift[2])):.0f} degrees: places stay where they were."
        )
    if not reason:
        return now
    wider = np.maximum(np.diag(trusted.covariance), np.diag(now.covariance)) - np.diag(trusted.covariance)
    return replace(
        trusted,
        covariance=trusted.covariance + np.diag(wider),
        reason=reason,
        keyframe_count=now.keyframe_count,
        outlier_count=now.outlier_count,
    )


@dataclass(frozen=True)
class Located:
    """A place in a frame of the robot.

    Attributes:
        pose: (3,) x, y, heading.
        covariance: (3, 3) of it.
        reason: why the place is doubtful, as a sentence; empty where it is not.
    """

    pose: FloatArray
    covariance: FloatArray
    reason: str = ""

    def moved(self, target_t_frame: FloatArray) -> Located:
        """Return the place in a frame in which the present one has a known (3,) pose."""
        turn = geometry.rotation2(target_t_frame[2])
        pose = geometry.compose2(target_t_frame, self.pose)
        return replace(self, pose=pose, covariance=geometry.rotate_covariance(self.covariance, turn))

    def blurred(self, robot: FloatArray, covariance: FloatArray) -> Located:
        """Return the place with the error of a robot's (3,) pose added, which turns the place about the robot."""
        lever = np.eye(3)
        lever[:2, 2] = robot[1] - self.pose[1], self.pose[0] - robot[0]
        return replace(self, covariance=self.covariance + lever @ covariance @ lever.T)


def locate(place: Place, alignment: Alignment) -> Located:
    """Return a place in the target frame of the alignment of its anchor."""
    return Located(*alignment.apply(place.pose, place.covariance), alignment.reason)
