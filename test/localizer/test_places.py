import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loc3r_ros import geometry
from loc3r_ros.engines.manifest import Calibration
from loc3r_ros.localizer.places import (
    BIN_CENTRES,
    described_place,
    heading_distribution,
    wrapped_normal,
)

sigmas = st.floats(0.05, 20.0)


@settings(max_examples=30)
@given(sigmas, sigmas, st.floats(0.1, 5.0))
def test_the_probability_within_a_circle_agrees_with_samples(sigma_x, sigma_y, radius):
    quantiles = (np.arange(400) + 0.5) / 400
    normal = math.sqrt(2) * np.array([_inverse_erf(2 * q - 1) for q in quantiles])
    x, y = np.meshgrid(sigma_x * normal, sigma_y * normal)
    expected = float((np.hypot(x, y) <= radius).mean())
    assert geometry.probability_within(radius, sigma_x, sigma_y) == pytest.approx(expected, abs=0.01)


def _inverse_erf(value):
    low, high = -5.0, 5.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erf(middle) < value else (low, middle)
    return low


def test_a_round_uncertainty_has_a_closed_form():
    for sigma in (0.01, 0.3, 1.0, 50.0):
        assert geometry.probability_within(1.0, sigma, sigma) == pytest.approx(-math.expm1(-0.5 / sigma**2), rel=1e-9)


@given(st.floats(-math.pi, math.pi), st.floats(0.2, 1.0))
def test_a_peaked_distribution_gives_its_heading_back(heading, sigma):
    logits = np.log(wrapped_normal(heading, sigma) + 1e-30)
    pose, covariance, distribution, _ = described_place(np.array([1.0, 2.0, 0.0, 0.0]), logits, Calibration())
    difference = (pose[2] - heading + math.pi) % (2 * math.pi) - math.pi
    assert abs(difference) < 0.02
    assert math.sqrt(covariance[2, 2]) == pytest.approx(sigma, rel=0.1)
    assert distribution.sum() == pytest.approx(1.0)


def test_no_heading_at_all_has_the_largest_uncertainty():
    pose, covariance, *_ = described_place(np.zeros(4), np.zeros(36), Calibration())
    assert np.isfinite(pose).all() and covariance[2, 2] == pytest.approx(math.pi**2)


def test_calibration_widens_and_floors():
    position = np.array([0.0, 0.0, 2 * math.log(0.5), 2 * math.log(0.001)])
    _, covariance, _, confidence = described_place(
        position, np.zeros(36), Calibration(sigma_scale=2.0, sigma_floor=0.1)
    )
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)[:2]), [1.0, 0.1])
    assert confidence < described_place(position, np.zeros(36), Calibration())[3]


def test_sharpness_flattens():
    logits = np.zeros(36)
    logits[5] = 4.0
    assert heading_distribution(logits, 0.5).max() < heading_distribution(logits, 1.0).max()
    assert np.argmax(heading_distribution(logits, 0.5)) == 5


def test_bins_begin_at_minus_pi():
    assert BIN_CENTRES[0] == pytest.approx(-math.pi + math.pi / 36) and len(BIN_CENTRES) == 36
