"""From the odometry to the map."""

import numpy as np
import pytest

from loc3r_ros import geometry
from loc3r_ros.alignment import Located
from loc3r_ros.ros.correction import Correction


def test_the_correction_carries_the_odometry_into_the_map():
    correction = Correction()
    assert correction.covariance is None
    np.testing.assert_array_equal(correction.map_t_odom, np.eye(4))
    map_t_base, odom_t_base = np.eye(4), np.eye(4)
    map_t_base[0, 3], odom_t_base[0, 3] = 5.0, 2.0
    correction.seed(map_t_base, odom_t_base, np.eye(6))
    np.testing.assert_allclose(correction.map_t_odom @ odom_t_base, map_t_base)
    correction.reset()
    assert correction.covariance is None


def test_the_covariance_grows_with_the_odometry_and_turns_into_the_map():
    correction, pose = Correction(), np.eye(4)
    map_t_base = geometry.from_planar((0, 0, np.pi / 2))
    correction.seed(map_t_base, pose, np.diag([0.01, 0.04, 0, 0, 0, 1e-6]))
    np.testing.assert_allclose(np.diag(correction.covariance), [0.01, 0.04, 0, 0, 0, 1e-6], atol=1e-12)
    correction.follow(pose, 0)
    correction.follow(geometry.from_planar((10.0, 0, 0)), 1)
    sigma = np.sqrt(np.diag(correction.covariance))
    assert sigma[1] == pytest.approx(np.sqrt(0.04 + 0.2**2 + 10 * 0.01**2), rel=1e-3)  # 2 % of 10 m, along the map's y
    assert sigma[0] == pytest.approx(np.sqrt(0.01 + 10 * 0.01**2 + 1e-6 * 100), rel=1e-3)


def test_a_place_is_less_sure_the_farther_it_is():
    correction = Correction()
    correction.seed(geometry.from_planar((5.0, 0, 0)), np.eye(4), np.diag([0, 0, 0, 0, 0, 0.01]))
    near, far = (correction.into_map(Located(np.array([x, 0.0, 0.0]), np.zeros((3, 3)))) for x in (0.0, 10.0))
    assert near.pose[0] == 5.0 and near.covariance[1, 1] == pytest.approx(0)
    assert far.pose[0] == 15.0 and far.covariance[1, 1] == pytest.approx((0.1 * 10) ** 2, rel=0.02)
