"""The node in a process of its own, and what it says of the frames that it was sent."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Path as PathMessage
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions

from loc3r_ros.errors import Loc3RError
from loc3r_ros.geometry import Array
from loc3r_ros.ros.conversions import matrix_from_pose, stamp_from_message
from loc3r_ros.ros.lifecycle import SpinThread
from loc3r_ros.ros.processes import NodeProcess, use_large_images
from loc3r_ros.ros.qos import LATCHED

COUNTS = ("received", "processed", "replaced", "failed", "pending")
PROFILES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
PATIENCE = 60.0


def environment(has_profile: bool = True) -> dict[str, str]:
    """Return the environment of the processes of a benchmark: a private ROS domain, with the DDS profile or without."""
    os.environ.setdefault("ROS_DOMAIN_ID", "87")
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    variables = {name: value for name, value in os.environ.items() if name not in PROFILES}
    if has_profile:
        use_large_images(variables)
    return variables


class WatchedNode:
    """The node, and a probe that hears its diagnostics, poses and keyframes; ends as a context manager.

    Attributes:
        ages: seconds from the stamp of an image to the arrival of the pose that the node gave it.
        keyframes: stamp (ns) -> (4, 4) `map_t_camera` with x along the view, as published last.
        arrival_ages: (mean, largest) milliseconds from the stamp of an image to its arrival, per second.
    """

    def __init__(self, parameters: Mapping[str, object], variables: Mapping[str, str], log: Path) -> None:
        """Start the node and wait until it is active."""
        self.ages: list[float] = []
        self.keyframes: dict[int, Array] = {}
        self.arrival_ages: list[tuple[float, float]] = []
        self._reports: list[dict[str, int]] = []
        self._is_active = False
        self._context = Context()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._probe = Node("benchmark_probe", context=self._context, start_parameter_services=False)
        self._probe.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._probe.create_subscription(PoseWithCovarianceStamped, "pose", self._on_pose, QoSProfile(depth=1000))
        self._probe.create_subscription(PathMessage, "keyframes", self._on_keyframes, LATCHED)
        executor = SingleThreadedExecutor(context=self._context)
        executor.add_node(self._probe)
        self._spinner = SpinThread("benchmark_probe", executor, self._probe.get_logger().error)
        self._process = NodeProcess("loc3r_node", parameters, log=log, environment=variables)
        self._wait(lambda: self._is_active, "the node to become active")

    def __enter__(self) -> WatchedNode:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.stop()
        self._spinner.stop()
        self._probe.destroy_node()
        rclpy.try_shutdown(context=self._context)

    @property
    def probe(self) -> Node:
        """The node that listens, in a thread of its own."""
        return self._probe

    def cpu_seconds(self) -> float:
        """Return the CPU time (user + system) of the node so far."""
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)

    def final_counts(self) -> dict[str, int]:
        """Wait until the node has nothing left to do, and return what became of its frames."""
        seen = len(self._reports)
        self._wait(lambda: len(self._reports) >= seen + 2 and self._is_quiet(), "the node to finish its frames")
        return self._reports[-1]

    def _is_quiet(self) -> bool:
        return self._reports[-1] == self._reports[-2] and not self._reports[-1]["pending"]

    def _wait(self, is_done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not is_done():
            self._process.check()
            if time.monotonic() > deadline:
                raise Loc3RError(f"Waited {PATIENCE:g} s in vain for {what}.")
            time.sleep(0.05)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        values = {status.name: {pair.key: pair.value for pair in status.values} for status in message.status}
        camera = values.get("loc3r: camera", {})
        self._is_active = values.get("loc3r: localizer", {}).get("state") == "active"
        if "received" in camera:
            self._reports.append({name: int(camera[name]) for name in COUNTS})
        if "age mean/max [ms]" in camera:
            mean, largest = camera["age mean/max [ms]"].split("/")
            self.arrival_ages.append((float(mean), float(largest)))

    def _on_pose(self, message: PoseWithCovarianceStamped) -> None:
        self.ages.append((time.time_ns() - stamp_from_message(message.header.stamp)) * 1e-9)

    def _on_keyframes(self, message: PathMessage) -> None:
        self.keyframes = {stamp_from_message(pose.header.stamp): matrix_from_pose(pose.pose) for pose in message.poses}
