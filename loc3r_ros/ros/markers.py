"""Markers for RViz: the keyframes as frustums, and the names of places."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from loc3r_ros import geometry
from loc3r_ros.interface import FloatArray
from loc3r_ros.ros.conversions import pose_message, time_message

FRUSTUM_DEPTH = 0.25
"""Metres from the camera's centre to the drawn picture."""
DEFAULT_FIELD_OF_VIEW = math.radians(60.0)
EDGES = ((0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1))


def frustum_corners(field_of_view: float, aspect: float) -> FloatArray:
    """Return (5, 3) points in optical axes: the centre of the camera and the corners of its picture.

    Args:
        field_of_view: horizontal, radians.
        aspect: width by height.
    """
    half_width = FRUSTUM_DEPTH * math.tan(field_of_view / 2.0)
    half_height = half_width / aspect
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    return np.array([(0, 0, 0), *((x * half_width, y * half_height, FRUSTUM_DEPTH) for x, y in corners)])


def frustums(map_t_cameras: Sequence[FloatArray], corners: FloatArray, frame: str, stamp: int) -> Marker:
    """Return one marker with the frustums of all cameras, the newest in full colour."""
    marker = _marker("keyframes", 0, Marker.LINE_LIST, frame, stamp)
    marker.scale.x = 0.01
    for age, map_t_camera in enumerate(reversed(map_t_cameras)):
        points = [Point(x=x, y=y, z=z) for x, y, z in geometry.transform_points(map_t_camera, corners).tolist()]
        marker.points.extend(points[end] for edge in EDGES for end in edge)
        fresh = 1.0 if age == 0 else 0.5
        marker.colors.extend([ColorRGBA(r=0.1, g=fresh, b=1.0, a=fresh)] * (2 * len(EDGES)))
    return marker


def labels(places: Mapping[str, FloatArray], frame: str, stamp: int) -> list[Marker]:
    """Return a text for each named place."""
    markers = []
    for index, (name, map_t_base) in enumerate(places.items()):
        marker = _marker("labels", index, Marker.TEXT_VIEW_FACING, frame, stamp)
        marker.pose = pose_message(map_t_base)
        marker.scale.z, marker.text = 0.2, name
        marker.color = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
        markers.append(marker)
    return markers


def marker_array(markers: Iterable[Marker], frame: str, stamp: int) -> MarkerArray:
    """Return the message; it removes what an earlier one drew."""
    clear = _marker("", 0, Marker.CUBE, frame, stamp)
    clear.action = Marker.DELETEALL
    return MarkerArray(markers=[clear, *markers])


def _marker(namespace: str, index: int, kind: int, frame: str, stamp: int) -> Marker:
    marker = Marker(ns=namespace, id=index, type=kind, action=Marker.ADD)
    marker.header.frame_id, marker.header.stamp = frame, time_message(stamp)
    marker.pose.orientation.w = 1.0
    return marker
