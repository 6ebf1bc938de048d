"""The border between messages and arrays: stamps, poses, covariances and images, as functions without state."""

from __future__ import annotations

import math

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Pose, PoseStamped, PoseWithCovarianceStamped, TransformStamped
from sensor_msgs.msg import CompressedImage, Image

from loc3r_ros import geometry, images
from loc3r_ros.errors import ImageError, Loc3RError
from loc3r_ros.interface import FloatArray, ImageArray

UNKNOWN = 9999.0
"""Variance on the diagonal of what is not known (the habit of robot_localization and rtabmap)."""
SMALLEST_VARIANCE = 1e-6
"""A covariance is never zero: consumers take zero for certainty."""


class PoseMessageError(Loc3RError):
    """A pose message that cannot be used."""


def stamp_from_message(stamp: Time) -> int:
    """Return a stamp in ns."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def time_message(stamp: int) -> Time:
    """Return the message of a stamp in ns."""
    return Time(sec=stamp // 1_000_000_000, nanosec=stamp % 1_000_000_000)


def image_stamp(stamp: Time) -> int:
    """Return the stamp of an image in ns.

    Raises:
        ImageError: it is zero or no time: odometry cannot be looked up for such an image.
    """
    if stamp.sec == 0 and stamp.nanosec == 0:
        raise ImageError("The stamp of the image is zero: the camera driver must stamp its images.")
    return images.stamp_to_ns(stamp.sec, stamp.nanosec)


def decode_image(message: Image | CompressedImage) -> ImageArray:
    """Return the (H, W, 3) uint8 RGB pixels of a message; a view of its data where that is possible.

    Raises:
        ImageError: the message contradicts itself or its encoding is not known.
    """
    if isinstance(message, CompressedImage):
        return images.decode_compressed(message.data, message.format)
    return images.decode(
        message.data, message.encoding, message.width, message.height, message.step, message.is_bigendian
    )


def matrix_from_transform(message: TransformStamped) -> FloatArray:
    """Return (4, 4) `frame_t_child`."""
    translation, rotation = message.transform.translation, message.transform.rotation
    return geometry.from_position_quaternion(
        (translation.x, translation.y, translation.z), (rotation.x, rotation.y, rotation.z, rotation.w)
    )


def matrix_from_pose(message: Pose) -> FloatArray:
    """Return the (4, 4) pose of a message.

    Raises:
        PoseError: it is not finite, or its quaternion is not normalised.
    """
    position, turn = message.position, message.orientation
    return geometry.from_position_quaternion((position.x, position.y, position.z), (turn.x, turn.y, turn.z, turn.w))


def pose_message(pose: FloatArray) -> Pose:
    """Return the message of a (4, 4) pose.

    Raises:
        PoseError: it is not a finite rigid motion; such a pose is never published.
    """
    position, quaternion = geometry.to_position_quaternion(geometry.check_pose(pose))
    message = Pose()
    message.position.x, message.position.y, message.position.z = map(float, position)
    turn = message.orientation
    turn.x, turn.y, turn.z, turn.w = map(float, quaternion)
    return message


def stamped_pose(pose: FloatArray, frame: str, stamp: int) -> PoseStamped:
    """Return the stamped message of a (4, 4) pose."""
    message = PoseStamped(pose=pose_message(pose))
    message.header.frame_id, message.header.stamp = frame, time_message(stamp)
    return message


def pose_with_covariance(
    pose: FloatArray, covariance: FloatArray | None, frame: str, stamp: int
) -> PoseWithCovarianceStamped:
    """Return the stamped message of a (4, 4) pose.

    Args:
        pose: (4, 4) pose in `frame`.
        covariance: (6, 6) in the order of REP-103, or None where the pose is not localized. Only its diagonal is sent:
            nav2 refuses negative elements.
        frame: the frame of the pose.
        stamp: ns.
    """
    message = PoseWithCovarianceStamped()
    message.header.frame_id, message.header.stamp = frame, time_message(stamp)
    message.pose.pose = pose_message(pose)
    variances = np.full(6, UNKNOWN) if covariance is None else np.diag(covariance)
    message.pose.covariance = np.diag(np.clip(variances, SMALLEST_VARIANCE, UNKNOWN)).ravel()
    return message


def read_initial_pose(message: PoseWithCovarianceStamped, map_frame: str) -> tuple[FloatArray, FloatArray]:
    """Return the (4, 4) pose `map_t_base` and the (6, 6) covariance of a message on `initialpose`.

    Raises:
        PoseMessageError: a sentence that says why it cannot be used.
        PoseError: its pose is not finite, or its quaternion is not normalised.
    """
    frame = message.header.frame_id.lstrip("/")
    if frame != map_frame:
        raise PoseMessageError(
            f"its frame is '{frame}', not '{map_frame}': set the fixed frame of RViz to '{map_frame}'"
        )
    covariance = np.asarray(message.pose.covariance, dtype=np.float64).reshape(6, 6)
    if not np.isfinite(covariance).all() or (np.diag(covariance) < 0).any():
        raise PoseMessageError("its covariance has elements that are not finite or variances below zero")
    return matrix_from_pose(message.pose.pose), covariance


def camera_forward(pose: FloatArray) -> FloatArray:
    """Return the (4, 4) pose of a camera with x along its view, given with optical axes."""
    return pose @ geometry.invert(geometry.CAMERA_LINK_T_OPTICAL)


def horizontal_field_of_view(focal_length: float, width: int) -> float | None:
    """Return the angle in radians that `width` pixels see, or None where the camera is not calibrated."""
    return 2.0 * math.atan2(width / 2.0, focal_length) if focal_length > 0 and width > 0 else None
