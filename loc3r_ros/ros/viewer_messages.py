"""From the messages of the node to what the page shows."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseWithCovariance, PoseWithCovarianceStamped
from nav_msgs.msg import Path
from sensor_msgs.msg import CameraInfo, PointCloud2

from loc3r_ros import geometry
from loc3r_ros.errors import Loc3RError
from loc3r_ros.interface import FloatArray
from loc3r_ros.msg import Answer, LanguagePose
from loc3r_ros.ros.conversions import UNKNOWN, matrix_from_pose, stamp_from_message
from loc3r_ros.ros.point_cloud import POINT
from loc3r_ros.viewer import text
from loc3r_ros.viewer.content import Cloud, Described, Exchange, Lens, Level, Robot, Status, Timing

PLANE = np.array([0, 1, 5])
"""Rows of x, y and heading in a covariance of REP-103."""
LEVELS = {DiagnosticStatus.OK: Level.OK, DiagnosticStatus.WARN: Level.WARN}
STAGE = re.compile(r"(.+) mean/max \[ms\]")


class MessageError(Loc3RError):
    """A message that contradicts itself."""


def planar_covariance(message: PoseWithCovariance) -> FloatArray | None:
    """Return (3, 3) of x, y, heading, or None where the message says that the place is not known."""
    covariance = np.asarray(message.covariance, dtype=np.float64).reshape(6, 6)[np.ix_(PLANE, PLANE)]
    return covariance if covariance[0, 0] < UNKNOWN and np.isfinite(covariance).all() else None


def robot(message: PoseWithCovarianceStamped) -> Robot:
    """Return where the robot is.

    Raises:
        PoseError: the pose is not finite, or its quaternion is not normalised.
    """
    return Robot(matrix_from_pose(message.pose.pose), planar_covariance(message.pose))


def carried(robot: Robot, camera_then: FloatArray, camera_now: FloatArray) -> Robot:
    """Return where a robot is now that carries its camera, from where both were; poses are (4, 4) in the map."""
    return Robot(camera_now @ geometry.relative(camera_then, robot.map_t_base), robot.covariance)


def robot_below(map_t_camera: FloatArray) -> Robot:
    """Return a robot on the floor under a camera, for where nobody says how it carries the camera."""
    return Robot(geometry.world_t_anchor(map_t_camera), None)


def described(message: LanguagePose) -> Described:
    """Return a place that the model has found.

    Raises:
        PoseError: the pose is not finite, or its quaternion is not normalised.
        MessageError: the covariance says nothing.
    """
    covariance = planar_covariance(message.pose)
    if covariance is None:
        raise MessageError("a place came without covariance")
    return Described(
        message.situation,
        geometry.planar(matrix_from_pose(message.pose.pose)),
        covariance,
        np.asarray(message.heading_probabilities, dtype=np.float64),
        float(message.confidence),
        float(message.latency),
    )


def exchange(message: Answer) -> Exchange:
    """Return an answer as a whole exchange."""
    return Exchange(message.situation, message.question, message.answer or "(no words)", note(message))


def note(message: Answer, first_word: float | None = None) -> str:
    """Return what there is to know of an answer besides its words.

    Args:
        message: the answer.
        first_word: s until the first word, where that was measured.
    """
    parts = [text.describe(described(message.pose))] if message.grounded else []
    if message.confidence > 0:
        parts.append(f"words {100 * message.confidence:.0f} % sure")
    parts.append(f"{message.keyframe_count} keyframes")
    if first_word is not None:
        parts.append(f"first word {text.duration(first_word)}")
    return " \u00b7 ".join([*parts, f"all {text.duration(message.latency)}"])


def cameras(message: Path) -> dict[int, FloatArray]:
    """Return stamp (ns) -> (4, 4) `map_t_camera` with optical axes of each keyframe.

    Raises:
        PoseError: a pose is not finite, or its quaternion is not normalised.
    """
    return {
        stamp_from_message(pose.header.stamp): matrix_from_pose(pose.pose) @ geometry.CAMERA_LINK_T_OPTICAL
        for pose in message.poses
    }


def cloud(message: PointCloud2) -> Cloud:
    """Return the layout.

    Raises:
        MessageError: it is not laid out as the node lays it out.
    """
    names = tuple(one.name for one in message.fields)
    if names != POINT.names or message.point_step != POINT.itemsize or len(message.data) % POINT.itemsize:
        raise MessageError(f"the layout has fields {', '.join(names)}, not {', '.join(POINT.names or ())}")
    points = np.frombuffer(message.data, POINT)
    colour = np.stack([points["rgb"] >> shift & 0xFF for shift in (16, 8, 0)], axis=1).astype(np.uint8)
    return Cloud(np.stack([points["x"], points["y"], points["z"]], axis=1), colour, points["sigma"])


def lens(message: CameraInfo) -> Lens | None:
    """Return the shape of a camera's frustum, or None where it is not calibrated."""
    focal = message.k[4]
    if not (focal > 0 and message.width and message.height):
        return None
    return Lens(2.0 * math.atan2(message.height / 2.0, focal), message.width / message.height)


# --- diagnostics ------------------------------------------------------------------------------------------------------


def parts(message: DiagnosticArray, node: str) -> dict[str, DiagnosticStatus]:
    """Return name -> status of what a node, by its full name, says of itself; empty where another one speaks."""
    prefix = "loc3r: "
    own = (one for one in message.status if one.hardware_id == node and one.name.startswith(prefix))
    return {one.name.removeprefix(prefix): one for one in own}


def values(status: DiagnosticStatus | None) -> dict[str, str]:
    """Return the key-value pairs of a status."""
    return {pair.key: pair.value for pair in status.values} if status else {}


def status(diagnostics: dict[str, DiagnosticStatus]) -> Status:
    """Return how the node is."""
    worst = max((one.level for one in diagnostics.values()), default=DiagnosticStatus.OK)
    camera, localizer, alignment = (diagnostics.get(name) for name in ("camera", "localizer", "alignment"))
    known = values(localizer)
    sentence = " \u2014 ".join(dict.fromkeys(one.message for one in (localizer, camera) if one))
    details = [
        f"engines {known.get('engines', '?').rpartition('/')[2]}, {known.get('keyframes', 'no')} keyframes, "
        f"{known.get('memory resident [MB]', '?')} MB"
    ]
    if alignment:
        scale = values(alignment).get("scale")
        details.append(f"map: {alignment.message.removesuffix('.')}{f', scale {scale}' if scale else ''}")
    return Status(LEVELS.get(worst, Level.ERROR), sentence, tuple(details))


def stages(pairs: dict[str, str]) -> list[Timing]:
    """Return how long the stages took, from the values of a status."""
    matches = ((STAGE.fullmatch(key), value.split(" / ")) for key, value in pairs.items())
    return [
        Timing(match[1], 1e-3 * float(numbers[0]), 1e-3 * float(numbers[1]))
        for match, numbers in matches
        if match and len(numbers) == 2
    ]


def merged(rows: Iterable[Timing], known: Sequence[Timing]) -> list[Timing]:
    """Return the rows known so far with the new ones in place of their older selves."""
    return list({row.stage: row for row in (*known, *rows)}.values())
