"""The correction `map` -> `odom` (REP-105): what the localizer knows beyond the odometry."""

from __future__ import annotations

import threading

import numpy as np

from loc3r_ros import geometry
from loc3r_ros.interface import FloatArray


class Correction:
    """The last correction; safe to use from several threads.

    It begins as the identity: until something is known, `map` is where the odometry began, and the robot counts as not
    localized.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._map_t_odom: FloatArray = np.eye(4)
        self._covariance: FloatArray | None = None

    @property
    def map_t_odom(self) -> FloatArray:
        """(4, 4) pose of `odom` in `map`."""
        with self._lock:
            return self._map_t_odom

    @property
    def covariance(self) -> FloatArray | None:
        """(6, 6) covariance of the robot's pose in `map`; None while it is not localized."""
        with self._lock:
            return self._covariance

    def seed(self, map_t_base: FloatArray, odom_t_base: FloatArray, covariance: FloatArray) -> None:
        """Take a pose of the robot in `map` for true.

        Args:
            map_t_base: (4, 4) pose in `map`.
            odom_t_base: (4, 4) odometry at the same time.
            covariance: (6, 6) of `map_t_base`.
        """
        with self._lock:
            self._map_t_odom = map_t_base @ geometry.invert(odom_t_base)
            self._covariance = covariance

    def reset(self) -> None:
        """Forget it."""
        with self._lock:
            self._map_t_odom, self._covariance = np.eye(4), None
