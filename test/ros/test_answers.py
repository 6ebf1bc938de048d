"""Places and answers in the frames of the robot."""

from dataclasses import replace

import numpy as np
import pytest
from harness import time_message
from hypothesis import given
from hypothesis import strategies as st

from loc3r_ros import geometry
from loc3r_ros.alignment import Located
from loc3r_ros.interface import HEADING_BINS, Place, Reply
from loc3r_ros.ros import answers

STAMP = 1_700_000_000_123_456_789

DISTRIBUTIONS = st.lists(st.floats(0.01, 1.0), min_size=HEADING_BINS, max_size=HEADING_BINS).map(
    lambda values: np.array(values) / sum(values)
)


@given(DISTRIBUTIONS, st.floats(-10.0, 10.0))
def test_a_turned_distribution_has_sum_one_and_a_turned_mean(probabilities, angle):
    turned = answers.turn_distribution(probabilities, angle)
    assert turned.sum() == pytest.approx(1.0)
    assert (turned >= 0).all()
    before = probabilities @ np.exp(1j * answers.BIN_CENTRES)
    after = turned @ np.exp(1j * answers.BIN_CENTRES)
    if abs(before) > 1e-3:  # sharing a bin between two turns the mean by up to a quarter of a bin
        assert abs(geometry.angle_difference(np.angle(after), np.angle(before) + angle)) < 0.05


def test_whole_bins_turn_exactly():
    probabilities = np.eye(HEADING_BINS)[3]
    turned = answers.turn_distribution(probabilities, -5 * 2 * np.pi / HEADING_BINS)
    np.testing.assert_allclose(turned, np.eye(HEADING_BINS)[-2], atol=1e-9)


def place():
    return Place(
        "by the door", np.array([1.0, 0.0, 0.0]), np.diag([0.04, 0.01, 0.02]), np.eye(36)[18], 0.8, 2, STAMP, 5
    )


def test_a_place_is_carried_into_the_map():
    located = Located(np.array([10.0, 21.0, np.pi / 2]), np.diag([0.01, 0.04, 0.02]))
    message = answers.language_pose(place(), located, "map", 0.25)
    position, turn = message.pose.pose.position, message.pose.pose.orientation
    assert (position.x, position.y) == pytest.approx((10.0, 21.0))
    assert (turn.z, turn.w) == pytest.approx((np.sqrt(0.5), np.sqrt(0.5)))
    covariance = message.pose.covariance.reshape(6, 6)
    assert covariance[[0, 1, 5], [0, 1, 5]] == pytest.approx([0.01, 0.04, 0.02])
    assert np.diag(covariance)[2:5].tolist() == [9999.0] * 3
    assert int(np.argmax(message.heading_probabilities)) == 27
    assert message.header.stamp == time_message(STAMP)
    assert message.heading_stddev < 0.2


@given(st.floats(-np.pi, np.pi), st.floats(0.0, 1.0))
def test_the_robots_own_place_by_odometry_has_its_heading_in_the_distribution(heading, sigma):
    robot = Located(np.array([3.0, 4.0, heading]), np.diag([0.01, 0.04, sigma**2]), "a doubt")
    told = answers.told_by_odometry(replace(place(), situation=""), robot, STAMP + 5)
    mean = told.heading_distribution @ np.exp(1j * answers.BIN_CENTRES)
    assert told.heading_distribution.sum() == pytest.approx(1.0)
    assert abs(geometry.angle_difference(np.angle(mean), heading)) < 0.05
    message = answers.language_pose(told, robot, "map", 0.0)
    assert message.header.stamp == time_message(STAMP + 5)
    assert message.pose.covariance.reshape(6, 6)[5, 5] == pytest.approx(max(sigma**2, 1e-6))
    assert sigma - 1e-3 < message.heading_stddev < sigma + np.radians(10.0)
    assert (message.confidence, message.anchor_id, message.keyframe_count) == (pytest.approx(robot.confidence), 2, 5)


def test_an_answer_says_whether_a_pose_grounds_it():
    reply = Reply("Two.", None, 0.5, 5, STAMP)
    message = answers.answer_message(reply, "How many chairs?", "", None, "map", 0.1)
    assert (message.answer, message.grounded, message.keyframe_count) == ("Two.", False, 5)
