"""Anchors in a frame of the robot: there and back, and where somebody says that a body is."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from loc3r_ros import geometry
from loc3r_ros.alignment import Alignment, Located

metres, angle = st.floats(-20, 20), st.floats(-3.1, 3.1)
pose = st.tuples(metres, metres, angle).map(np.array)
COVARIANCE = np.diag([0.01, 0.02, 0.001, 0.01])


def alignment(place, scale):
    return Alignment(3, place, scale, COVARIANCE, has_odometry=True)


def same(one, other):
    np.testing.assert_allclose(one[:2], other[:2], atol=1e-8)
    assert abs(geometry.angle_difference(one[2], other[2])) < 1e-8


@given(pose, st.floats(0.5, 2.0), pose)
def test_what_is_found_is_applied_back(place, scale, body):
    anchor = alignment(place, scale)
    found, covariance = anchor.find(body)
    same(anchor.apply(found, covariance)[0], body)
    assert (np.linalg.eigvalsh(covariance) > -1e-12).all()


@given(pose, st.floats(0.5, 2.0), pose, pose)
def test_a_body_that_is_pinned_is_where_somebody_says_and_as_sure(place, scale, anchor_t_body, told):
    sure = np.diag([0.04, 0.01, 0.0001])
    pinned = alignment(place, scale).pinned(anchor_t_body, told, sure)
    where, covariance = pinned.apply(anchor_t_body, np.zeros((3, 3)))
    same(where, told)
    np.testing.assert_allclose(covariance, sure, atol=1e-3 * (1 + np.abs(anchor_t_body[:2]).max() ** 2))
    assert pinned.scale == scale


@given(pose, st.floats(0.5, 2.0), pose, pose)
def test_another_target(place, scale, frame, body):
    anchor = alignment(place, scale)
    moved = anchor.moved(frame, has_odometry=False)
    where, covariance = anchor.apply(body, np.zeros((3, 3)))
    there, turned = moved.apply(body, np.zeros((3, 3)))
    same(there, geometry.compose2(frame, where))
    np.testing.assert_allclose(turned, geometry.rotate_covariance(covariance, geometry.rotation2(frame[2])), atol=1e-8)
    assert not moved.has_odometry


def test_a_place_that_is_less_sure_is_less_likely_right():
    sure, vague = (Located(np.zeros(3), np.diag([s, s, 0.1]) ** 2).confidence for s in (0.1, 2.0))
    assert sure > 0.99 and vague < 0.2
