"""What lives from `configure` to `cleanup`: the localizer, its worker, the correction and the named places."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from geometry_msgs.msg import PoseWithCovarianceStamped
from sensor_msgs.msg import CompressedImage, Image

from loc3r_ros import geometry
from loc3r_ros.errors import Loc3RError, NotReadyError
from loc3r_ros.interface import FloatArray, Keyframe, LocalizerProtocol
from loc3r_ros.ros.conversions import PoseMessageError, read_initial_pose, stamp_from_message
from loc3r_ros.ros.correction import Correction
from loc3r_ros.ros.diagnostics import Stages
from loc3r_ros.ros.intake import Frame, FrameCounts, Intake, Outcome
from loc3r_ros.ros.observer import Observation, Observer
from loc3r_ros.ros.outputs import Outputs, placed
from loc3r_ros.ros.parameters import Parameters
from loc3r_ros.ros.transforms import TransformListener

Log = Callable[[str], object]

LOADING_PATIENCE = 2.0
"""s that the end of a session waits for engines that are being loaded."""


@dataclass(frozen=True)
class RobotPose:
    """Where the robot was.

    Attributes:
        map_t_base: (4, 4).
        stamp: ns.
    """

    map_t_base: FloatArray
    stamp: int


class Session:
    """One memory, from its loading to its end. Whatever changes the memory runs in the worker of the intake."""

    def __init__(
        self,
        load: Callable[[], LocalizerProtocol],
        parameters: Callable[[], Parameters],
        transforms: TransformListener,
        outputs: Outputs,
        warn: Log,
        log_error: Log,
    ) -> None:
        """Begin to load in the worker.

        Args:
            load: makes the localizer; may take minutes.
            parameters: returns the parameters of the moment.
            transforms: odometry and extrinsics.
            outputs: where results go.
            warn: logs a warning, throttled by its cause.
            log_error: logs an error.
        """
        self.stages = Stages()
        self.correction = Correction()
        self.labels: dict[str, RobotPose] = {}
        self.defect = ""
        self._parameters = parameters
        self._transforms = transforms
        self._outputs = outputs
        self._warn = warn
        self._log_error = log_error
        self._localizer: LocalizerProtocol | None = None
        self._failure = ""
        self._begin = time.monotonic()
        self._robot: tuple[FloatArray, int] | None = None
        self._observer = Observer(transforms, self.stages, warn, self._forget)
        self._intake = Intake(self._handle)
        self._intake.submit(lambda: self._load(load))

    # --- what the node asks -------------------------------------------------------------------------------------------

    @property
    def counts(self) -> FrameCounts:
        """What became of the frames."""
        return self._intake.counts

    @property
    def failure(self) -> str:
        """Why the localizer could not be loaded; empty where it could, or still may."""
        return self._failure

    @property
    def loading_time(self) -> float | None:
        """Seconds since loading began; None once it has ended."""
        has_ended = self._localizer is not None or self._failure
        return None if has_ended else time.monotonic() - self._begin

    def localizer(self) -> LocalizerProtocol:
        """Return the localizer.

        Raises:
            NotReadyError: it is still loading, or could not be loaded.
        """
        if self._localizer is not None:
            return self._localizer
        if self._failure:
            raise NotReadyError(f"The engines could not be loaded: {self._failure}")
        raise NotReadyError(f"The engines are loading, for {self.loading_time or 0.0:.0f} s so far; ask again later.")

    def keyframes(self) -> tuple[Keyframe, ...]:
        """Return the keyframes in memory; none while there is no localizer."""
        return () if self._localizer is None else self._localizer.keyframes()

    def robot_pose(self) -> RobotPose:
        """Return where the robot was at the newest frame with odometry.

        Raises:
            NotReadyError: there was no such frame.
        """
        if self._robot is None:
            raise NotReadyError("The robot's pose is not known: no image with odometry at its stamp has arrived yet.")
        odom_t_base, stamp = self._robot
        return RobotPose(self.correction.map_t_odom @ odom_t_base, stamp)

    def map_t_anchor(self) -> FloatArray:
        """Return the (3,) pose of the anchor frame in `map`: on the floor under the first keyframe's camera.

        Raises:
            NotReadyError: the first keyframe has no odometry.
        """
        first = self.keyframes()[:1]
        cameras = placed(first, self.correction.map_t_odom)
        if not cameras:
            raise NotReadyError("The memory has no place in the map: its first keyframe came without odometry.")
        return geometry.planar(geometry.world_t_anchor(cameras[0][1]))

    # --- what the node tells ------------------------------------------------------------------------------------------

    def receive(self, message: Image | CompressedImage, arrival: int) -> None:
        """Take an image in; returns at once.

        Args:
            message: the image.
            arrival: now, ns of the node's clock.
        """
        self.stages.add("age", max(0.0, (arrival - stamp_from_message(message.header.stamp)) / 1e9))
        self._intake.offer(Frame(message, arrival))

    def discard(self) -> None:
        """Leave out the image that waits."""
        self._intake.clear()

    def forget(self) -> Future[None]:
        """Forget everything seen, in the worker, and the frame that waits."""
        self._intake.clear()
        return self._intake.submit(self._forget)

    def seed(self, message: PoseWithCovarianceStamped, now: int) -> Future[str]:
        """Take the pose of a message for the robot's, in the worker.

        Args:
            message: the pose in `map`; a stamp of zero means now.
            now: ns of the node's clock.

        Returns:
            The future of why it was refused; empty where it was taken.
        """
        return self._intake.submit(lambda: self._seed(message, now))

    def save(self, path: Path) -> None:
        """Write the memory to a file.

        Raises:
            NotReadyError: there is no memory to write.
        """
        self.localizer().save(path)

    def restore(self, path: Path) -> Future[None]:
        """Go on with a saved memory, in the worker."""
        return self._intake.submit(lambda: self._restore(path))

    def name_place(self, label: str) -> RobotPose:
        """Give the robot's place a name.

        Raises:
            NotReadyError: the robot's pose is not known.
        """
        place = self.robot_pose()
        self.labels = {**self.labels, label: place}  # replaced, not changed: other threads read it
        self._outputs.mark_stale()
        return place

    def close(self) -> None:
        """End the worker; engines that load cannot be interrupted and are not waited for."""
        self._intake.close(None if self.loading_time is None else LOADING_PATIENCE)

    # --- in the worker ------------------------------------------------------------------------------------------------

    def _load(self, load: Callable[[], LocalizerProtocol]) -> None:
        try:
            self._localizer = load()
        except Loc3RError as error:
            self._failure = str(error)
            self._log_error(f"The engines could not be loaded: {error}")
        except Exception as error:
            self._failure = f"{type(error).__name__}: {error}"
            self._log_error(f"The engines could not be loaded, by a defect:\n{traceback.format_exc()}")

    def _restore(self, path: Path) -> None:
        self.localizer().restore(path)
        self._observer.forget()
        self._announce_keyframes(0)

    def _handle(self, frame: Frame) -> Outcome:
        """Show a frame to the localizer; whatever is wrong is logged and counted."""
        try:
            observation = self._observer.observe(frame, self.localizer(), self._parameters())
            if observation is None:
                return Outcome.REPLACED
            with self.stages.time("publish"):
                self._announce(observation)
            return Outcome.PROCESSED
        except Loc3RError as error:
            self._warn(f"Image not used: {error}")
        except Exception as error:
            self.defect = f"{type(error).__name__}: {error}"
            self._warn(f"Image not used, by a defect:\n{traceback.format_exc()}")
        return Outcome.FAILED

    def _announce(self, observation: Observation) -> None:
        if observation.odom_t_base is not None:
            self._robot = observation.odom_t_base, observation.stamp
            map_t_base = self.correction.map_t_odom @ observation.odom_t_base
            self._outputs.send_pose(map_t_base, self.correction.covariance, observation.stamp)
        if observation.keyframe is not None:
            self._announce_keyframes(observation.stamp)

    def _announce_keyframes(self, stamp: int) -> None:
        self._outputs.send_keyframes(self.keyframes(), self.correction.map_t_odom, stamp)

    def _forget(self) -> None:
        if self._localizer is not None:
            self._localizer.reset()
        self._observer.forget()
        self.correction.reset()
        self.labels = {}
        self._robot = None
        self._announce_keyframes(0)

    def _seed(self, message: PoseWithCovarianceStamped, now: int) -> str:
        parameters = self._parameters()
        try:
            map_t_base, covariance = read_initial_pose(message, parameters.map_frame)
            if not parameters.odom_frame:
                raise PoseMessageError("the parameter odom_frame is empty, and without odometry it cannot be kept")
            stamp = stamp_from_message(message.header.stamp) or now
            odom_t_base = self._transforms.lookup(
                parameters.odom_frame, parameters.base_frame, stamp, parameters.odometry_timeout
            )
        except Loc3RError as error:
            return str(error)
        self.correction.seed(map_t_base, odom_t_base, covariance)
        self._robot = odom_t_base, stamp
        self._outputs.send_pose(map_t_base, covariance, stamp)
        self._announce_keyframes(stamp)
        return ""
