"""Poses in the plane and in space, angles, covariances and frames.

A pose in space is a (4, 4) float64 matrix, a pose in the plane a (3,) float64 vector (x, y, heading). A name
`target_t_source` maps coordinates of `source` to `target`, so neighbouring names cancel: `a_t_b @ b_t_c` is `a_t_c`.
Metres and radians; angles are counter-clockwise and lie in [-pi, pi). Quaternions are in the order of ROS, x y z w.
Covariances are in the order of REP-103: x, y, z, then rotations about the fixed axes X, Y, Z.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from transforms3d import euler, quaternions

from loc3r_ros.errors import PoseError

Array = npt.NDArray[np.floating]

CAMERA_LINK_T_OPTICAL: Array = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], dtype=np.float64)
"""REP-103: from optical axes (x right, y down, z forward) to a body's axes (x forward, y left, z up)."""
CAMERA_LINK_T_OPTICAL.flags.writeable = False

QUATERNION_TOLERANCE = 1e-2
"""How far the length of a quaternion may be from 1; what nav2 accepts as normalised."""
ROTATION_TOLERANCE = 1e-3
"""How far R^T R may be from the identity."""
VERTICAL_VIEW = 0.02
"""Horizontal part of the optical axis under which a camera counts as looking straight down or up (about 1 degree)."""


# --- angles -----------------------------------------------------------------------------------------------------------


def wrap_angle(angle: npt.ArrayLike) -> Array:
    """Return the angle, or the array of angles, in [-pi, pi)."""
    wrapped = np.mod(np.asarray(angle, dtype=np.float64) + np.pi, 2 * np.pi) - np.pi
    return np.where(wrapped >= np.pi, -np.pi, wrapped)[()]  # mod rounds -1e-17 up to its modulus


def angle_difference(a: npt.ArrayLike, b: npt.ArrayLike) -> Array:
    """Return `a - b` the short way round, in [-pi, pi)."""
    return wrap_angle(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64))


def _resultant(angles: npt.ArrayLike, weights: npt.ArrayLike | None) -> complex:
    """Return the (weighted) mean of the unit vectors of `angles` as a complex number."""
    units = np.exp(1j * np.asarray(angles, dtype=np.float64))
    return complex(np.average(units, weights=None if weights is None else np.asarray(weights, dtype=np.float64)))


def circular_mean(angles: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Return the mean direction of (N,) angles; 0 where they cancel out exactly."""
    return float(wrap_angle(np.angle(_resultant(angles, weights))))


def circular_std(angles: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Return the circular standard deviation sqrt(-2 ln R) of (N,) angles (Mardia); infinite where they cancel out."""
    length = min(abs(_resultant(angles, weights)), 1.0)
    return float(np.sqrt(-2.0 * np.log(length))) if length > 0.0 else float("inf")


# --- poses in the plane -----------------------------------------------------------------------------------------------


def rotation2(heading: float) -> Array:
    """Return the (2, 2) rotation matrix of a heading."""
    cosine, sine = np.cos(heading), np.sin(heading)
    return np.array([[cosine, -sine], [sine, cosine]])


def compose2(a_t_b: npt.ArrayLike, b_t_c: npt.ArrayLike) -> Array:
    """Return `a_t_c` of two (3,) poses."""
    left, right = np.asarray(a_t_b, dtype=np.float64), np.asarray(b_t_c, dtype=np.float64)
    return np.append(left[:2] + rotation2(left[2]) @ right[:2], wrap_angle(left[2] + right[2]))


def invert2(a_t_b: npt.ArrayLike) -> Array:
    """Return `b_t_a` of a (3,) pose."""
    pose = np.asarray(a_t_b, dtype=np.float64)
    return np.append(-rotation2(pose[2]).T @ pose[:2], wrap_angle(-pose[2]))


def transform_points2(a_t_b: npt.ArrayLike, points_b: npt.ArrayLike) -> Array:
    """Return (N, 2) points of frame b in frame a."""
    pose = np.asarray(a_t_b, dtype=np.float64)
    return np.asarray(points_b, dtype=np.float64) @ rotation2(pose[2]).T + pose[:2]


# --- poses in space ---------------------------------------------------------------------------------------------------


def make_pose(rotation: npt.ArrayLike, translation: npt.ArrayLike) -> Array:
    """Return the (4, 4) pose of a (3, 3) rotation and a (3,) translation."""
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = translation
    return pose


def invert(a_t_b: Array) -> Array:
    """Return `b_t_a` of a (4, 4) pose."""
    inverse_rotation = a_t_b[:3, :3].T
    return make_pose(inverse_rotation, -inverse_rotation @ a_t_b[:3, 3])


def relative(world_t_a: Array, world_t_b: Array) -> Array:
    """Return `a_t_b` of two (4, 4) poses in one frame."""
    return invert(world_t_a) @ world_t_b


def transform_points(a_t_b: Array, points_b: npt.ArrayLike) -> Array:
    """Return (..., 3) points of frame b in frame a."""
    return np.asarray(points_b, dtype=np.float64) @ a_t_b[:3, :3].T + a_t_b[:3, 3]


def rotation_angle(a_t_b: Array) -> float:
    """Return the angle of a pose's rotation, in [0, pi]; exact for small angles too."""
    rotation = a_t_b[:3, :3]
    x, y, z = rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]
    return float(np.arctan2((x * x + y * y + z * z) ** 0.5, np.trace(rotation) - 1.0))


