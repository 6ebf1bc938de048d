"""The fit: exact without noise, robust, and as sure as it may be."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loc3r_ros import geometry
from loc3r_ros.alignment.similarity import SCALE_SIGMA, fit_similarity

SIGMAS = np.array([0.1, 0.1, 0.05])


def walk(rng, count, spread=2.0):
    return np.column_stack([rng.normal(0, spread, (count, 2)), rng.uniform(-np.pi, np.pi, count)])


def moved(poses, x, y, heading, scale):
    points = scale * poses[:, :2] @ geometry.rotation2(heading).T + (x, y)
    return np.column_stack([points, geometry.wrap_angle(poses[:, 2] + heading)])


def noisy(rng, poses, sigmas=SIGMAS):
    return poses + rng.normal(size=poses.shape) * sigmas


metres, angle, factor = st.floats(-50, 50), st.floats(-3.14, 3.14), st.floats(0.6, 1.8)


@given(x=metres, y=metres, heading=angle, scale=factor, seed=st.integers(0, 1000), outliers=st.integers(0, 4))
def test_a_similarity_is_recovered_though_a_fifth_is_wrong(x, y, heading, scale, seed, outliers):
    rng = np.random.default_rng(seed)
    source = walk(rng, 20, spread=4.0)
    target = moved(source, x, y, heading, scale)
    wrong = rng.choice(20, outliers, replace=False)
    target[wrong, :2] += rng.choice([-1, 1], (outliers, 2)) * rng.uniform(5, 50, (outliers, 2))
    fit = fit_similarity(source, target, np.full(3, 1e-3))
    assert fit.similarity[:2] == pytest.approx((x, y), abs=1e-3)
    assert geometry.angle_difference(fit.similarity[2], heading) == pytest.approx(0, abs=1e-4)
    assert math.exp(fit.similarity[3]) == pytest.approx(scale, rel=1e-4)
    assert sorted(np.flatnonzero(fit.is_outlier)) == sorted(wrong)


@pytest.mark.parametrize(
    ("count", "outliers", "actual", "lowest", "highest"),
    [
        (20, 0, 1.0, 0.8, 1.15),
        (20, 4, 1.0, 0.8, 1.15),
        (20, 0, 0.5, 0.6, 1.15),
        (4, 0, 1.0, 0.8, 1.3),  # few residuals: their size is not known well either
        (4, 0, 0.5, 0.2, 1.0),  # and the nominal noise counts: cautious
    ],
)
def test_the_covariance_is_that_of_the_errors(count, outliers, actual, lowest, highest):
    """The mean of the normalised squared error over 300 runs is its number of dimensions, 4, where it is honest."""
    rng, squares = np.random.default_rng(count + outliers), []
    for _ in range(300):
        log_scale = rng.normal(0, SCALE_SIGMA)
        truth = np.array([*rng.uniform(-9, 9, 2), rng.uniform(-3, 3), log_scale])
        source = walk(rng, count)
        target = moved(source, *truth[:3], math.exp(log_scale))
        target = noisy(rng, target, actual * SIGMAS)
        target[rng.choice(count, outliers, replace=False), :2] += rng.uniform(3, 9, 2)
        fit = fit_similarity(source, target, SIGMAS)
        error = fit.similarity - truth
        error[2] = geometry.wrap_angle(error[2])
        squares.append(error @ np.linalg.solve(fit.covariance, error))
    assert lowest < np.mean(squares) / 4 < highest


def test_errors_that_go_together_count_as_fewer():
    rng = np.random.default_rng(3)
    source = walk(rng, 30)
    drifting = np.cumsum(rng.normal(size=source.shape), axis=0) * (0.03, 0.03, 0.015)
    drifting -= drifting.mean(axis=0)
    shuffled = rng.permutation(drifting)
    together, apart = (fit_similarity(source, source + errors, SIGMAS) for errors in (drifting, shuffled))
    assert np.trace(together.covariance) > 3 * np.trace(apart.covariance)


@pytest.mark.parametrize("count", [1, 2, 30])
def test_without_motion_the_scale_is_not_known(count):
    rng = np.random.default_rng(1)
    source = np.tile([1.0, 2.0, 0.5], (count, 1))
    fit = fit_similarity(source, noisy(rng, source), SIGMAS)
    assert fit.similarity[3] == pytest.approx(0, abs=0.05)
    assert math.sqrt(fit.covariance[3, 3]) == pytest.approx(SCALE_SIGMA, rel=0.05)
    if count == 1:
        assert math.sqrt(fit.covariance[2, 2]) == pytest.approx(SIGMAS[2])


def test_a_straight_line_tells_scale_and_heading():
    source = np.column_stack([np.linspace(0, 5, 10), np.zeros(10), np.zeros(10)])
    rng = np.random.default_rng(2)
    fit = fit_similarity(source, noisy(rng, moved(source, 1, 1, 1.0, 1.2)), SIGMAS)
    assert math.exp(fit.similarity[3]) == pytest.approx(1.2, abs=4 * math.sqrt(fit.covariance[3, 3]))
    assert math.sqrt(fit.covariance[3, 3]) < 0.05
    assert np.linalg.eigvalsh(fit.covariance).min() > 0


def test_the_scale_is_bounded():
    source = walk(np.random.default_rng(0), 20)
    fit = fit_similarity(source, moved(source, 0, 0, 0, 5.0), SIGMAS)
    assert math.exp(fit.similarity[3]) == pytest.approx(2.0)
