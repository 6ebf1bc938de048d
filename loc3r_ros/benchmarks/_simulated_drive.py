"""A simulated robot drives, and what the node's session makes of it: intake, localizer and aligner, without DDS.

Each image goes through `ros.session.Session` as a message, with its transforms, and is waited for, as are rebuilds: so
nothing depends on the speed of the machine, and a drive runs as fast as it can.
"""

from __future__ import annotations

import array
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from sensor_msgs.msg import Image

from loc3r_ros import geometry
from loc3r_ros.benchmarks._true_prior import sign
from loc3r_ros.engines import EngineSet
from loc3r_ros.errors import NotReadyError
from loc3r_ros.interface import FloatArray, ImageArray, Keyframe
from loc3r_ros.localizer import Localizer
from loc3r_ros.prompt.template import PromptTemplate
from loc3r_ros.ros.conversions import pose_with_covariance, time_message
from loc3r_ros.ros.localizers import make_buffer
from loc3r_ros.ros.outputs import Outputs
from loc3r_ros.ros.parameters import Parameters
from loc3r_ros.ros.session import Session
from loc3r_ros.ros.transforms import OwnBuffer, TransformListener, transform_message
from loc3r_ros.world.camera import focal_length
from loc3r_ros.world.generate import make_scene
from loc3r_ros.world.odometry import Drift
from loc3r_ros.world.render import Renderer
from loc3r_ros.world.robot import Build, CameraMount, Robot

SECOND = 1_000_000_000
FIELD_OF_VIEW = math.radians(80.0)
CAMERA, BASE, ODOM, MAP = "camera_optical_frame", "base_link", "odom", "map"
MOUNT = CameraMount()
DRIFT = Drift(distance_percent=2.0, heading_deg_per_minute=5.0)
RATE = 5.0
PATIENCE = 60.0


@dataclass(frozen=True)
class Plan:
    """A drive.

    Attributes:
        seed: of the scene, and of all that is random.
        seconds: how long it lasts.
        has_odometry: whether the robot has any.
        jumps: seconds at which the pose prior goes wrong, by `jump`; only one that knows the truth obeys.
        jump: (3,) metres and radians.
        cut: seconds after which the camera is in the scene of another seed; None for never.
    """

    seed: int
    seconds: float
    has_odometry: bool = True
    jumps: tuple[float, ...] = ()
    jump: tuple[float, float, float] = (1.5, 0.8, 0.6)
    cut: float | None = None


@dataclass
class Log:
    """What came of a drive, a row for each frame.

    Attributes:
        seconds: since its begin.
        truth: (3,) robot in the map.
        pose: (3,) robot as published on `pose`; NaN where it was not.
        sigma: (3,) standard deviations of it, m, m, rad.
        own_truth: (3,) camera in the map.
        own: (3,) camera as `where_am_i` tells; NaN where it could not.
        own_covariance: (3, 3) of it.
        anchor: id.
        reason: what was told of the pose prior.
        failures: how often the memory has begun anew.
    """

    seconds: list[float] = field(default_factory=list)
    truth: list[FloatArray] = field(default_factory=list)
    pose: list[FloatArray] = field(default_factory=list)
    sigma: list[FloatArray] = field(default_factory=list)
    own_truth: list[FloatArray] = field(default_factory=list)
    own: list[FloatArray] = field(default_factory=list)
    own_covariance: list[FloatArray] = field(default_factory=list)
    anchor: list[int] = field(default_factory=list)
    reason: list[str] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)

    def array(self, name: str) -> Any:
        """Return a column as an array."""
        return np.array(getattr(self, name))


class Recorder:
    """Takes what a session publishes (`ros.outputs.Outputs`) and keeps the robot's pose."""

    def __init__(self) -> None:
        self.pose: tuple[FloatArray, FloatArray | None] | None = None

    def send_pose(self, map_t_base: FloatArray, covariance: FloatArray | None, stamp: int) -> None:
        """Keep it."""
        self.pose = map_t_base, covariance

    def send_keyframes(self, keyframes: Sequence[Keyframe], *more: object) -> None:
        """Nothing to keep."""

    def mark_stale(self) -> None:
        """Nothing to draw."""