def from_position_quaternion(position: npt.ArrayLike, quaternion: npt.ArrayLike) -> Array:
    """Return the (4, 4) pose of a (3,) position and a (4,) quaternion in the order x y z w.

    Raises:
        PoseError: something is not finite, or the quaternion's length is not 1.
    """
    where, turn = np.asarray(position, dtype=np.float64), np.asarray(quaternion, dtype=np.float64)
    if where.shape != (3,) or turn.shape != (4,):
        raise PoseError(f"A pose needs 3 position and 4 quaternion numbers, not {where.shape} and {turn.shape}.")
    if not (np.isfinite(where).all() and np.isfinite(turn).all()):
        raise PoseError(f"The pose has a number that is not finite: position {where}, quaternion (x y z w) {turn}.")
    length = float(np.sqrt(turn @ turn))
    if abs(length - 1.0) > QUATERNION_TOLERANCE:
        raise PoseError(f"The quaternion (x y z w) {turn} has length {length:.4g}, not 1: normalise it.")
    return make_pose(quaternions.quat2mat(turn[[3, 0, 1, 2]]), where)


def to_position_quaternion(pose: Array) -> tuple[Array, Array]:
    """Return the (3,) position and the (4,) unit quaternion x y z w, w >= 0, of a (4, 4) pose."""
    turn = quaternions.mat2quat(pose[:3, :3])
    return pose[:3, 3].copy(), turn[[1, 2, 3, 0]] / np.sqrt(turn @ turn)


def from_position_rpy(position: npt.ArrayLike, roll: float, pitch: float, yaw: float) -> Array:
    """Return the (4, 4) pose whose rotation is `Rz(yaw) Ry(pitch) Rx(roll)` (fixed axes X, Y, Z: REP-103)."""
    return make_pose(euler.euler2mat(roll, pitch, yaw, "sxyz"), position)


def roll_pitch_yaw(pose: Array) -> tuple[float, float, float]:
    """Return roll, pitch and yaw of a (4, 4) pose; at a pitch of +-pi/2, where roll and yaw are one, yaw is 0."""
    roll, pitch, yaw = euler.mat2euler(pose[:3, :3], "sxyz")
    return float(wrap_angle(roll)), float(pitch), float(wrap_angle(yaw))


def check_pose(pose: npt.ArrayLike, name: str = "The pose") -> Array:
    """Return `pose` as a (4, 4) float64 array if it is one.

    Raises:
        PoseError: a sentence, begun by `name`, that says what is wrong with it.
    """
    matrix = np.asarray(pose, dtype=np.float64)
    if matrix.shape != (4, 4):
        raise PoseError(f"{name} must be a 4 x 4 matrix, not an array of shape {matrix.shape}.")
    if not np.isfinite(matrix).all():
        raise PoseError(f"{name} has numbers that are not finite: {matrix.tolist()}.")
    rotation = matrix[:3, :3]
    error = float(np.abs(rotation.T @ rotation - np.eye(3)).max())
    if error > ROTATION_TOLERANCE or np.linalg.det(rotation) < 0:
        raise PoseError(f"{name} is not a rotation and a translation (its rotation part is off by {error:.3g}).")
    if not np.array_equal(matrix[3], (0.0, 0.0, 0.0, 1.0)):
        raise PoseError(f"{name} must end in the row 0 0 0 1, not {matrix[3].tolist()}.")
    return matrix


