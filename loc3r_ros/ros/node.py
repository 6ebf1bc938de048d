"""The node `loc3r`.

An image arrives in the thread of the inputs and goes into a slot of one (`intake`). The worker takes the newest,
decodes it, waits at most `odometry_timeout` for the odometry at its stamp, shows both to the localizer and publishes
what came of it. Timers broadcast `map` -> `odom`, watch the camera and publish diagnostics. Services and the action
answer from the localizer's snapshot in threads of their own.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import Any

from nav_msgs.msg import Path as PathMessage
from rclpy.executors import MultiThreadedExecutor
from sensor_msgs.msg import CompressedImage, Image

from loc3r_ros.errors import Loc3RError
from loc3r_ros.interface import FloatArray, LocalizerProtocol
from loc3r_ros.ros import conversions, parameters
from loc3r_ros.ros.inputs import Inputs
from loc3r_ros.ros.intake import Frame, Intake
from loc3r_ros.ros.lifecycle import GuardedLifecycleNode, run
from loc3r_ros.ros.localizers import make_localizer
from loc3r_ros.ros.qos import LATCHED
from loc3r_ros.ros.transforms import TransformError, TransformListener


class Loc3rNode(GuardedLifecycleNode):
    """The perception node."""

    def __init__(self, **options: Any) -> None:
        super().__init__("loc3r", **options)
        self._parameters = parameters.declare(self)
        self._transforms = TransformListener()
        self._inputs = Inputs(self, lambda: self._parameters, self._receive, self._transforms)
        self._intake: Intake | None = None
        self._localizer: LocalizerProtocol | None = None
        self._keyframes_publisher = self.create_publisher(PathMessage, "keyframes", LATCHED)
        if self._parameters.autostart:
            self.start()

    def configure(self) -> None:
        self._localizer = make_localizer(self._parameters)
        self._intake = Intake(self._handle)

    def activate(self) -> None:
        self._inputs.open()

    def deactivate(self) -> None:
        self._inputs.close()
        if self._intake is not None:
            self._intake.clear()

    def cleanup(self) -> None:
        if self._intake is not None:
            self._intake.close()
        self._intake = self._localizer = None

    def _receive(self, message: Image | CompressedImage) -> None:
        if self._intake is not None:
            self._intake.offer(Frame(message, self.get_clock().now().nanoseconds))

    def _handle(self, frame: Frame) -> bool:
        try:
            self._observe(frame)
            return True
        except Loc3RError as error:
            self.get_logger().warning(str(error), throttle_duration_sec=5.0)
        except Exception:
            self.get_logger().error(traceback.format_exc(), throttle_duration_sec=5.0)
        return False

    def _observe(self, frame: Frame) -> None:
        stamp = conversions.image_stamp(frame.message.header.stamp)
        image = conversions.decode_image(frame.message)
        odometry = self._odometry(frame.message.header.frame_id, stamp)
        if self._localizer.observe(image, stamp, odometry) is not None:
            self._publish_keyframes(stamp)

    def _odometry(self, frame_id: str, stamp: int) -> FloatArray | None:
        p = self._parameters
        try:
            return self._transforms.lookup(p.odom_frame, frame_id, stamp, p.odometry_timeout)
        except TransformError as error:
            self.get_logger().warning(str(error), throttle_duration_sec=5.0)
            return None

    def _publish_keyframes(self, stamp: int) -> None:
        message = PathMessage()
        message.header.frame_id = self._parameters.map_frame
        message.header.stamp = conversions.time_message(stamp)
        message.poses = [
            conversions.stamped_pose(
                conversions.camera_forward(k.reference_t_camera), self._parameters.map_frame, k.stamp
            )
            for k in self._localizer.keyframes()
            if k.reference == "odom"
        ]
        self._keyframes_publisher.publish(message)


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop, and return the exit code."""
    return run(Loc3rNode, lambda: MultiThreadedExecutor(num_threads=4), args)


if __name__ == "__main__":
    sys.exit(main())
