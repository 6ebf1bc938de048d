"""Messages of places and answers: from the anchor frame of the model to a frame of the robot."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from geometry_msgs.msg import PoseWithCovariance

from loc3r_ros import geometry
from loc3r_ros.alignment import Located, widened
from loc3r_ros.interface import HEADING_BINS, FloatArray, Place, Reply
from loc3r_ros.msg import Answer, LanguagePose
from loc3r_ros.ros.conversions import SMALLEST_VARIANCE, UNKNOWN, pose_message, time_message

BIN_CENTRES = -math.pi + (np.arange(HEADING_BINS) + 0.5) * (2.0 * math.pi / HEADING_BINS)


def turn_distribution(probabilities: FloatArray, angle: float) -> FloatArray:
    """Return a (36,) heading distribution turned by an angle; each bin shares itself between two."""
    whole, part = divmod(angle / (2.0 * math.pi / HEADING_BINS), 1.0)
    turned = np.roll(probabilities, int(whole))
    return (1.0 - part) * turned + part * np.roll(turned, 1)


def planar_pose(pose: FloatArray, covariance: FloatArray) -> PoseWithCovariance:
    """Return the message of a (3,) pose with its (3, 3) covariance; what it leaves open has variance 9999."""
    message = PoseWithCovariance(pose=pose_message(geometry.from_planar(pose)))
    full = np.diag(np.full(6, UNKNOWN))
    rows = np.array([0, 1, 5])
    full[np.ix_(rows, rows)] = covariance
    full[rows, rows] = np.clip(np.diag(covariance), SMALLEST_VARIANCE, UNKNOWN)
    message.covariance = full.ravel()
    return message


def seen_from(camera: Located, base_t_camera: FloatArray) -> Located:
    """Return the place of a robot that carries a camera whose place is known.

    Args:
        camera: place and heading of the camera.
        base_t_camera: (3,) place and heading of the camera on the robot.
    """
    camera_t_base, certain = geometry.invert2(base_t_camera), np.zeros((3, 3))
    return replace(
        camera,
        pose=geometry.compose2(camera.pose, camera_t_base),
        covariance=geometry.compose2_covariance(camera.pose, camera.covariance, camera_t_base, certain),
    )


def told_by_odometry(place: Place, robot: Located, stamp: int) -> Place:
    """Return the robot's own place as the odometry has it.

    Args:
        place: the same as the model has it.
        robot: the robot in the map.
        stamp: of that, ns.
    """
    middle = HEADING_BINS // 2
    certain = turn_distribution(np.eye(HEADING_BINS)[middle], float(robot.pose[2] - BIN_CENTRES[middle]))
    return replace(
        place,
        pose=robot.pose,
        covariance=robot.covariance,
        heading_distribution=widened(certain, float(robot.covariance[2, 2])),
        confidence=robot.confidence,
        stamp=stamp,
    )


def language_pose(place: Place, located: Located, frame: str, latency: float) -> LanguagePose:
    """Return the message of a place.

    Args:
        place: in the anchor frame.
        located: the same in `frame`.
        frame: name of the target frame.
        latency: seconds since the request.
    """
    turn = float(geometry.angle_difference(located.pose[2], place.pose[2]))
    added = float(located.covariance[2, 2] - place.covariance[2, 2])  # by the fit and the odometry
    probabilities = widened(turn_distribution(place.heading_distribution, turn), added)
    message = LanguagePose(situation=place.situation)
    message.header.frame_id, message.header.stamp = frame, time_message(place.stamp)
    message.pose = planar_pose(located.pose, located.covariance)
    message.heading_probabilities = probabilities.astype(np.float32)
    message.heading_stddev = min(geometry.circular_std(BIN_CENTRES, probabilities), UNKNOWN)
    message.confidence = located.confidence
    message.anchor_id, message.keyframe_count = place.anchor_id, place.keyframe_count
    message.latency = latency
    return message


def answer_message(
    reply: Reply, question: str, situation: str, pose: LanguagePose | None, frame: str, latency: float
) -> Answer:
    """Return the message of an answer.

    Args:
        reply: the answer.
        question: what was asked.
        situation: from where.
        pose: the message of `reply.pose`, where it has one.
        frame: name of the map frame.
        latency: seconds since the request.
    """
    message = Answer(situation=situation, question=question, answer=reply.text, grounded=pose is not None)
    message.header.frame_id, message.header.stamp = frame, time_message(reply.stamp)
    if pose is not None:
        message.pose = pose
    message.confidence, message.keyframe_count = float(reply.confidence), reply.keyframe_count
    message.latency = latency
    return message
