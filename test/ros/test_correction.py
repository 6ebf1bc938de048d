"""From the odometry to the map."""

import numpy as np

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
