"""Markers for RViz: keyframes as frustums, names of places, the described place with its ellipse, the answer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from geometry_msgs.msg import Point, PoseWithCovariance
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from loc3r_ros import geometry
from loc3r_ros.interface import FloatArray
from loc3r_ros.msg import Answer, LanguagePose
from loc3r_ros.ros.conversions import pose_message, time_message

FRUSTUM_DEPTH = 0.25
"""Metres from the camera's centre to the drawn picture."""
DEFAULT_FIELD_OF_VIEW = math.radians(60.0)
LARGEST_ELLIPSE = 20.0
"""Metres across; a larger one would cover everything."""
DESCRIBED = ColorRGBA(r=1.0, g=0.6, b=0.1, a=1.0)
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
        x, y, z = map(float, map_t_base[:3, 3])
        markers.append(_text("labels", index, name, Point(x=x, y=y, z=z), frame, stamp))
    return markers


def described_place(place: LanguagePose, stamp: int) -> list[Marker]:
    """Return an arrow, an ellipse of two standard deviations and the text of a described place."""
    frame = place.header.frame_id
    arrow = _marker("described", 0, Marker.ARROW, frame, stamp)
    arrow.pose = place.pose.pose
    arrow.scale.x, arrow.scale.y, arrow.scale.z = 0.5, 0.08, 0.08
    arrow.color = DESCRIBED
    text = _text("described", 1, place.situation, place.pose.pose.position, frame, stamp)
    return [arrow, ellipse(place.pose, frame, stamp), text]


def ellipse(pose: PoseWithCovariance, frame: str, stamp: int) -> Marker:
    """Return the ellipse of two standard deviations of a position, as a flat disc."""
    covariance = np.asarray(pose.covariance).reshape(6, 6)[:2, :2]
    variances, axes = np.linalg.eigh(covariance)
    minor, major = np.clip(4.0 * np.sqrt(np.maximum(variances, 0.0)), 0.01, LARGEST_ELLIPSE)
    marker = _marker("uncertainty", 0, Marker.CYLINDER, frame, stamp)
    position, heading = pose.pose.position, math.atan2(axes[1, 1], axes[0, 1])
    marker.pose = pose_message(geometry.from_planar((position.x, position.y, heading)))
    marker.scale.x, marker.scale.y, marker.scale.z = float(major), float(minor), 0.01
    marker.color = ColorRGBA(r=DESCRIBED.r, g=DESCRIBED.g, b=DESCRIBED.b, a=0.25)
    return marker


def spoken_answer(answer: Answer, map_t_camera: FloatArray, stamp: int) -> Marker:
    """Return question and answer as a text over the place from which it was given, else over the newest camera."""
    x, y, z = map(float, map_t_camera[:3, 3])
    where = answer.pose.pose.pose.position if answer.grounded else Point(x=x, y=y, z=z)
    text = f"{answer.question}\n{answer.answer}"
    return _text("answer", 0, text, Point(x=where.x, y=where.y, z=where.z + 0.5), answer.header.frame_id, stamp)


def marker_array(markers: Iterable[Marker], frame: str, stamp: int) -> MarkerArray:
    """Return the message; it removes what an earlier one drew."""
    clear = _marker("", 0, Marker.CUBE, frame, stamp)
    clear.action = Marker.DELETEALL
    return MarkerArray(markers=[clear, *markers])


def _text(namespace: str, index: int, text: str, where: Point, frame: str, stamp: int) -> Marker:
    marker = _marker(namespace, index, Marker.TEXT_VIEW_FACING, frame, stamp)
    marker.pose.position.x, marker.pose.position.y, marker.pose.position.z = where.x, where.y, where.z
    marker.scale.z, marker.text = 0.2, text
    marker.color = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
    return marker


def _marker(namespace: str, index: int, kind: int, frame: str, stamp: int) -> Marker:
    marker = Marker(ns=namespace, id=index, type=kind, action=Marker.ADD)
    marker.header.frame_id, marker.header.stamp = frame, time_message(stamp)
    marker.pose.orientation.w = 1.0
    return marker
