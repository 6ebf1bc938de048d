import numpy as np
import pytest

from loc3r_ros.evaluation import uncertainty


def test_errors_in_units_of_their_sigma():
    error = np.array([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]])
    covariance = np.array([np.diag([4.0, 1.0]), np.diag([1.0, 9.0]), [[2.0, 1.0], [1.0, 2.0]]])
    np.testing.assert_allclose(uncertainty.squared_mahalanobis(error, covariance), [1.0, 1.0, 2 / 3])


def test_levels_of_the_ellipses():
    levels = uncertainty.ellipse_levels(np.array([0.0, 1.0, 4.0]))
    np.testing.assert_allclose(levels, [0.0, 0.393469, 0.864665], atol=1e-6)
    np.testing.assert_allclose(levels[1:], list(uncertainty.ELLIPSE_COVERAGE.values()))
    np.testing.assert_allclose(
        uncertainty.normal_levels(np.array([1.0, -4.0]), np.array([1.0, 2.0])),
        list(uncertainty.NORMAL_COVERAGE.values()),
    )


def test_even_levels_are_honest_and_the_worst_are_off_by_a_half():
    assert uncertainty.calibration_error((np.arange(1000) + 0.5) / 1000) < 1e-3
    assert uncertainty.calibration_error(np.zeros(10)) == pytest.approx(0.5)
    assert uncertainty.calibration_error(np.ones(10)) == pytest.approx(0.5, abs=1e-3)
    assert uncertainty.calibration_error([0.5]) == pytest.approx(0.25)  # 0 up to a half, then 1


def test_confidence_against_outcome():
    confidence = np.array([0.85, 0.85, 0.25, 0.25, 1.0])
    right = np.array([True, True, False, False, True])
    # bins 0.8-0.9: |1.7 - 2|, 0.2-0.3: |0.5 - 0|, 0.9-1: 0
    assert uncertainty.confidence_error(confidence, right) == pytest.approx((0.3 + 0.5) / 5)


def test_rank_correlation():
    assert uncertainty.rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([1.0, 20.0, 21.0])) == pytest.approx(1.0)
    assert uncertainty.rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([3.0, 1.0, 2.0])) == pytest.approx(-0.5)
    assert np.isnan(uncertainty.rank_correlation(np.ones(3), np.arange(3.0)))


def test_sigma_of_a_position():
    assert uncertainty.position_sigma(np.diag([9.0, 16.0, 1.0])[None])[0] == pytest.approx(np.sqrt(12.5))