class World:
    """Where the robot is, and what it sees and measures."""

    def __init__(self, plan: Plan, size: int, is_signed: bool) -> None:
        self._plan, self._size, self._is_signed = plan, size, is_signed
        self._enter(plan.seed)
        self._odom_t_begin: FloatArray = np.zeros(3)
        self._is_cut = False
        self.world_t_map = self.robot.world_t_odom

    def _enter(self, seed: int) -> None:
        scene = make_scene(seed)
        self.robot, self._renderer = Robot(scene, Build(drift=DRIFT, mount=MOUNT)), Renderer(scene)

    def step(self, seconds: float) -> None:
        """Drive until a time."""
        self.robot.step(1.0 / RATE)
        if self._plan.cut is not None and seconds >= self._plan.cut and not self._is_cut:
            self._odom_t_begin, self._is_cut = self.odom_t_base, True
            self._enter(self._plan.seed + 1)

    @property
    def odom_t_base(self) -> FloatArray:
        """(3,) what odometry says; a robot that is carried does not notice."""
        return geometry.compose2(self._odom_t_begin, self.robot.odometer.pose)

    def picture(self, seconds: float) -> ImageArray:
        """Return what the camera sees."""
        camera = self.robot.world_t_camera
        focal = focal_length(self._size, FIELD_OF_VIEW)
        picture: ImageArray = self._renderer.render(camera[None], self._size, self._size, focal).rgb[0]
        if not self._is_signed:
            return picture
        jumps = sum(moment <= seconds for moment in self._plan.jumps)
        return sign(picture, camera, jumps * np.array(self._plan.jump))


def run(engines: EngineSet, plan: Plan, is_signed: bool) -> Log:
    """Drive, and return what came of it.

    Args:
        engines: the model.
        plan: the drive.
        is_signed: whether pictures say where they were taken, for a pose prior that reads it.
    """
    world, recorder, log = World(plan, engines.manifest.video.image_size, is_signed), Recorder(), Log()
    parameters = Parameters(engines="simulated", odom_frame=ODOM if plan.has_odometry else "")
    transforms = TransformListener(OwnBuffer())
    transforms.receive([transform_message(BASE, CAMERA, MOUNT.base_t_camera, 0)], is_static=True)
    localizers: list[Localizer] = []

    def load() -> Localizer:
        assert engines.folder is not None
        localizers.append(Localizer(engines, PromptTemplate.load(engines.folder), make_buffer(parameters)))
        return localizers[0]

    problems: list[str] = []
    session = Session(
        load,
        lambda: parameters,
        transforms,
        cast(Outputs, recorder),
        lambda _: None,
        problems.append,
        lambda: 0,
    )
    _wait(lambda: session.loading_time is None)
    for frame in range(round(plan.seconds * RATE)):
        seconds = frame / RATE
        if frame:
            world.step(seconds)
        stamp = SECOND + round(seconds * SECOND)
        if plan.has_odometry:
            transforms.receive([transform_message(ODOM, BASE, geometry.from_planar(world.odom_t_base), stamp)])
        session.receive(_message(world.picture(seconds), stamp), stamp)
        _wait(lambda: session.counts.pending == 0)
        if not frame:
            problems += filter(None, [session.seed(_initial_pose(stamp), stamp).result()])
        localizers[0].settle()
        _note(log, seconds, world, recorder, session, localizers[0])
    if problems or session.defect or session.counts.failed:
        raise NotReadyError(f"The drive failed: {problems}, {session.defect}, {session.counts}")
    session.close()
    return log


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise NotReadyError("The session did not answer in time.")
        time.sleep(0.0005)


def _initial_pose(stamp: int) -> PoseWithCovarianceStamped:
    """Return a message that the map begins where the robot is."""
    return pose_with_covariance(np.eye(4), np.diag([1e-4, 1e-4, 0.0, 0.0, 0.0, 1e-6]), MAP, stamp)


def _message(picture: ImageArray, stamp: int) -> Image:
    message = Image(height=picture.shape[0], width=picture.shape[1], encoding="rgb8", step=3 * picture.shape[1])
    message.data = array.array("B", picture.tobytes())
    message.header.frame_id, message.header.stamp = CAMERA, time_message(stamp)
    return message


def _note(log: Log, seconds: float, world: World, recorder: Recorder, session: Session, localizer: Localizer) -> None:
    map_t_world = geometry.invert2(world.world_t_map)
    camera = world.robot.world_t_camera
    own_truth = np.array([*camera[:2, 3], geometry.camera_heading(camera)])
    alignment = session.placement.alignment
    log.seconds.append(seconds)
    log.truth.append(geometry.compose2(map_t_world, world.robot.world_t_base))
    log.own_truth.append(geometry.compose2(map_t_world, own_truth))
    assert recorder.pose is not None and recorder.pose[1] is not None  # an initialpose was sent
    log.pose.append(geometry.planar(recorder.pose[0]))
    log.sigma.append(np.sqrt(np.diag(recorder.pose[1])[[0, 1, 5]]))
    try:
        located = session.locate(localizer.where_am_i())
        log.own.append(located.pose)
        log.own_covariance.append(located.covariance)
        log.reason.append(located.reason)
    except NotReadyError as error:
        log.own.append(np.full(3, np.nan))
        log.own_covariance.append(np.full((3, 3), np.nan))
        log.reason.append(str(error))
    log.anchor.append(-1 if alignment is None else alignment.anchor_id)
    log.failures.append(session.placement.failures)
