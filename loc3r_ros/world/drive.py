"""A robot with two driven wheels that follows a path on the floor, with the speeds and accelerations of a robot."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loc3r_ros.geometry import Array, angle_difference, compose2

LOOK_AHEAD = 0.2  # metres: how far ahead on the path the robot steers; it cuts corners by less than this
STEERING_GAIN = 4.0  # turn rate per bearing error, 1/s
DRIVING_BEARING = math.radians(50.0)  # above this bearing error the robot turns on the spot
AT_END = 0.03  # metres
AT_HEADING = math.radians(1.5)


@dataclass(frozen=True)
class Limits:
    """What the drive can do: m/s, rad/s, m/s^2 and rad/s^2."""

    speed: float = 0.5
    turn_rate: float = 1.2
    acceleration: float = 0.8
    turn_acceleration: float = 5.0


class Driver:
    """Moves a pose along a path.

    Attributes:
        pose: (3,) where the robot is: x, y, heading.
        speed: forward speed, m/s.
        turn_rate: counter-clockwise, rad/s.
        arrived: whether the end of the path, and the heading asked for there, is reached; True without a path.
    """

    def __init__(self, pose: npt.ArrayLike, limits: Limits | None = None) -> None:
        self.pose: Array = np.asarray(pose, dtype=np.float64)
        self.speed = self.turn_rate = 0.0
        self.arrived = True
        self._limits = limits or Limits()
        self._final_heading: float | None = None
        self._path, self._along, self._done = np.zeros((1, 2)), np.zeros(1), 0.0

    def follow(self, path: Array, heading: float | None = None) -> None:
        """Take a new path.

        Args:
            path: (N, 2) metres, N >= 1; the robot drives to its first point, then along it.
            heading: heading to take at the end, where one is asked for.
        """
        self._path = np.vstack([self.pose[:2], path])
        steps = np.hypot(*np.diff(self._path, axis=0).T)
        self._along = np.concatenate([[0.0], np.cumsum(steps)])
        self._done, self._final_heading, self.arrived = 0.0, heading, False

    def step(self, duration: float) -> Array:
        """Drive for some seconds and return the (3,) motion in the robot's frame."""
        wanted_speed, wanted_turn_rate = self._steer()
        limits = self._limits
        self.speed = _approach(self.speed, wanted_speed, limits.acceleration * duration)
        self.turn_rate = _approach(self.turn_rate, wanted_turn_rate, limits.turn_acceleration * duration)
        motion = _arc(self.speed * duration, self.turn_rate * duration)
        self.pose = compose2(self.pose, motion)
        return motion

    def _steer(self) -> tuple[float, float]:
        """Return the wanted speed and turn rate, and notice the arrival."""
        if self.arrived:
            return 0.0, 0.0
        self._advance()
        remaining = float(np.hypot(*(self._path[-1] - self.pose[:2])))
        if self._done >= self._along[-1] - LOOK_AHEAD and remaining < AT_END:
            return 0.0, self._turn_to_final_heading()
        target = self._points(self._done + LOOK_AHEAD)
        bearing = math.atan2(target[1] - self.pose[1], target[0] - self.pose[0])
        error = float(angle_difference(bearing, self.pose[2]))
        # Slow enough to stop at the end, and slower the more it has to turn.
        stopping = math.sqrt(2.0 * 0.7 * self._limits.acceleration * max(self._along[-1] - self._done, remaining))
        speed = min(self._limits.speed, stopping) * max(0.0, 1.0 - abs(error) / DRIVING_BEARING)
        return speed, self._turn(error)

    def _turn_to_final_heading(self) -> float:
        heading = self.pose[2] if self._final_heading is None else self._final_heading
        error = float(angle_difference(heading, self.pose[2]))
        if abs(error) < AT_HEADING and self.speed == 0.0:
            self.arrived = True
        return self._turn(error)

    def _turn(self, error: float) -> float:
        # Fast for large errors, but never so fast that the turn could not be stopped in time.
        stoppable = math.sqrt(2.0 * 0.5 * self._limits.turn_acceleration * abs(error))
        return math.copysign(min(STEERING_GAIN * abs(error), stoppable, self._limits.turn_rate), error)

    def _advance(self) -> None:
        """Move the progress to the nearest point of the path a little ahead; it never goes back."""
        ahead = self._done + np.linspace(0.0, LOOK_AHEAD, 9)
        nearest = int(np.argmin(np.hypot(*(self._points(ahead) - self.pose[:2]).T)))
        self._done = min(float(ahead[nearest]), float(self._along[-1]))

    def _points(self, along: npt.ArrayLike) -> Array:
        """Return the (..., 2) points at some (...) distances along the path."""
        return np.stack(
            [np.interp(np.asarray(along, dtype=np.float64), self._along, self._path[:, axis]) for axis in (0, 1)],
            axis=-1,
        )


def _approach(value: float, wanted: float, step: float) -> float:
    return value + min(max(wanted - value, -step), step)


def _arc(distance: float, turn: float) -> Array:
    """Return the motion along an arc of a circle (exact for constant speed and turn rate)."""
    if abs(turn) < 1e-6:
        return np.array([distance, 0.5 * distance * turn, turn])
    radius = distance / turn
    return np.array([radius * math.sin(turn), radius * (1.0 - math.cos(turn)), turn])
