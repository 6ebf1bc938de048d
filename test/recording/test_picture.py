"""The ellipses of the picture are those of the covariance."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from loc3r_ros.geometry import rotation2
from loc3r_ros.recording.picture import ellipse


@given(st.floats(0.01, 5), st.floats(0.01, 5), st.floats(-3.1, 3.1), st.sampled_from([1, 2]))
def test_every_point_of_an_ellipse_is_as_many_sigmas_away(first, second, turn, sigmas):
    rotation = rotation2(turn)
    covariance = rotation @ np.diag([first**2, second**2]) @ rotation.T
    centre = np.array([2.0, -1.0])
    offsets = ellipse(centre, covariance, sigmas) - centre
    distances = np.sqrt(np.einsum("ni,ij,nj->n", offsets, np.linalg.inv(covariance), offsets))
    np.testing.assert_allclose(distances, sigmas, rtol=1e-6)


def test_an_ellipse_is_longest_where_the_variance_is_largest():
    points = ellipse(np.zeros(2), np.diag([4.0, 0.25]), 2)
    np.testing.assert_allclose(np.abs(points).max(axis=0), [4.0, 1.0], rtol=1e-3)
    np.testing.assert_allclose(points[0], points[-1], atol=1e-12)