def is_valid_pose(pose: npt.ArrayLike) -> bool:
    """Say whether `pose` is a finite (4, 4) rotation and translation."""
    try:
        check_pose(pose)
    except PoseError:
        return False
    return True


# --- between space and plane ------------------------------------------------------------------------------------------


def planar(pose: Array) -> Array:
    """Return the (3,) x, y and heading of a (4, 4) pose of a body: the heading is that of its x axis."""
    return np.array([pose[0, 3], pose[1, 3], wrap_angle(np.arctan2(pose[1, 0], pose[0, 0]))])


def from_planar(pose2: npt.ArrayLike, height: float = 0.0) -> Array:
    """Return the upright (4, 4) pose at (x, y, height) with the heading of a (3,) pose."""
    x, y, heading = np.asarray(pose2, dtype=np.float64)
    pose = make_pose(np.eye(3), (x, y, height))
    pose[:2, :2] = rotation2(heading)
    return pose


def camera_heading(world_t_camera: Array) -> float:
    """Return where a camera (optical axes) looks, seen from above, in a frame whose z is up.

    A camera that looks straight down or up has no such direction. It is given the heading that it had while it was
    pitched to there without roll: square to its right axis. Looking down, that is where the top of the picture points.
    """
    forward, right = world_t_camera[:2, 2], world_t_camera[:2, 0]
    if np.hypot(*forward) < VERTICAL_VIEW:
        forward = np.array([-right[1], right[0]])
    return float(wrap_angle(np.arctan2(forward[1], forward[0])))


def world_t_anchor(world_t_camera: Array, floor_height: float = 0.0) -> Array:
    """Return the gravity-aligned frame under a camera: on the floor, x along the camera's heading, y left, z up.

    Args:
        world_t_camera: (4, 4) pose with optical axes in a frame whose z is up.
        floor_height: z of the floor in that frame, metres.
    """
    x, y = world_t_camera[:2, 3]
    return from_planar((x, y, camera_heading(world_t_camera)), floor_height)


# --- covariances ------------------------------------------------------------------------------------------------------


def rotate_covariance(covariance: Array, rotation: Array) -> Array:
    """Return a pose's covariance, given along the axes of one frame, along the axes of another.

    Args:
        covariance: (3, 3) of x, y, heading, or (6, 6) in the order of REP-103.
        rotation: (2, 2) for the former, (3, 3) for the latter; from the given axes to the wanted ones.
    """
    turn = np.eye(len(covariance))
    size = len(rotation)
    turn[:size, :size] = rotation
    if len(covariance) == 6:
        turn[3:, 3:] = rotation
    return _symmetric(turn @ covariance @ turn.T)


def compose2_covariance(a_t_b: Array, covariance_ab: Array, b_t_c: Array, covariance_bc: Array) -> Array:
    """Return the (3, 3) covariance of `compose2(a_t_b, b_t_c)` to first order, the two poses being independent.

    Each covariance is that of the numbers x, y, heading of its (3,) pose: it lies along the axes of the target frame.
    """
    lever = rotation2(float(a_t_b[2])) @ np.asarray(b_t_c, dtype=np.float64)[:2]
    by_first, by_second = np.eye(3), np.eye(3)
    by_first[:2, 2] = -lever[1], lever[0]
    by_second[:2, :2] = rotation2(float(a_t_b[2]))
    return _symmetric(by_first @ covariance_ab @ by_first.T + by_second @ covariance_bc @ by_second.T)


def adjoint2(a_t_b: npt.ArrayLike) -> Array:
    """Return the (3, 3) matrix that carries a twist (vx, vy, w) of frame b to frame a."""
    x, y, heading = np.asarray(a_t_b, dtype=np.float64)
    matrix = np.eye(3)
    matrix[:2, :2] = rotation2(heading)
    matrix[:2, 2] = y, -x
    return matrix


def adjoint(a_t_b: Array) -> Array:
    """Return the (6, 6) matrix that carries a twist (v, w) of frame b to frame a."""
    rotation, (x, y, z) = a_t_b[:3, :3], a_t_b[:3, 3]
    matrix = np.zeros((6, 6))
    matrix[:3, :3] = matrix[3:, 3:] = rotation
    matrix[:3, 3:] = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ rotation
    return matrix


def transport_covariance(covariance_b: Array, adjoint_ab: Array) -> Array:
    """Return a twist's covariance in frame a, given in frame b; the matrix is `adjoint2(a_t_b)` or `adjoint(a_t_b)`."""
    return _symmetric(adjoint_ab @ covariance_b @ adjoint_ab.T)


