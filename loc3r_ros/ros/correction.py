"""The correction `map` -> `odom` (REP-105): what the localizer knows beyond the odometry."""

from __future__ import annotations

import math
import threading
from dataclasses import replace

import numpy as np

from loc3r_ros import geometry
from loc3r_ros.alignment import Alignment, DeadReckoning, Located, OdometryNoise
from loc3r_ros.interface import FloatArray
from loc3r_ros.ros.parameters import Parameters

PLANAR = np.ix_([0, 1, 5], [0, 1, 5])
"""x, y and heading in a (6, 6) covariance in the order of REP-103."""


def in_space(covariance: FloatArray) -> FloatArray:
    """Return the (6, 6) covariance of a (3, 3) one in the plane; z, roll and pitch are taken for certain."""
    full = np.zeros((6, 6))
    full[PLANAR] = covariance
    return full


def odometry_noise(parameters: Parameters) -> OdometryNoise:
    """Return what the odometry gets wrong."""
    return OdometryNoise(
        scale=parameters.odometry_scale_error / 100.0,
        heading_rate=math.radians(parameters.odometry_heading_drift) / 60.0,
        position=parameters.odometry_position_noise,
        heading=math.radians(parameters.odometry_heading_noise),
    )


class Correction:
    """The last correction, and how far the odometry may have drifted since; safe to use from several threads.

    It begins as the identity: until something is known, `map` is where the odometry began, and the robot counts as not
    localized.
    """

    def __init__(self, noise: OdometryNoise | None = None) -> None:
        """Begin as the identity.

        Args:
            noise: of the odometry; None is that of an ordinary robot.
        """
        self._lock = threading.Lock()
        self._noise = noise or OdometryNoise()
        self._map_t_odom: FloatArray = np.eye(4)
        self._covariance: FloatArray | None = None
        self._robot: FloatArray = np.zeros(3)
        self._reckoning = DeadReckoning(self._noise)

    @property
    def map_t_odom(self) -> FloatArray:
        """(4, 4) pose of `odom` in `map`."""
        with self._lock:
            return self._map_t_odom

    @property
    def covariance(self) -> FloatArray | None:
        """(6, 6) covariance of the robot's pose in `map`, odometry's drift included; None while it is not localized."""
        with self._lock:
            if self._covariance is None:
                return None
            covariance = self._covariance.copy()
            covariance[PLANAR] = self._drift()
            return covariance

    @property
    def drift(self) -> FloatArray:
        """(3, 3) covariance of the robot's pose in the plane since the map began or its place was told."""
        with self._lock:
            return self._drift()

    def follow(self, odom_t_base: FloatArray, stamp: int) -> None:
        """Note the (4, 4) odometry at a stamp in ns."""
        with self._lock:
            self._robot = geometry.planar(odom_t_base)
            self._reckoning.follow(self._robot, stamp)

    def into_map(self, located: Located) -> Located:
        """Return a place, given in `odom`, in `map`."""
        with self._lock:
            map_t_odom = geometry.planar(self._map_t_odom)
            return located.moved(map_t_odom).blurred(geometry.compose2(map_t_odom, self._robot), self._drift())

    def anchor_into_map(self, alignment: Alignment) -> Alignment:
        """Return where an anchor, given in `odom`, lies in `map`."""
        placed = self.into_map(Located(alignment.target_t_anchor, alignment.covariance[:3, :3]))
        moved = alignment.moved(geometry.planar(self.map_t_odom), has_odometry=False)
        covariance = moved.covariance.copy()
        covariance[:3, :3] = placed.covariance
        return replace(moved, covariance=covariance)

    def seed(
        self, map_t_base: FloatArray, odom_t_base: FloatArray, covariance: FloatArray, is_localized: bool = True
    ) -> None:
        """Take a pose of the robot in `map` for true.

        Args:
            map_t_base: (4, 4) pose in `map`.
            odom_t_base: (4, 4) odometry at the same time.
            covariance: (6, 6) of `map_t_base`.
            is_localized: whether the robot counts as localized from now on.
        """
        with self._lock:
            self._map_t_odom = map_t_base @ geometry.invert(odom_t_base)
            self._covariance = covariance if is_localized else None
            self._robot = geometry.planar(odom_t_base)
            odom_r_map = geometry.rotation2(-geometry.planar(self._map_t_odom)[2])
            self._reckoning.restart(geometry.rotate_covariance(covariance[PLANAR], odom_r_map))

    def reset(self) -> None:
        """Forget it."""
        with self._lock:
            self._map_t_odom, self._covariance = np.eye(4), None
            self._robot, self._reckoning = np.zeros(3), DeadReckoning(self._noise)

    def _drift(self) -> FloatArray:
        """Return the (3, 3) covariance of the robot's pose in the plane along the axes of `map`."""
        return geometry.rotate_covariance(
            self._reckoning.covariance, geometry.rotation2(geometry.planar(self._map_t_odom)[2])
        )
