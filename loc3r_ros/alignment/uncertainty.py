"""Uncertainty that is carried from one frame to another, right for large errors of the heading, too."""

from __future__ import annotations

import math

import numpy as np

from loc3r_ros.interface import HEADING_BINS, FloatArray

LARGEST_HEADING_SIGMA = math.pi / math.sqrt(3.0)
"""Radians: the standard deviation of a heading of which nothing is known."""
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(11)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
WRAPS = np.arange(-3, 4)[:, None]


def carried(lever: FloatArray, turned: FloatArray, error: FloatArray, covariance: FloatArray) -> FloatArray:
    """Return the (3, 3) mean squared error of a pose in a frame whose own place is uncertain.

    A heading that is off turns the pose about the frame's origin, on an arc: what is linear in the heading is too
    little beyond about 40 degrees. So the heading's error is integrated by Gauss-Hermite quadrature, the others, given
    it, are propagated to first order.

    Args:
        lever: (2,) from the frame's origin to the pose, along the axes of the target.
        turned: (2, 2) rotation times scale from the frame to the target.
        error: (4, 4) covariance of x, y, heading and log scale of the frame in the target.
        covariance: (3, 3) of the pose in the frame.
    """
    variance = error[2, 2]
    gain = error[[0, 1, 3], 2] / variance if variance > 0.0 else np.zeros(3)
    rest = error[np.ix_([0, 1, 3], [0, 1, 3])] - np.outer(gain, gain) * variance  # given the heading
    turns = _NODES * min(math.sqrt(variance), LARGEST_HEADING_SIGMA)
    cosines, sines = np.cos(turns), np.sin(turns)
    rotations = np.moveaxis(np.array([[cosines, -sines], [sines, cosines]]), 2, 0)
    arms, shifts = rotations @ lever, turns[:, None] * gain
    by_frame, by_pose = np.zeros((len(turns), 3, 3)), np.tile(np.eye(3), (len(turns), 1, 1))
    by_frame[:, :2, :2], by_frame[:, :2, 2] = np.eye(2), arms
    by_pose[:, :2, :2] = rotations @ turned
    means = np.column_stack([arms - lever + shifts[:, :2] + arms * shifts[:, 2:], turns])
    spreads = by_frame @ rest @ by_frame.transpose(0, 2, 1) + by_pose @ covariance @ by_pose.transpose(0, 2, 1)
    total = np.tensordot(_WEIGHTS, spreads + means[:, :, None] * means[:, None, :], axes=1)
    return np.asarray(0.5 * (total + total.T))


def widened(probabilities: FloatArray, variance: float) -> FloatArray:
    """Return a (36,) heading distribution convolved with a normal error of a variance in rad^2."""
    width = 2.0 * math.pi / HEADING_BINS
    deviation = math.sqrt(max(variance, 0.0))
    if deviation < 1e-3 * width:
        return probabilities
    edges = (np.arange(HEADING_BINS + 1) - 0.5) * width + 2.0 * math.pi * WRAPS
    below = np.array([math.erf(edge / (math.sqrt(2.0) * deviation)) for edge in edges.ravel()]).reshape(edges.shape)
    kernel = np.diff(below, axis=1).sum(axis=0)
    spread = np.array([np.roll(probabilities, step) for step in range(HEADING_BINS)])
    return np.asarray(kernel / kernel.sum() @ spread)