def _symmetric(matrix: Array) -> Array:
    return 0.5 * (matrix + matrix.T)


# --- between stamps ---------------------------------------------------------------------------------------------------


def interpolate(start: Array, end: Array, fraction: float) -> Array:
    """Return the (4, 4) pose between two: the rotation turns evenly the short way (slerp), the position moves straight.

    Args:
        start: (4, 4) pose at fraction 0.
        end: (4, 4) pose at fraction 1, in the same frame.
        fraction: 0..1.
    """
    turn = quaternions.mat2quat(start[:3, :3].T @ end[:3, :3])
    sine = np.sqrt(turn[1:] @ turn[1:])  # of half the angle: precise where the angle is small
    axis = turn[1:] / sine if sine > 0 else np.array([1.0, 0.0, 0.0])
    angle = 2.0 * fraction * np.arctan2(sine, turn[0])
    step = quaternions.quat2mat(quaternions.axangle2quat(axis, angle, is_normalized=True))
    return make_pose(start[:3, :3] @ step, (1.0 - fraction) * start[:3, 3] + fraction * end[:3, 3])


def pose_at(stamp: int, stamps: Sequence[int] | npt.NDArray[np.int64], poses: Sequence[Array] | Array) -> Array | None:
    """Return the pose at a stamp, interpolated between its neighbours, or None where the stamps do not cover it.

    Args:
        stamp: ns.
        stamps: (N,) ns, rising.
        poses: (N, 4, 4) poses in one frame.
    """
    after = int(np.searchsorted(stamps, stamp))
    if after < len(stamps) and int(stamps[after]) == stamp:
        return np.array(poses[after])
    if after == 0 or after == len(stamps):
        return None
    begin, end = int(stamps[after - 1]), int(stamps[after])
    return interpolate(poses[after - 1], poses[after], (stamp - begin) / (end - begin))


# --- the pinhole camera -----------------------------------------------------------------------------------------------


def project(camera_matrix: Array, points: npt.ArrayLike) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Project points onto the image of a pinhole camera without distortion.

    Args:
        camera_matrix: (3, 3) K; pixels follow its convention (sensor_msgs/CameraInfo: centres at whole numbers).
        points: (N, 3) in the camera's optical frame.

    Returns:
        (N, 2) pixels (u, v), NaN for points that are not in front of the camera, and the (N,) mask of those that are.
    """
    points = np.asarray(points, dtype=np.float64)
    in_front = points[:, 2] > 0
    depth = np.where(in_front, points[:, 2], np.nan)[:, None]
    return (points / depth) @ camera_matrix[:2].T, in_front


def ellipse_axes(covariance: npt.ArrayLike) -> tuple[float, float, float]:
    """Return the larger and the smaller standard deviation of a (2, 2) covariance, and the heading of the larger."""
    variances, axes = np.linalg.eigh(np.asarray(covariance))
    minor, major = np.sqrt(np.maximum(variances, 0.0))
    return float(major), float(minor), math.atan2(axes[1, 1], axes[0, 1])


def ellipse_outline(covariance: npt.ArrayLike, sigmas: float, points: int = 64) -> Array:
    """Return the (points, 2) outline, counter-clockwise around the origin, of the n-sigma ellipse of a covariance."""
    major, minor, heading = ellipse_axes(covariance)
    turn = np.arange(points) * (2.0 * np.pi / points)
    return sigmas * np.stack([major * np.cos(turn), minor * np.sin(turn)], axis=1) @ rotation2(heading).T


def probability_within(radius: float, sigma_x: float, sigma_y: float) -> float:
    """Return the probability that a centred normal point lies within `radius`.

    The radial integral is closed; the angular one is periodic, so 256 equal steps give it to machine precision unless
    the axes differ by orders of magnitude.

    Args:
        radius: metres.
        sigma_x: standard deviation along one principal axis, metres, above 0.
        sigma_y: along the other.
    """
    angles = np.arange(256) * (2 * np.pi / 256)
    curvature = (np.cos(angles) / sigma_x) ** 2 + (np.sin(angles) / sigma_y) ** 2
    inside = -np.expm1(-0.5 * radius**2 * curvature) / curvature
    return float(np.clip(inside.mean() / (sigma_x * sigma_y), 0.0, 1.0))
