"""What the node says: poses, keyframes, markers and transforms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import OccupancyGrid, Path
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, PointCloud2
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from loc3r_ros.alignment import Alignment
from loc3r_ros.interface import FloatArray, Keyframe, Layout
from loc3r_ros.msg import Answer, LanguagePose
from loc3r_ros.ros import markers
from loc3r_ros.ros.conversions import (
    camera_forward,
    horizontal_field_of_view,
    pose_with_covariance,
    stamp_from_message,
    stamped_pose,
    time_message,
)
from loc3r_ros.ros.layout_grid import layout_grid
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
        self._grid = node.create_publisher(OccupancyGrid, "layout_grid", LATCHED)
        self._are_markers_stale = self._is_layout_stale = self._is_grid_stale = False
        self._drawn: tuple[LanguagePose | None, Answer | None] = None, None

    def close(self) -> None:
        """End the publishers."""
        publishers = self._pose, self._keyframes, self._markers, self._layout, self._grid, self._transforms
        for publisher in publishers:
            self._node.destroy_publisher(publisher)

    def send_pose(self, map_t_base: FloatArray, covariance: FloatArray | None, stamp: int) -> None:
        """Publish the robot's pose; a covariance of None says that it is not localized."""
        self._pose.publish(pose_with_covariance(map_t_base, covariance, self._frame, stamp))

    def send_keyframes(
        self, keyframes: Sequence[Keyframe], map_t_odom: FloatArray, alignment: Alignment | None, stamp: int
    ) -> None:
        """Publish the cameras of the keyframes whose place is known, x along their view; see `placed`."""
        path = Path()
        path.header.frame_id, path.header.stamp = self._frame, time_message(stamp)
        path.poses = [
            stamped_pose(camera_forward(map_t_camera), self._frame, keyframe.stamp)
            for keyframe, map_t_camera in placed(keyframes, map_t_odom, alignment)
        ]
        self._keyframes.publish(path)
        self._are_markers_stale = self._is_layout_stale = self._is_grid_stale = True

    def send_markers(
        self,
        cameras: Sequence[FloatArray],
        places: Mapping[str, FloatArray],
        described: LanguagePose | None,
        answer: Answer | None,
        camera: CameraInfo | None,
        stamp: int,
    ) -> None:
        """Publish the markers where something changed and someone listens.

        Args:
            cameras: (4, 4) `map_t_camera` of the keyframes, oldest first.
            places: names with (4, 4) poses in the map.
            described: the described place, where there is one.
            answer: the last answer, where there is one.
            camera: the calibration, where it is known.
            stamp: ns.
        """
        is_new = self._drawn[0] is not described or self._drawn[1] is not answer
        if not (self._are_markers_stale or is_new) or not self._markers.get_subscription_count():
            return
        self._are_markers_stale, self._drawn = False, (described, answer)
        drawn = markers.labels(places, self._frame, stamp)
        if cameras:
            drawn.append(markers.frustums(cameras, _corners(camera), self._frame, stamp))
        if described is not None:
            drawn += markers.described_place(described, stamp)
        if answer is not None and cameras:
            drawn.append(markers.spoken_answer(answer, cameras[-1], stamp))
        self._markers.publish(markers.marker_array(drawn, self._frame, stamp))

    def mark_stale(self) -> None:
        """Draw the markers again at the next occasion."""
        self._are_markers_stale = True

    def send_layout(self, make: Callable[[], Layout], resolution: float, stamp: int) -> None:
        """Publish the layout in `map`, which `make` returns, where it changed and someone listens.

        Args:
            make: returns it.
            resolution: side of a cell of the grid, metres.
            stamp: ns.

        Raises:
            NotReadyError: `make` has none.
        """
        wants_points = self._is_layout_stale and self._layout.get_subscription_count() > 0
        wants_grid = self._is_grid_stale and self._grid.get_subscription_count() > 0
        if not (wants_points or wants_grid):
            return
        layout = make()
        if wants_points:
            self._layout.publish(layout_cloud(layout, self._frame, stamp))
            self._is_layout_stale = False
        if wants_grid:
            self._grid.publish(layout_grid(layout, resolution, self._frame, stamp))
            self._is_grid_stale = False

    def broadcast(self, frames: Mapping[str, FloatArray], stamp: int) -> None:
        """Publish `map` -> frame for each frame with its (4, 4) pose."""
        transforms = [transform_message(self._frame, frame, pose, stamp) for frame, pose in frames.items()]
        if transforms:
            self._transforms.publish(TFMessage(transforms=transforms))


def placed(
    keyframes: Sequence[Keyframe], map_t_odom: FloatArray, alignment: Alignment | None
) -> list[tuple[Keyframe, FloatArray]]:
    """Return the keyframes whose place in the map is known, with (4, 4) `map_t_camera`.

    Args:
        keyframes: posed in the odometry, or in the newest anchor where there was none.
        map_t_odom: (4, 4).
        alignment: of the newest anchor, where there is one.
    """
    cameras: list[tuple[Keyframe, FloatArray]] = []
    for keyframe in keyframes:
        pose = keyframe.reference_t_camera
        if pose is not None and keyframe.reference == "odom":
            cameras.append((keyframe, map_t_odom @ pose))
        elif pose is not None and keyframe.reference == "anchor" and alignment is not None:
            target_t_camera = alignment.camera(pose)
            cameras.append((keyframe, map_t_odom @ target_t_camera if alignment.has_odometry else target_t_camera))
    return cameras


def if_remembered(answer: Answer | None, keyframes: Sequence[Keyframe]) -> Answer | None:
    """Return the answer where the keyframe that it rests on is in memory."""
    if answer is None or not keyframes:
        return None
    stamp = stamp_from_message(answer.header.stamp)
    return answer if keyframes[0].stamp <= stamp <= keyframes[-1].stamp else None


def _corners(camera: CameraInfo | None) -> FloatArray:
    angle = camera and horizontal_field_of_view(camera.k[0], camera.width)
    if camera is None or angle is None or not camera.height:
        return markers.frustum_corners(markers.DEFAULT_FIELD_OF_VIEW, 4.0 / 3.0)
    return markers.frustum_corners(angle, camera.width / camera.height)
