"""Is the newest frame where it should be? Every frame is tested, keyframe or not; one that is off is no news yet."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from loc3r_ros import geometry
from loc3r_ros.alignment.anchors import Alignment
from loc3r_ros.alignment.similarity import GATE
from loc3r_ros.alignment.trajectory import is_too_fast, motion
from loc3r_ros.interface import FloatArray, Trajectory

LASTING = 1_000_000_000
"""ns. Frames that are off for so long are no accident, if they are at least"""
FEWEST = 3
"""so many."""


@dataclass(frozen=True)
class Gap:
    """How far the newest frames have been off.

    Attributes:
        since: stamp of the first of them, ns.
        metres: distance.
        radians: difference of the headings.
        text: a sentence on it.
    """

    since: int
    metres: float
    radians: float
    text: str


class Innovation:
    """Notices that pose prior and odometry part; where there is no odometry, that the pose prior jumps."""

    def __init__(self) -> None:
        self.reset()

    def last_good(self, anchor_id: int) -> tuple[FloatArray, int] | None:
        """Return the (4, 4) camera and the stamp of the last frame that was not off, where that was in this anchor."""
        return self._good if anchor_id == self._anchor_id else None

    def reset(self, anchor_id: int = -1) -> None:
        """Take the next frame, in that anchor, for right."""
        self._anchor_id = anchor_id
        self._since = self._count = 0
        self._good: tuple[FloatArray, int] | None = None
        self._jump = 0.0

    def test(self, trajectory: Trajectory, alignment: Alignment) -> Gap | None:
        """Return how far the newest frames have been off for too long; None where they have not.

        Args:
            trajectory: with the newest frame.
            alignment: of its anchor, sound.
        """
        if trajectory.anchor_id != self._anchor_id:
            self.reset(trajectory.anchor_id)
        if trajectory.odom_t_newest is not None and alignment.has_odometry:
            metres, radians, is_off = off_odometry(trajectory, trajectory.odom_t_newest, alignment)
        elif not alignment.has_odometry:
            metres, radians, is_off = self._off_course(trajectory)
        else:
            return None
        if not is_off:
            self._count = 0
            self._good = trajectory.anchor_t_newest, trajectory.newest_stamp
            return None
        self._count += 1
        self._since = trajectory.newest_stamp if self._count == 1 else self._since
        if self._count < FEWEST or trajectory.newest_stamp - self._since < LASTING:
            return None
        return Gap(
            self._since,
            metres,
            radians,
            f"For {(trajectory.newest_stamp - self._since) / 1e9:.1f} s the camera has been {metres:.2f} m and "
            f"{math.degrees(radians):.0f} degrees off "
            f"{'the odometry' if alignment.has_odometry else 'where it was before'}: "
            "the pose prior went wrong, or somebody carried the camera away.",
        )

    def _off_course(self, trajectory: Trajectory) -> tuple[float, float, bool]:
        """Return how far the camera is from where it was last right, and whether no camera goes so fast."""
        if self._good is None:
            return 0.0, 0.0, False
        camera, stamp = self._good
        metres, radians = motion(camera, trajectory.anchor_t_newest)
        if self._count:  # it jumped; has it come back?
            return metres, radians, metres + radians > 0.5 * self._jump
        self._jump = metres + radians
        return metres, radians, is_too_fast(metres, radians, (trajectory.newest_stamp - stamp) / 1e9)


def off_odometry(trajectory: Trajectory, odometry: FloatArray, alignment: Alignment) -> tuple[float, float, bool]:
    """Return how far the pose prior is off the odometry (m, rad), and whether that is more than both explain.

    Args:
        trajectory: with the newest frame.
        odometry: (4, 4) of its camera.
        alignment: of its anchor.
    """
    camera = trajectory.anchor_t_newest
    seen = np.array([*camera[:2, 3], geometry.camera_heading(camera)])
    sigma = np.array([trajectory.position_sigma, trajectory.position_sigma, trajectory.heading_sigma])
    placed, covariance = alignment.apply(seen, np.diag(sigma**2))
    residual = np.array([*odometry[:2, 3], geometry.camera_heading(odometry)]) - placed
    residual[2] = geometry.wrap_angle(residual[2])
    is_off = bool(residual @ np.linalg.solve(covariance, residual) > GATE)
    return float(np.hypot(*residual[:2])), abs(float(residual[2])), is_off
