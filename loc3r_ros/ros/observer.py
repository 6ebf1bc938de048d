"""What the worker does with a frame: check its stamp, decode it, find its odometry, show both to the localizer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from loc3r_ros.errors import ImageError
from loc3r_ros.interface import FloatArray, Keyframe, LocalizerProtocol
from loc3r_ros.keyframes import JUMP_BACK
from loc3r_ros.ros.conversions import decode_image, image_stamp
from loc3r_ros.ros.diagnostics import Stages
from loc3r_ros.ros.intake import Frame
from loc3r_ros.ros.parameters import Parameters
from loc3r_ros.ros.transforms import TransformError, TransformListener

ODOMETRY_PATIENCE = 2.0
"""s. So long after the first frame, frames without odometry are left out until one has it: TF may be on its way."""
FARTHEST_AHEAD = 60_000_000_000
"""ns. A stamp further ahead of the node's clock is no stamp, or one of the two clocks is wrong."""


@dataclass(frozen=True)
class Observation:
    """What came of a frame.

    Attributes:
        stamp: ns.
        odom_t_base: (4, 4) odometry at the stamp, or None.
        keyframe: the keyframe that the frame became, or None.
    """

    stamp: int
    odom_t_base: FloatArray | None
    keyframe: Keyframe | None


@dataclass(frozen=True)
class Odometry:
    """The odometry at a stamp.

    Attributes:
        odom_t_base: (4, 4), or None where it is not known.
        odom_t_camera: (4, 4) with optical camera axes, or None where it is not known.
        missing: a sentence on what is not known though it should be.
        base_t_camera: (4, 4) the camera on the robot, or None where it is not known.
    """

    odom_t_base: FloatArray | None = None
    odom_t_camera: FloatArray | None = None
    missing: str = ""
    base_t_camera: FloatArray | None = None


class Observer:
    """Handles frames, one after the other, in the worker's thread."""

    def __init__(
        self,
        transforms: TransformListener,
        stages: Stages,
        warn: Callable[[str], object],
        on_jump: Callable[[], None],
    ) -> None:
        """Begin.

        Args:
            transforms: where odometry and extrinsics come from.
            stages: is told how long each stage took.
            warn: logs a warning, throttled by its cause.
            on_jump: forgets everything; called where the stamps jump back.
        """
        self._transforms = transforms
        self._stages = stages
        self._warn = warn
        self._on_jump = on_jump
        self._newest: int | None = None
        self._suspect: int | None = None
        self._patience_ends: float | None = None

    def forget(self) -> None:
        """Take the next frame as the first."""
        self._newest = self._suspect = self._patience_ends = None

    def observe(self, frame: Frame, localizer: LocalizerProtocol, parameters: Parameters) -> Observation | None:
        """Show a frame to the localizer; None where it is left out because odometry may be on its way.

        Raises:
            ImageError: the frame cannot be used; the sentence says why.
        """
        message = frame.message
        stamp = image_stamp(message.header.stamp)
        self._check_order(stamp, frame.arrival)
        with self._stages.time("decode"):
            image = decode_image(message)
        with self._stages.time("odometry"):
            odometry = self._odometry(message.header.frame_id, stamp, parameters)
        if odometry.missing:
            if self._is_patient():
                return None
            self._warn(odometry.missing)
        self._patience_ends = 0.0
        self._newest = stamp
        with self._stages.time("observe"):
            keyframe = localizer.observe(image, stamp, odometry.odom_t_camera, odometry.base_t_camera)
        return Observation(stamp, odometry.odom_t_base, keyframe)

    def _check_order(self, stamp: int, arrival: int) -> None:
        """Refuse a stamp that cannot be; take a second one in the past for a jump of time.

        One wrong stamp must not cost the memory, so the first frame after a jump back is lost.
        """
        if stamp > arrival + FARTHEST_AHEAD:
            raise ImageError(
                f"The image's stamp is {(stamp - arrival) / 1e9:.0f} s ahead of the node's clock: synchronise the "
                "clocks, or set use_sim_time where a bag or a simulator publishes /clock."
            )
        suspect, self._suspect = self._suspect, None
        if self._newest is None or stamp >= self._newest:
            return
        behind = (self._newest - stamp) / 1e9
        if stamp >= self._newest - JUMP_BACK:
            raise ImageError(f"The image is {behind:.3f} s older than the one before it: two cameras on one topic?")
        if suspect is None or stamp < suspect:
            self._suspect = stamp
            raise ImageError(
                f"The image is {behind:.3f} s older than the one before it; if the next one is too, time jumped back."
            )
        self._warn(f"Time jumped back by {behind:.1f} s: the memory begins anew.")
        self._on_jump()

    def _odometry(self, camera: str, stamp: int, parameters: Parameters) -> Odometry:
        """Return the odometry at a stamp, as far as it is known."""
        odom, base, base_t_camera = parameters.odom_frame, parameters.base_frame, None
        problem = ""
        try:
            odom_t_base = self._transforms.lookup(odom, base, stamp, parameters.odometry_timeout) if odom else None
        except TransformError as error:
            odom_t_base, problem = None, f"Image without odometry: {error}"
        try:
            base_t_camera = self._transforms.lookup(base, parameters.camera_frame or camera, stamp)
        except TransformError as error:
            unknown = f"Image without the camera's place on the robot: {error}" if odom else ""
            return Odometry(odom_t_base, missing=problem or unknown)
        odom_t_camera = None if odom_t_base is None else odom_t_base @ base_t_camera
        return Odometry(odom_t_base, odom_t_camera, problem, base_t_camera)

    def _is_patient(self) -> bool:
        """Say whether a frame without odometry is to be left out; wait a moment where it is."""
        now = time.monotonic()
        if self._patience_ends is None:
            self._patience_ends = now + ODOMETRY_PATIENCE
        if now >= self._patience_ends:
            return False
        self._transforms.wait_for_change(0.1)
        return True
