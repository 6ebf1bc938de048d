import numpy as np
import pytest

from loc3r_ros import geometry
from loc3r_ros.evaluation.poses import accuracies, align, heading_error, position_error, trajectory_errors


def pose(x=0.0, y=0.0, z=0.0, yaw=0.0):
    return geometry.from_position_rpy((x, y, z), 0.0, 0.0, yaw)


def test_errors_of_places():
    estimated = np.array([[3.0, 4.0, np.radians(175)], [1.0, 1.0, 0.5]])
    true = np.array([[0.0, 0.0, np.radians(-175)], [1.0, 1.0, 0.5]])
    np.testing.assert_allclose(position_error(estimated, true), [5.0, 0.0])
    np.testing.assert_allclose(heading_error(estimated, true), [10.0, 0.0], atol=1e-9)


def test_a_limit_itself_is_too_far():
    right = accuracies(np.array([0.49, 0.5, 1.0]), np.array([14.9, 15.0, 30.0]))
    assert [right[name].tolist() for name in right] == [
        [True, False, False],
        [True, True, False],
        [True, False, False],
        [True, True, False],
    ]


def test_a_drift_of_a_tenth_per_step():
    true = np.array([pose(x=float(i)) for i in range(4)])
    estimated = np.array([pose(x=1.1 * i, y=7.0) for i in range(4)])  # in a frame of its own
    errors = trajectory_errors(estimated, true)
    np.testing.assert_allclose(errors.metres, [0.1, 0.2, 0.3])
    np.testing.assert_allclose(errors.step_metres, [0.1, 0.1, 0.1])
    np.testing.assert_allclose(errors.degrees, 0.0, atol=1e-9)
    assert errors.scale == pytest.approx(1 / 1.1)
    assert errors.aligned_metres == pytest.approx(0.0, abs=1e-9)
    assert errors.rigid_metres == pytest.approx(0.1 * np.sqrt(1.25))
    assert errors.still_metres == pytest.approx(np.sqrt(1.25))


def test_a_first_turn_too_wide_turns_all_that_follows():
    true = np.array([pose(), pose(x=1.0), pose(x=2.0)])
    estimated = np.array([pose(), pose(x=1.0, yaw=0.1), pose(x=1.0 + np.cos(0.1), y=np.sin(0.1), yaw=0.1)])
    errors = trajectory_errors(estimated, true)
    np.testing.assert_allclose(errors.degrees, np.degrees([0.1, 0.1]))
    np.testing.assert_allclose(errors.step_degrees, np.degrees([0.1, 0.0]), atol=1e-9)
    np.testing.assert_allclose(errors.step_metres, [0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(errors.metres, [0.0, 2 * np.sin(0.05)], atol=1e-12)


def test_alignment_recovers_a_similarity():
    draw = np.random.default_rng(0)
    points = draw.normal(size=(20, 3))
    turn = geometry.from_position_rpy((1.0, -2.0, 3.0), 0.4, -0.9, 2.2)
    target = 2.5 * points @ turn[:3, :3].T + turn[:3, 3]
    scale, aligned = align(points, target)
    assert scale == pytest.approx(2.5)
    np.testing.assert_allclose(aligned, target, atol=1e-9)


def test_alignment_never_mirrors():
    points = np.random.default_rng(1).normal(size=(20, 3))
    scale, aligned = align(points, points * (1.0, 1.0, -1.0))
    assert scale < 1.0  # the least squares: what does not fit is made smaller
    assert np.abs(aligned - points * (1.0, 1.0, -1.0)).max() > 0.1


def test_alignment_of_a_camera_that_stands_still():
    scale, aligned = align(np.zeros((3, 3)), np.arange(9.0).reshape(3, 3))
    assert scale == 1.0
    assert np.isfinite(aligned).all()
