"""What lives from `configure` to `cleanup`: the localizer, its worker, the correction and the named places."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from geometry_msgs.msg import PoseWithCovarianceStamped
from sensor_msgs.msg import CompressedImage, Image

from loc3r_ros import geometry
from loc3r_ros.alignment import Located
from loc3r_ros.errors import Loc3RError, NotReadyError, SessionError
from loc3r_ros.interface import FloatArray, Keyframe, Layout, LocalizerProtocol, Place
from loc3r_ros.ros import session_notes
from loc3r_ros.ros.autosave import Autosave
from loc3r_ros.ros.conversions import camera_forward, read_initial_pose, stamp_from_message
from loc3r_ros.ros.correction import PLANAR, Correction, odometry_noise
from loc3r_ros.ros.diagnostics import Stages
from loc3r_ros.ros.intake import Frame, FrameCounts, Intake, Outcome
from loc3r_ros.ros.observer import Observation, Observer
from loc3r_ros.ros.outputs import Outputs
from loc3r_ros.ros.parameters import Parameters
from loc3r_ros.ros.placement import Placement
from loc3r_ros.ros.session_notes import RobotPose
from loc3r_ros.ros.transforms import TransformError, TransformListener

Log = Callable[[str], object]

LOADING_PATIENCE = 2.0
"""s that the end of a session waits for engines that are being loaded."""
DESCRIBED_FRAME = "loc3r/described_pose"
"""The frame of the last localized description."""


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
        now: Callable[[], int],
    ) -> None:
        """Begin to load in the worker.

        Args:
            load: makes the localizer; may take minutes.
            parameters: returns the parameters of the moment.
            transforms: odometry and extrinsics.
            outputs: where results go.
            warn: logs a warning, throttled by its cause.
            log_error: logs an error.
            now: returns the node's time, ns.
        """
        noise = odometry_noise(parameters())
        self.stages = Stages()
        self.correction = Correction(noise)
        self.placement = Placement(self.correction, self._has_odometry, noise, warn)
        self.labels: dict[str, RobotPose] = {}
        self.defect = ""
        self._parameters = parameters
        self._transforms = transforms
        self._outputs = outputs
        self._warn = warn
        self._log_error = log_error
        self._now = now
        self._autosave: Autosave | None = None
        self._localizer: LocalizerProtocol | None = None
        self._failure = ""
        self._begin = time.monotonic()
        self._robot: tuple[FloatArray, int] | None = None
        self._camera: tuple[str, FloatArray, int] | None = None
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
        """Return where the robot was at the newest frame with odometry, or without any where the pose prior saw it.

        Raises:
            NotReadyError: there was no such frame.
        """
        if self._camera is not None and not self._has_odometry():
            return RobotPose(self._body(), self._camera[2])
        if self._robot is None:
            raise NotReadyError("The robot's pose is not known: no image with odometry at its stamp has arrived yet.")
        if self.placement.is_loose:
            raise NotReadyError(
                "The saved map is not tied to the odometry yet, so that the robot's place in it is not known: drive a "
                "little, or send an initialpose."
            )
        odom_t_base, stamp = self._robot
        return RobotPose(self.correction.map_t_odom @ odom_t_base, stamp)

    def place_by_odometry(self) -> tuple[Located, int] | None:
        """Return the robot's place in `map`, as `pose` says it, and its stamp (ns); None where odometry does not tell.

        Its covariance counts from where the map began, though `pose` may say that the robot is not localized. Where the
        pose prior and the odometry part, the place is doubtful: either may be wrong.
        """
        robot, alignment = self._robot, self.placement.alignment
        if robot is None or not self._has_odometry() or self.placement.is_loose:
            return None
        pose = geometry.planar(self.correction.map_t_odom @ robot[0])
        return Located(pose, self.correction.drift, "" if alignment is None else alignment.reason), robot[1]

    def locate(self, place: Place) -> Located:
        """Return a place in `map`.

        Raises:
            NotReadyError: it is not known where its anchor lies.
        """
        return self.placement.locate(place, self.localizer())

    def layout(self) -> Layout:
        """Return the layout in `map`.

        Raises:
            NotReadyError: there is none.
        """
        return self.placement.layout(self.localizer())

    def frames(self) -> dict[str, FloatArray]:
        """Return frame -> (4, 4) pose in `map` of all that is to be broadcast.

        `odom_frame` where TF names it; else the camera as the pose prior sees it, or the robot that carries it: a frame
        has one parent.
        """
        frames: dict[str, FloatArray] = {}
        if self._has_odometry():
            if not self.placement.is_loose:
                frames[self._parameters().odom_frame] = self.correction.map_t_odom
        elif self._camera is not None:
            frames[self._camera[0]] = self._camera[1]
        if self.placement.described is not None:
            frames[DESCRIBED_FRAME] = geometry.from_planar(self.placement.described)
        return frames

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
        """Write memory, map and labels to a file.

        Raises:
            NotReadyError: there is no memory to write.
            SessionError: the file cannot be written.
        """
        localizer = self.localizer()
        localizer.save(path, session_notes.to_text(self.placement.saved(localizer), self.labels))

    def restore(self, path: Path) -> Future[None]:
        """Go on with a saved memory, its map and its labels, in the worker."""
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
        """Save a last time and end the worker; engines that load cannot be interrupted and are not waited for."""
        if self._autosave is not None:
            self._autosave.close()
        self._intake.close(None if self.loading_time is None else LOADING_PATIENCE)

    def _has_odometry(self) -> bool:
        odom = self._parameters().odom_frame
        return bool(odom) and self._transforms.has_seen(odom)

    # --- in the worker ------------------------------------------------------------------------------------------------

    def _load(self, load: Callable[[], LocalizerProtocol]) -> None:
        try:
            self._localizer = load()
            self._begin_autosave()
        except Loc3RError as error:
            self._failure = str(error)
            self._log_error(f"The engines could not be loaded: {error}")
        except Exception as error:
            self._failure = f"{type(error).__name__}: {error}"
            self._log_error(f"The engines could not be loaded, by a defect:\n{traceback.format_exc()}")

    def _restore(self, path: Path) -> None:
        now = self._now()
        text = self.localizer().restore(path, now)
        self._observer.forget()
        self._robot = self._camera = None
        self.correction.reset()
        self.placement.reset()
        self.labels = {}
        notes = session_notes.from_text(text)
        self.placement.restore(notes.alignments, now)
        self.labels = dict(notes.labels)
        self._announce_keyframes(now)

    def _begin_autosave(self) -> None:
        """Go on with the session of the last run and keep it saved, where the parameters name a file."""
        parameters = self._parameters()
        if not parameters.session:
            return
        path = Path(parameters.session_directory).expanduser() / Path(parameters.session).expanduser()
        try:
            if path.exists():
                self._restore(path)
                self._warn(f"The session of {path} goes on.")
        except SessionError as error:
            self._forget()
            aside = path.with_name(f"{path.name}.refused")
            path.replace(aside)
            self._warn(f"{error} It was moved to {aside}; a new session begins.")
        self._autosave = Autosave(
            lambda: self.save(path), self._state, lambda: self._parameters().session_interval, self._warn
        )

    def _state(self) -> tuple[object, ...]:
        """Return what changes where there is something new to save."""
        newest = self.keyframes()[-1:]
        return [one.index for one in newest], tuple(self.labels), self.correction.map_t_odom.tobytes()

    def _handle(self, frame: Frame) -> Outcome:
        """Show a frame to the localizer; whatever is wrong is logged and counted."""
        try:
            observation = self._observer.observe(frame, self.localizer(), self._parameters())
            if observation is None:
                return Outcome.REPLACED
            with self.stages.time("publish"):
                self._place_camera(observation, frame.message.header.frame_id)
                self._announce(observation)
            return Outcome.PROCESSED
        except Loc3RError as error:
            self._warn(f"Image not used: {error}")
        except Exception as error:
            self.defect = f"{type(error).__name__}: {error}"
            self._warn(f"Image not used, by a defect:\n{traceback.format_exc()}")
        return Outcome.FAILED

    def _place_camera(self, observation: Observation, camera: str) -> None:
        """Align with the frame, and without odometry find the robot."""
        self.placement.update(self.localizer())
        map_t_camera, parameters = self.placement.map_t_camera, self._parameters()
        if map_t_camera is None or observation.odom_t_base is not None:
            self._camera = None
            return
        camera = parameters.camera_frame or camera
        try:
            base_t_camera = self._transforms.lookup(parameters.base_frame, camera, observation.stamp)
        except TransformError:
            self._camera = camera, map_t_camera, observation.stamp
        else:
            map_t_base = map_t_camera @ geometry.invert(base_t_camera)
            self._camera = parameters.base_frame, map_t_base, observation.stamp

    def _announce(self, observation: Observation) -> None:
        if observation.odom_t_base is not None:
            self._robot = observation.odom_t_base, observation.stamp
            self.correction.follow(*self._robot)
            map_t_base = self.correction.map_t_odom @ observation.odom_t_base
            self._outputs.send_pose(map_t_base, self.correction.covariance, observation.stamp)
        elif self._camera is not None and not self._has_odometry():
            covariance = self.placement.camera_covariance if self.placement.is_localized else None
            self._outputs.send_pose(self._body(), covariance, observation.stamp)
        if observation.keyframe is not None:
            self._announce_keyframes(observation.stamp)

    def _body(self) -> FloatArray:
        """Return the (4, 4) pose in `map` of the robot, or of a camera on nothing with x along its view."""
        assert self._camera is not None
        frame, pose, _ = self._camera
        return pose if frame == self._parameters().base_frame else camera_forward(pose)

    def _announce_keyframes(self, stamp: int) -> None:
        keyframes, map_t_odom = self.keyframes(), self.correction.map_t_odom
        self._outputs.send_keyframes(keyframes, map_t_odom, self.placement.alignment, stamp)

    def _forget(self) -> None:
        if self._localizer is not None:
            self._localizer.reset()
        self._observer.forget()
        self.correction.reset()
        self.placement.reset()
        self.labels = {}
        self._robot = self._camera = None
        self._announce_keyframes(0)

    def _seed(self, message: PoseWithCovarianceStamped, now: int) -> str:
        parameters = self._parameters()
        try:
            map_t_base, covariance = read_initial_pose(message, parameters.map_frame)
            if self._has_odometry():
                stamp = stamp_from_message(message.header.stamp) or now
                odom_t_base = self._transforms.lookup(
                    parameters.odom_frame, parameters.base_frame, stamp, parameters.odometry_timeout
                )
                self.correction.seed(map_t_base, odom_t_base, covariance)
                self.placement.tell(stamp)
                self._robot = odom_t_base, stamp
            else:
                stamp = self._pin(map_t_base, covariance)
        except Loc3RError as error:
            return str(error)
        self._outputs.send_pose(map_t_base, covariance, stamp)
        self._announce_keyframes(stamp)
        return ""

    def _pin(self, map_t_base: FloatArray, covariance: FloatArray) -> int:
        """Take a pose for that of the robot at the newest frame, without odometry, and return its stamp."""
        if self._camera is None:
            raise NotReadyError("there is no odometry, and no image has told where the camera is")
        frame, _, stamp = self._camera
        self.placement.pin(geometry.planar(map_t_base), covariance[PLANAR], geometry.planar(self._body()), stamp)
        is_robot = frame == self._parameters().base_frame
        self._camera = frame, map_t_base if is_robot else map_t_base @ geometry.CAMERA_LINK_T_OPTICAL, stamp
        return stamp
