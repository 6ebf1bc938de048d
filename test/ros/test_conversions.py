"""The border between messages and arrays."""

import array

import numpy as np
import pytest
from geometry_msgs.msg import PoseWithCovarianceStamped
from harness import image_message
from hypothesis import given
from hypothesis import strategies as st
from sensor_msgs.msg import CompressedImage

from loc3r_ros import geometry
from loc3r_ros.errors import ImageError, PoseError
from loc3r_ros.ros import conversions

STAMP = 1_700_000_000_123_456_789


@given(st.integers(0, 2**31 * 10**9 - 1))
def test_stamps_there_and_back(stamp):
    assert conversions.stamp_from_message(conversions.time_message(stamp)) == stamp


def test_a_raw_rgb_image_is_a_view():
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    message = image_message(STAMP, pixels)
    image = conversions.decode_image(message)
    np.testing.assert_array_equal(image, pixels)
    assert np.shares_memory(image, np.frombuffer(message.data, np.uint8))


def test_rows_may_be_padded():
    message = image_message(STAMP, np.zeros((2, 2, 3), np.uint8), step=8, data=array.array("B", range(16)))
    np.testing.assert_array_equal(conversions.decode_image(message)[1].ravel(), range(8, 14))


def test_what_is_no_picture_is_an_image_error():
    with pytest.raises(ImageError):
        conversions.decode_image(CompressedImage(format="jpeg", data=array.array("B", b"nonsense")))


@pytest.mark.parametrize("covariance", [None, np.zeros((6, 6)), -np.ones((6, 6)), 1e12 * np.eye(6)])
def test_a_published_covariance_is_what_nav2_takes(covariance):
    message = conversions.pose_with_covariance(np.eye(4), covariance, "map", STAMP)
    elements = message.pose.covariance.reshape(6, 6)
    assert (elements >= 0).all()
    assert (np.diag(elements) > 0).all()
    assert elements.max() <= 9999.0
    if covariance is None:
        np.testing.assert_array_equal(np.diag(elements), 9999.0)


@pytest.mark.parametrize("wrong", [np.full((4, 4), np.nan), 2 * np.eye(4)])
def test_a_pose_that_is_none_is_never_published(wrong):
    with pytest.raises(PoseError):
        conversions.pose_message(wrong)


def test_an_initial_pose_is_read():
    message = PoseWithCovarianceStamped()
    message.header.frame_id = "/map"
    message.pose.pose = conversions.pose_message(geometry.from_planar((1.0, 2.0, 0.5)))
    pose, covariance = conversions.read_initial_pose(message, "map")
    np.testing.assert_allclose(pose, geometry.from_planar((1.0, 2.0, 0.5)))
    assert covariance.shape == (6, 6)


def test_a_camera_that_looks_along_x_points_its_arrow_along_x():
    optical = geometry.make_pose([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], (1, 2, 3))
    np.testing.assert_allclose(conversions.camera_forward(optical), geometry.make_pose(np.eye(3), (1, 2, 3)))


def test_the_field_of_view_of_a_calibrated_camera():
    assert conversions.horizontal_field_of_view(320.0, 640) == pytest.approx(np.pi / 2)
    assert conversions.horizontal_field_of_view(0.0, 640) is None
