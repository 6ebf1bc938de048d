"""What the node says: poses, keyframes, markers and transforms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Path
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, PointCloud2
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from loc3r_ros.interface import FloatArray, Keyframe, Layout
from loc3r_ros.ros import markers
from loc3r_ros.ros.conversions import (
    camera_forward,
    horizontal_field_of_view,
    pose_with_covariance,
    stamped_pose,
    time_message,
)
from loc3r_ros.ros.point_cloud import layout_cloud
from loc3r_ros.ros.qos import LATCHED, TRANSFORMS
from loc3r_ros.ros.transforms import transform_message


class Outputs:
    """The publishers of results in `map`."""

    def __init__(self, node: Node, map_frame: str) -> None:
        self._node = node
        self._frame = map_frame
        self._pose = node.create_publisher(PoseWithCovarianceStamped, "pose", LATCHED)
        self._keyframes = node.create_publisher(Path, "keyframes", LATCHED)
        self._markers = node.create_publisher(MarkerArray, "markers", LATCHED)
        self._transforms = node.create_publisher(TFMessage, "/tf", TRANSFORMS)
        self._layout = node.create_publisher(PointCloud2, "layout", LATCHED)
        self._are_markers_stale = self._is_layout_stale = False

    def close(self) -> None:
        """End the publishers."""
        for publisher in (self._pose, self._keyframes, self._markers, self._layout, self._transforms):
            self._node.destroy_publisher(publisher)

    def send_pose(self, map_t_base: FloatArray, covariance: FloatArray | None, stamp: int) -> None:
        """Publish the robot's pose; a covariance of None says that it is not localized."""
        self._pose.publish(pose_with_covariance(map_t_base, covariance, self._frame, stamp))

    def send_keyframes(self, keyframes: Sequence[Keyframe], map_t_odom: FloatArray, stamp: int) -> None:
        """Publish the cameras of the keyframes that have a pose, x along their view."""
        path = Path()
        path.header.frame_id, path.header.stamp = self._frame, time_message(stamp)
        path.poses = [
            stamped_pose(camera_forward(map_t_camera), self._frame, keyframe.stamp)
            for keyframe, map_t_camera in placed(keyframes, map_t_odom)
        ]
        self._keyframes.publish(path)
        self._are_markers_stale = self._is_layout_stale = True

    def send_markers(
        self,
        keyframes: Sequence[Keyframe],
        map_t_odom: FloatArray,
        places: Mapping[str, FloatArray],
        camera: CameraInfo | None,
        stamp: int,
    ) -> None:
        """Publish the markers where something changed and someone listens."""
        if not self._are_markers_stale or not self._markers.get_subscription_count():
            return
        self._are_markers_stale = False
        cameras = [map_t_camera for _, map_t_camera in placed(keyframes, map_t_odom)]
        drawn = [
            markers.frustums(cameras, _corners(camera), self._frame, stamp),
            *markers.labels(places, self._frame, stamp),
        ]
        self._markers.publish(markers.marker_array(drawn if cameras else drawn[1:], self._frame, stamp))

    def mark_stale(self) -> None:
        """Draw the markers again at the next occasion."""
        self._are_markers_stale = True

    def send_layout(self, make: Callable[[], Layout], stamp: int) -> None:
        """Publish the layout in `map`, which `make` returns, where it changed and someone listens.

        Raises:
            NotReadyError: `make` has none.
        """
        if self._is_layout_stale and self._layout.get_subscription_count():
            self._layout.publish(layout_cloud(make(), self._frame, stamp))
            self._is_layout_stale = False

    def broadcast(self, frames: Mapping[str, FloatArray], stamp: int) -> None:
        """Publish `map` -> frame for each frame with its (4, 4) pose."""
        transforms = [transform_message(self._frame, frame, pose, stamp) for frame, pose in frames.items()]
        if transforms:
            self._transforms.publish(TFMessage(transforms=transforms))


def placed(keyframes: Sequence[Keyframe], map_t_odom: FloatArray) -> list[tuple[Keyframe, FloatArray]]:
    """Return the keyframes whose place in the odometry is known, with (4, 4) `map_t_camera`."""
    return [
        (keyframe, map_t_odom @ keyframe.reference_t_camera)
        for keyframe in keyframes
        if keyframe.reference == "odom" and keyframe.reference_t_camera is not None
    ]


def _corners(camera: CameraInfo | None) -> FloatArray:
    angle = camera and horizontal_field_of_view(camera.k[0], camera.width)
    if camera is None or angle is None or not camera.height:
        return markers.frustum_corners(markers.DEFAULT_FIELD_OF_VIEW, 4.0 / 3.0)
    return markers.frustum_corners(angle, camera.width / camera.height)
