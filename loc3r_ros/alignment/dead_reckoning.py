"""How uncertain a robot becomes that only counts its wheels' turns."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from loc3r_ros import geometry
from loc3r_ros.interface import FloatArray

AT_REST = 1e-4
"""Metres and radians between two frames, below which a robot stands."""


@dataclass(frozen=True)
class OdometryNoise:
    """Standard deviations of what odometry gets wrong.

    Attributes:
        scale: of the distance, the same for a whole run.
        heading_rate: rad/s, the same for a whole run; it counts while the robot moves.
        position: metres for the first metre; grows with the square root of the distance.
        heading: radians for the first radian of turning; grows with its square root.
    """

    scale: float = 0.02
    heading_rate: float = math.radians(5.0) / 60.0
    position: float = 0.01
    heading: float = 0.01


@dataclass
class DeadReckoning:
    """How the uncertainty of a robot that only counts its wheels' turns grows.

    The prediction of an extended Kalman filter (Thrun et al., Probabilistic Robotics, 2005, section 7) whose state also
    holds the two errors that stay the same, so that it is honest over long runs.
    """

    noise: OdometryNoise = field(default_factory=OdometryNoise)

    def __post_init__(self) -> None:
        self.restart(np.zeros((3, 3)))

    @property
    def covariance(self) -> FloatArray:
        """(3, 3) covariance of the robot's pose along the axes of the odometry."""
        return self._state[:3, :3].copy()

    def restart(self, covariance: FloatArray) -> None:
        """Begin with a (3, 3) covariance of the pose."""
        self._state = np.diag([0.0, 0.0, 0.0, self.noise.scale**2, self.noise.heading_rate**2])
        self._state[:3, :3] = covariance
        self._newest: tuple[FloatArray, int] | None = None

    def follow(self, odom_t_base: FloatArray, stamp: int) -> None:
        """Move on to a (3,) pose at a stamp in ns."""
        before, self._newest = self._newest, (odom_t_base, stamp)
        if before is None or stamp <= before[1]:
            return
        x, y = odom_t_base[:2] - before[0][:2]
        turn = abs(float(geometry.angle_difference(odom_t_base[2], before[0][2])))
        if math.hypot(x, y) < AT_REST and turn < AT_REST:
            return
        jacobian = np.eye(5)
        jacobian[0, 2:4], jacobian[1, 2:4], jacobian[2, 4] = (-y, x), (x, y), (stamp - before[1]) / 1e9
        self._state = jacobian @ self._state @ jacobian.T
        place = self.noise.position**2 * float(np.hypot(x, y))
        self._state[[0, 1, 2], [0, 1, 2]] += (place, place, self.noise.heading**2 * turn)
