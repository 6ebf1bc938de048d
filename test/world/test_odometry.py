import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loc3r_ros.geometry import compose2
from loc3r_ros.world.odometry import Drift, Odometer

NONE = Drift(0.0, 0.0, 0.0, 0.0)
motions = st.lists(st.tuples(st.floats(-0.1, 0.1), st.floats(-0.02, 0.02), st.floats(-0.2, 0.2)), max_size=60).map(
    lambda walk: np.reshape(walk, (-1, 3))
)


def run(drift, seed, walk, step=0.1):
    """Return the odometer and the true pose after a walk of motions."""
    odometer, truth = Odometer(drift, np.random.default_rng(seed)), np.zeros(3)
    for motion in np.array(walk):
        odometer.step(motion, step)
        truth = compose2(truth, motion)
    return odometer, truth


def wandering(steps):
    return np.array([(0.1, 0.0, 0.15 * math.sin(i / 6.0)) for i in range(steps)])


@given(motions)
def test_without_drift_odometry_is_the_truth(walk):
    odometer, truth = run(NONE, 0, walk)
    assert odometer.pose == pytest.approx(truth, abs=1e-12)
    assert not odometer.covariance.any()


def test_the_same_seed_gives_the_same_drift():
    first, second, other = (run(Drift(), seed, wandering(50))[0].pose for seed in (1, 1, 2))
    assert (first == second).all()
    assert (first != other).any()


def test_distance_drift_is_the_percentage_asked_for():
    walk = [(0.5, 0.0, 0.0)] * 10  # 5 m straight
    ends = [run(Drift(2.0, 0.0, 0.0, 0.0), seed, walk)[0].pose[0] for seed in range(400)]
    assert np.std(ends) == pytest.approx(0.02 * 5.0, rel=0.15)
    assert np.mean(ends) == pytest.approx(5.0, abs=3 * 0.1 / 20)


def test_heading_drift_is_the_rate_asked_for():
    walk = [(0.0, 0.0, 0.0)] * 60  # a minute on the spot
    ends = [run(Drift(0.0, 3.0, 0.0, 0.0), seed, walk, step=1.0)[0].pose[2] for seed in range(200)]
    assert math.degrees(np.std(ends)) == pytest.approx(3.0, rel=0.15)


def test_noise_grows_with_the_square_root():
    drift = Drift(0.0, 0.0, 0.02, 5.0)
    straight = [run(drift, seed, [(0.4, 0.0, 0.0)] * 10)[0].pose[1] for seed in range(300)]
    turning = [run(drift, seed, [(0.0, 0.0, math.tau / 20)] * 20)[0].pose[2] for seed in range(300)]
    assert np.std(straight) == pytest.approx(0.02 * math.sqrt(4.0), rel=0.15)
    assert math.degrees(np.std(turning)) == pytest.approx(5.0, rel=0.15)


def test_covariance_is_honest():
    """The normalised error squared of 3 dimensions has mean 3 and 95 % below 7.81 (chi-square)."""
    squared = []
    for seed in range(200):
        odometer, truth = run(Drift(1.5, 2.0, 0.01, 2.0), seed, wandering(100), step=0.25)
        error = np.subtract(odometer.pose, truth)
        error[2] = math.remainder(error[2], math.tau)
        squared.append(error @ np.linalg.solve(odometer.covariance, error))
    assert np.mean(squared) == pytest.approx(3.0, abs=0.5)
    assert 0.90 < np.mean(np.array(squared) < 7.81) < 0.985


def test_covariance_is_positive_definite_and_grows():
    odometer = Odometer(Drift(), np.random.default_rng(0))
    traces = []
    for motion in wandering(200):
        odometer.step(motion, 0.1)
        assert np.linalg.eigvalsh(odometer.covariance).min() > -1e-12
        traces.append(np.trace(odometer.covariance))
    assert np.all(np.diff(traces) > 0)


def test_velocity_is_the_last_motion_and_its_variance_is_honest():
    motion, errors = np.array([0.05, 0.0, 0.02]), []
    for seed in range(300):
        odometer = Odometer(Drift(5.0, 60.0, 0.02, 5.0), np.random.default_rng(seed))
        odometer.step(motion, 0.1)
        errors.append((odometer.velocity - motion / 0.1) / np.sqrt(odometer.velocity_variances))
    assert np.std(errors, axis=0) == pytest.approx([1, 1, 1], rel=0.15)
