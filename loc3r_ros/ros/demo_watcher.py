"""Watches a simulated robot and the node for the demonstration: what is true, and what the node makes of it."""

from __future__ import annotations

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from nav_msgs.msg import Path
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from loc3r_ros.geometry import Array, from_planar, planar
from loc3r_ros.interface import ImageArray
from loc3r_ros.ros.conversions import UNKNOWN, decode_image, matrix_from_pose, stamp_from_message
from loc3r_ros.ros.qos import LATCHED
from loc3r_ros.world.robot import CameraMount

INITIAL_VARIANCE = 1e-3
TRUTH_QUEUE = 1000
"""Poses that may wait while a picture is drawn."""


class DemoWatcher(Node):
    """Hears robot and node, and tells the node where the robot starts, so that `map` is the frame of the scene.

    Attributes:
        truth: stamp (ns) -> (3,) true pose of the robot in `map`, in the order of time.
        keyframes: stamp (ns) -> (3,) pose of a keyframe's camera in `map` that the node published last.
        counts: the frame counts of the node's diagnostics.
    """

    def __init__(self, context: Context) -> None:
        super().__init__("loc3r_demo", context=context, start_parameter_services=False)
        self.truth: dict[int, Array] = {}
        self.keyframes: dict[int, Array] = {}
        self.counts: dict[str, str] = {}
        self._is_localized = False
        self._base_t_camera = CameraMount().base_t_camera
        self._image: Image | None = None
        newest = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._initial_pose = self.create_publisher(PoseWithCovarianceStamped, "initialpose", 1)
        self.create_subscription(PoseStamped, "ground_truth/pose", self._on_truth, TRUTH_QUEUE)
        self.create_subscription(PoseWithCovarianceStamped, "pose", self._on_pose, LATCHED)
        self.create_subscription(Path, "keyframes", self._on_keyframes, LATCHED)
        self.create_subscription(Image, "image", self._on_image, newest)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    @property
    def path(self) -> Array:
        """(N, 3) true poses so far."""
        return np.array(list(self.truth.values())).reshape(-1, 3)

    @property
    def image(self) -> ImageArray | None:
        """What the camera sees, (H, W, 3) uint8 RGB."""
        return None if self._image is None else decode_image(self._image)

    def true_camera(self, stamp: int) -> Array | None:
        """Return the (4, 4) true pose of the camera at a stamp, optical axes; None where it was not heard."""
        truth = self.truth.get(stamp)
        return None if truth is None else from_planar(truth) @ self._base_t_camera

    def true_cameras(self) -> Array:
        """Return (N, 4, 4) true poses of the cameras of the keyframes, oldest first, as far as they were heard."""
        poses = [self.true_camera(stamp) for stamp in list(self.keyframes)]
        return np.array([pose for pose in poses if pose is not None]).reshape(-1, 4, 4)

    def _on_truth(self, message: PoseStamped) -> None:
        self.truth[stamp_from_message(message.header.stamp)] = planar(matrix_from_pose(message.pose))
        if not self._is_localized and self._initial_pose.get_subscription_count() and len(self.truth) % 10 == 0:
            self._tell_start(message)

    def _tell_start(self, truth: PoseStamped) -> None:
        message = PoseWithCovarianceStamped(header=truth.header)
        message.pose.pose = truth.pose
        message.pose.covariance = (INITIAL_VARIANCE * np.eye(6)).ravel()
        self._initial_pose.publish(message)

    def _on_pose(self, message: PoseWithCovarianceStamped) -> None:
        self._is_localized = message.pose.covariance[0] < UNKNOWN

    def _on_keyframes(self, message: Path) -> None:
        if self._is_localized:
            self.keyframes = {
                stamp_from_message(pose.header.stamp): planar(matrix_from_pose(pose.pose)) for pose in message.poses
            }

    def _on_image(self, message: Image) -> None:
        self._image = message

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == "loc3r: camera":
                self.counts = {pair.key: pair.value for pair in status.values}
