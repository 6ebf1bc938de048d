"""A robot that drives through a scene, by itself or to where it is sent, and carries a camera and odometry.

The world frame is the scene's. The robot is a disc on the floor; its camera is fixed and looks forward.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from loc3r_ros.errors import Loc3RError
from loc3r_ros.geometry import CAMERA_LINK_T_OPTICAL, Array, from_planar, from_position_rpy
from loc3r_ros.world.clearance import clearance, free_space, solids
from loc3r_ros.world.drive import Driver, Limits
from loc3r_ros.world.odometry import Drift, Odometer
from loc3r_ros.world.scene import Scene

RADIUS = 0.18
"""The robot's own radius, metres."""
PLANNING_RADIUS = 0.28
"""Paths keep this distance, since the robot cuts their corners, metres."""
RESOLUTION = 0.08
NEAR_ENOUGH = 0.6
"""A goal is moved at most so far to where the robot can stand, metres."""
CANDIDATES = 8
STEP = 0.05
"""Longest step of the motion, seconds."""
_STREAM = 3


class DriveError(Loc3RError):
    """A goal that the robot cannot reach, or a scene in which it cannot stand."""


@dataclass(frozen=True)
class CameraMount:
    """Where the camera sits: metres ahead of the robot's centre and over the floor, radians down."""

    forward: float = 0.1
    height: float = 1.2
    pitch: float = math.radians(12.0)

    @property
    def base_t_link(self) -> Array:
        """(4, 4) pose of the camera's body (x forward, y left, z up) on the robot."""
        return from_position_rpy((self.forward, 0.0, self.height), 0.0, self.pitch, 0.0)

    @property
    def base_t_camera(self) -> Array:
        """(4, 4) pose of the camera with optical axes on the robot."""
        return self.base_t_link @ CAMERA_LINK_T_OPTICAL


@dataclass(frozen=True)
class Build:
    """What a robot is like."""

    limits: Limits = field(default_factory=Limits)
    drift: Drift = field(default_factory=Drift)
    mount: CameraMount = field(default_factory=CameraMount)


class Robot:
    """Drives, measures and knows the truth."""

    def __init__(self, scene: Scene, build: Build | None = None) -> None:
        """Put the robot into a scene; where, and all that is random about it, follows from the scene's seed.

        Raises:
            DriveError: there is no room for it.
        """
        self._build = build or Build()
        self._scene = scene
        self._rng = np.random.default_rng([scene.seed, _STREAM])
        self._space = free_space(scene, PLANNING_RADIUS, RESOLUTION)
        if not len(self._space.points):
            raise DriveError(f"Scene {scene.seed} has no place where a robot can stand: use another seed.")
        self._solids = solids(scene)
        start = self._random_place()
        self._driver = Driver((*start, self._towards_centre(start)), self._build.limits)
        self._odometer = Odometer(self._build.drift, self._rng)
        self.world_t_odom: Array = self.world_t_base
        self.is_sent = False
        self.plan: Array = start[None]

    @property
    def world_t_base(self) -> Array:
        """(3,) true pose."""
        return self._driver.pose

    @property
    def odometer(self) -> Odometer:
        """What it measures."""
        return self._odometer

    @property
    def world_t_camera(self) -> Array:
        """(4, 4) true pose of the camera, optical axes."""
        return from_planar(self.world_t_base) @ self._build.mount.base_t_camera

    @property
    def has_arrived(self) -> bool:
        """Whether it stands at the end of its path."""
        return self._driver.arrived

    def send(self, goal: npt.ArrayLike) -> Array:
        """Send it to a pose; return the (N, 2) path on which it goes and stay there on arrival.

        Args:
            goal: (3,) x, y, heading in the world.

        Raises:
            DriveError: there is no place to stand near the goal.
        """
        x, y, heading = (float(value) for value in np.asarray(goal))
        place = np.array([x, y])
        cell = self._space.points[self._space.nearest(place)]
        distance = float(np.hypot(*(cell - place)))
        if distance > NEAR_ENOUGH:
            raise DriveError(
                f"The goal ({x:.2f}, {y:.2f}) is {distance:.1f} m from the nearest place where the robot can stand, "
                f"({cell[0]:.2f}, {cell[1]:.2f}): choose one on the free floor."
            )
        is_free = distance < RESOLUTION and clearance(self._solids, place[None])[0] > PLANNING_RADIUS
        self.is_sent = True
        self._follow(place if is_free else cell, heading)
        return self.plan

    def step(self, duration: float) -> None:
        """Live for some seconds: drive on, and choose the next place where nobody has sent it."""
        count = max(1, math.ceil(duration / STEP))
        for _ in range(count):
            if self.has_arrived and not self.is_sent:
                self._wander()
            motion = self._driver.step(duration / count)
            self._odometer.step(motion, duration / count)

    def _wander(self) -> None:
        """Go to the farthest of some places, and look into the room there."""
        places = np.array([self._random_place() for _ in range(CANDIDATES)])
        place = places[np.argmax(np.hypot(*(places - self.world_t_base[:2]).T))]
        self._follow(place, self._towards_centre(place))

    def _follow(self, place: Array, heading: float) -> None:
        start = self._space.nearest(self.world_t_base[:2])
        self.plan = np.vstack([self._space.route(start, self._space.nearest(place)), place])
        self._driver.follow(self.plan, heading)

    def _random_place(self) -> Array:
        return self._space.points[self._rng.integers(len(self._space.points))]

    def _towards_centre(self, place: Array) -> float:
        """Return the heading from a place to the middle of its room."""
        centres = [room.centre for room in self._scene.rooms if room.x0 <= place[0] <= room.x1]
        x, y = centres[0] if centres else self._scene.rooms[0].centre
        return math.atan2(y - place[1], x - place[0])
