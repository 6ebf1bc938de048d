"""Uncertainty carried between frames: samples agree, also for headings of which little is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loc3r_ros import geometry
from loc3r_ros.alignment.uncertainty import carried, widened
from loc3r_ros.interface import HEADING_BINS

LEVER = np.array([4.0, -1.0])
TURNED = 1.2 * geometry.rotation2(0.7)


def sampled(lever, turned, error, covariance, count=200_000):
    rng = np.random.default_rng(0)
    frames = rng.multivariate_normal(np.zeros(4), error, count)
    poses = rng.multivariate_normal(np.zeros(3), covariance, count)
    turns = np.array([np.cos(frames[:, 2]), np.sin(frames[:, 2])])
    arms = (1 + frames[:, 3])[:, None] * lever + 0.0
    moved = arms + poses[:, :2] @ turned.T
    rotated = np.column_stack([turns[0] * moved[:, 0] - turns[1] * moved[:, 1],
                               turns[1] * moved[:, 0] + turns[0] * moved[:, 1]])  # fmt: skip
    off = np.column_stack([rotated - lever + frames[:, :2], frames[:, 2] + poses[:, 2]])
    return off.T @ off / count


@pytest.mark.parametrize("degrees", [0.0, 5.0, 40.0, 80.0])
def test_samples_agree(degrees):
    root = np.array([[0.3, 0, 0, 0], [0.1, 0.2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0.05]])
    root[2] = np.radians(degrees) * np.array([0.6, -0.4, 0.7, 0.0])
    head = np.diag([0.2, 0.1, 0.15]) ** 2
    ours, theirs = carried(LEVER, TURNED, root @ root.T, head), sampled(LEVER, TURNED, root @ root.T, head)
    np.testing.assert_allclose(ours, theirs, atol=0.03 * np.abs(theirs).max())


def test_beyond_40_degrees_the_error_along_the_lever_counts():
    error = np.diag([0.0, 0.0, np.radians(60.0) ** 2, 0.0])
    covariance = carried(np.array([5.0, 0.0]), np.eye(2), error, np.zeros((3, 3)))
    assert covariance[0, 0] > 1.0 and covariance[1, 1] < 25.0 * np.radians(60.0) ** 2  # to first order: 0, and that


@given(st.integers(0, 35), st.floats(0.0, 9.0))
def test_a_widened_distribution_is_one_and_no_narrower(peak, variance):
    probabilities = np.eye(HEADING_BINS)[peak]
    wide = widened(probabilities, variance)
    assert wide.sum() == pytest.approx(1.0) and (wide >= 0.0).all()
    assert int(np.argmax(wide)) == peak or variance > 5.0
    centres = -np.pi + (np.arange(HEADING_BINS) + 0.5) * 2 * np.pi / HEADING_BINS
    if 0.05 < variance < 1.5:
        assert geometry.circular_std(centres, wide) ** 2 == pytest.approx(variance, rel=0.15)


def test_nothing_added_changes_nothing():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(HEADING_BINS))
    np.testing.assert_array_equal(widened(probabilities, 0.0), probabilities)
    np.testing.assert_array_equal(widened(probabilities, -1e-12), probabilities)
