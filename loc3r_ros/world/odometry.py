"""Wheel odometry that drifts, with the covariance that belongs to it.

The true motion of a robot on a plane is measured with four errors: a scale error and a heading drift that stay the same
for a whole run, and noise that grows with the distance and with the turning. The pose is integrated from what was
measured; its covariance is propagated to first order (extended Kalman filter prediction, Thrun et al., Probabilistic
Robotics, 2005, section 7) with the two constant errors in the state, so that it is honest over long runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from loc3r_ros.geometry import Array, compose2, rotation2


@dataclass(frozen=True)
class Drift:
    """Standard deviations of what odometry gets wrong.

    Attributes:
        distance_percent: scale error of a run, percent of the distance.
        heading_deg_per_minute: heading drift of a run, degrees per minute.
        position_noise: position noise that one metre adds, metres; grows with the square root of the distance.
        heading_noise_deg: heading noise that one full turn adds, degrees; grows with the square root of the turning.
    """

    distance_percent: float = 1.0
    heading_deg_per_minute: float = 1.0
    position_noise: float = 0.005
    heading_noise_deg: float = 0.5


class Odometer:
    """Integrates measured motion from the pose (0, 0, 0).

    Attributes:
        pose: (3,) the measured pose in the frame `odom`: x, y, heading.
        velocity: (3,) the last measured velocity in the frame of the robot: m/s and rad/s.
        velocity_variances: (3,) of it.
    """

    def __init__(self, drift: Drift, rng: np.random.Generator) -> None:
        self.pose: Array = np.zeros(3)
        self.velocity: Array = np.zeros(3)
        self.velocity_variances: Array = np.zeros(3)
        self._rng = rng
        self._position_variance = drift.position_noise**2
        self._heading_variance = math.radians(drift.heading_noise_deg) ** 2 / math.tau
        self._scale_sigma = drift.distance_percent / 100.0
        self._heading_rate_sigma = math.radians(drift.heading_deg_per_minute) / 60.0
        self._scale_error = float(rng.normal(0.0, self._scale_sigma))
        self._heading_rate_error = float(rng.normal(0.0, self._heading_rate_sigma))
        # Error state: x, y, heading, scale error, heading rate error.
        self._covariance = np.diag([0.0, 0.0, 0.0, self._scale_sigma**2, self._heading_rate_sigma**2])

    @property
    def covariance(self) -> Array:
        """(3, 3) covariance of `pose` in the frame `odom`, m^2 and rad^2."""
        return self._covariance[:3, :3].copy()

    def step(self, motion: Array, duration: float) -> None:
        """Measure one motion.

        Args:
            motion: (3,) the true motion in the frame of the robot: x, y, turn.
            duration: seconds that it took, above 0.
        """
        position_variance = self._position_variance * math.hypot(motion[0], motion[1])
        heading_variance = self._heading_variance * abs(motion[2])
        variances = np.array([position_variance, position_variance, heading_variance])
        systematic = self._scale_error * motion[0], self._scale_error * motion[1], self._heading_rate_error * duration
        measured: Array = motion + systematic + np.sqrt(variances) * self._rng.standard_normal(3)
        self._propagate(measured, duration, variances)
        self.pose = compose2(self.pose, measured)
        self.velocity = measured / duration
        systematic_deviations = self._scale_sigma * np.abs(self.velocity) * (1, 1, 0) + (0, 0, self._heading_rate_sigma)
        self.velocity_variances = variances / duration**2 + systematic_deviations**2

    def _propagate(self, measured: Array, duration: float, variances: Array) -> None:
        moved_x, moved_y = rotation2(self.pose[2]) @ measured[:2]
        jacobian = np.eye(5)
        jacobian[0, 2:4] = -moved_y, moved_x
        jacobian[1, 2:4] = moved_x, moved_y
        jacobian[2, 4] = duration
        self._covariance = jacobian @ self._covariance @ jacobian.T
        self._covariance[[0, 1, 2], [0, 1, 2]] += variances
