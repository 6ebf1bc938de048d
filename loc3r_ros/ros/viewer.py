"""The node `loc3r_viewer`: hears the node `loc3r` as any other client does, and shows it on a web page.

It is a process of its own and takes the newest of everything, so that it costs the node nothing: while nobody looks at
the page, it does not even listen to images, transforms and layout.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Path
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from tf2_msgs.msg import TFMessage

from loc3r_ros.errors import ImageError, Loc3RError
from loc3r_ros.interface import FloatArray
from loc3r_ros.msg import Answer, LanguagePose
from loc3r_ros.ros import parameter_table, viewer_messages
from loc3r_ros.ros.asker import Asker
from loc3r_ros.ros.conversions import decode_image, stamp_from_message
from loc3r_ros.ros.diagnostics import Summary
from loc3r_ros.ros.lifecycle import run
from loc3r_ros.ros.qos import LATCHED
from loc3r_ros.ros.transforms import TransformError, TransformListener
from loc3r_ros.ros.viewer_inputs import (
    IMAGE_TYPES,
    NEWEST,
    Pictures,
    Subscriptions,
    Target,
    camera_subscriptions,
    find_node,
    heard_by,
    image_source,
)
from loc3r_ros.ros.viewer_parameters import ViewerParameters
from loc3r_ros.viewer.content import Level, Picture, Robot, Status, Timing, View
from loc3r_ros.viewer.page import Actions, Page

WATCH_PERIOD = 0.5
"""s between two looks at the graph and at whether anybody looks at the page."""
SILENCE = 3.5
"""s without diagnostics, which come once a second, after which the node counts as silent."""
STALE = 5_000_000_000
"""ns after which a pose no longer tells where the robot is; transforms are kept for 10 s."""


class LocViewer(Node):
    """The page and what feeds it."""

    def __init__(self) -> None:
        """Serve the page.

        Raises:
            ConfigError: a parameter that is not allowed, or a port that is in use.
        """
        super().__init__("loc3r_viewer", start_parameter_services=False)
        self.parameters = p = parameter_table.declare(self, ViewerParameters)
        self._page = Page(p.address, p.port, Actions(self._ask, self._where, self._stop))
        self._asker = Asker(
            self.get_namespace(), self._page.show_exchange, self._page.scene.show_place, self._note_duration
        )
        self._ears = Subscriptions(self)
        self._transforms = TransformListener()
        self._pictures = Pictures()
        self._target: Target | None = None
        self._image: Image | CompressedImage | None = None
        self._pose: PoseWithCovarianceStamped | None = None
        self._map_frame = "map"
        self._views: dict[int, View] = {}
        self._heard_at = -SILENCE
        self._timings: list[Timing] = []
        self._durations: dict[str, Summary] = {}
        self._listen(PoseWithCovarianceStamped, "pose", self._on_pose, LATCHED)
        self._listen(Path, "keyframes", self._on_keyframes, LATCHED)
        self._listen(LanguagePose, "language_pose", self._on_place, 10)
        self._listen(Answer, "answer", self._on_answer, 10)
        self._listen(PoseWithCovarianceStamped, "initialpose", lambda _: self._page.scene.forget_places(), 10)
        self._listen(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(WATCH_PERIOD, self._watch, clock=steady)
        self.create_timer(1.0 / p.image_rate, self._show, clock=steady)
        self.get_logger().info(f"The page is at {self._page.url}.")

    def close(self) -> None:
        """End the request that runs, and the page."""
        self._asker.close()
        self._page.close()

    # --- who is there -------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Look at the graph: listen to what the node listens to, and say how it is."""
        target = find_node(self)
        if target is not None and target != self._target:
            self._page.scene.forget()  # another life of the node knows nothing of the former one's map
        self._target = target or self._target
        heard = heard_by(self, target) if target is not None and self._page.is_watched else {}
        wanted = camera_subscriptions(heard, self._on_camera_info, self._on_transforms)
        source = image_source(self, self.parameters.image_topic, heard) if heard else None
        if source is not None:
            wanted[source] = IMAGE_TYPES[source[1]], self._on_image, NEWEST
        if heard:
            wanted[self.resolve_topic_name("layout"), ""] = PointCloud2, self._on_layout, LATCHED
        self._ears.want({key: (kind, self._guarded(call), qos) for key, (kind, call, qos) in wanted.items()})
        if time.monotonic() - self._heard_at > SILENCE:
            self._page.show_status(self._describe_absence(target))

    @property
    def _node_name(self) -> str:
        """Full name of the node that the page belongs to; before it is found, that which it should have."""
        return f"{self.get_namespace().rstrip('/')}/{self._target.name if self._target else 'loc3r'}"

    def _describe_absence(self, target: Target | None) -> Status:
        name = self._node_name
        if target is not None:
            return Status(
                Level.WARN, f"{name} is silent", ("No diagnostics for some seconds: it hangs, or it has died.",)
            )
        domain = os.environ.get("ROS_DOMAIN_ID") or "0"
        return Status(
            Level.ABSENT,
            f"There is no node {name}",
            (
                f"Looking for it in ROS_DOMAIN_ID {domain}. Start it with: ros2 launch loc3r_ros loc3r.launch.py. "
                "The page goes on by itself as soon as it is there.",
            ),
        )

    # --- what is heard ------------------------------------------------------------------------------------------------

    def _listen(self, message_type: Any, topic: str, callback: Callable[[Any], object], qos: Any) -> None:
        self.create_subscription(message_type, topic, self._guarded(callback), qos)

    def _guarded(self, callback: Callable[[Any], object]) -> Callable[[Any], None]:
        """Return a callback that logs what is wrong with a message instead of raising it."""

        @wraps(callback)
        def call(message: Any) -> None:
            try:
                callback(message)
            except Loc3RError as error:
                self.get_logger().warning(f"Not shown: {error}", throttle_duration_sec=5.0)

        return call

    def _on_image(self, message: Image | CompressedImage) -> None:
        self._image = message
        self._pictures.keep(message)

    def _on_transforms(self, message: TFMessage, is_static: bool) -> None:
        self._transforms.receive(message.transforms, is_static)

    def _on_camera_info(self, message: CameraInfo) -> None:
        lens = viewer_messages.lens(message)
        if lens is not None:
            self._page.scene.show_lens(lens)

    def _on_pose(self, message: PoseWithCovarianceStamped) -> None:
        self._pose, self._map_frame = message, message.header.frame_id

    def _on_keyframes(self, message: Path) -> None:
        self._map_frame = message.header.frame_id
        if not message.poses:
            self._page.scene.forget()
        before = self._views
        self._views = {
            stamp: View(stamp, camera, before[stamp].image if stamp in before else self._pictures.at(stamp))
            for stamp, camera in viewer_messages.cameras(message).items()
        }
        self._page.scene.show_views(list(self._views.values()))

    def _on_layout(self, message: PointCloud2) -> None:
        self._page.scene.show_cloud(viewer_messages.cloud(message))

    def _on_place(self, message: LanguagePose) -> None:
        self._page.scene.show_place(viewer_messages.described(message))

    def _on_answer(self, message: Answer) -> None:
        if not self._asker.is_own(message):
            self._page.show_exchange(viewer_messages.exchange(message))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        parts = viewer_messages.parts(message, self._node_name)
        if not parts:
            return
        self._heard_at = time.monotonic()
        self._page.show_status(viewer_messages.status(parts))
        rows = viewer_messages.stages(viewer_messages.values(parts.get("camera")))
        self._timings = viewer_messages.merged(rows, self._timings)
        durations = [Timing(name, total.mean, total.largest) for name, total in list(self._durations.items())]
        self._page.show_timings([*self._timings, *durations])

    # --- what is shown ------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        """Show the newest picture and where the robot was when it was taken."""
        message, self._image = self._image, None
        if message is None or not self._page.is_watched:
            return
        camera = self._camera_at(message.header.frame_id, stamp_from_message(message.header.stamp))
        try:
            self._page.show_picture(Picture(decode_image(message), camera))
        except ImageError as error:
            self.get_logger().warning(f"Not shown: {error}", throttle_duration_sec=5.0)
        robot = self._robot_at(message, camera)
        if robot is not None:
            self._page.scene.show_robot(robot)

    def _robot_at(self, message: Image | CompressedImage, camera: FloatArray | None) -> Robot | None:
        """Return where the robot was at a picture: its last pose, and the way of its camera since."""
        pose = self._pose
        if pose is None or stamp_from_message(message.header.stamp) - stamp_from_message(pose.header.stamp) > STALE:
            return None if camera is None else viewer_messages.robot_below(camera)
        robot = viewer_messages.robot(pose)
        before = self._camera_at(message.header.frame_id, stamp_from_message(pose.header.stamp))
        return robot if camera is None or before is None else viewer_messages.carried(robot, before, camera)

    def _camera_at(self, frame: str, stamp: int) -> FloatArray | None:
        """Return where the camera was at a stamp (ns), (4, 4) in the map; None where nobody knows."""
        try:
            return self._transforms.lookup(self._map_frame, frame, stamp)
        except TransformError:
            return None

    def _note_duration(self, name: str, seconds: float) -> None:
        self._durations.setdefault(name, Summary()).add(seconds)

    # --- what is pressed (in threads of the page) ---------------------------------------------------------------------

    def _ask(self, place: str, question: str) -> None:
        if place or question:
            self._asker.ask(place, question)

    def _where(self) -> None:
        self._asker.where()

    def _stop(self) -> None:
        self._asker.stop()


def main(args: Sequence[str] | None = None) -> int:
    """Serve the page until it is told to stop, and return the exit code."""
    return run(LocViewer, SingleThreadedExecutor, args)


if __name__ == "__main__":
    sys.exit(main())
