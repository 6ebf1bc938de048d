"""From the numbers of the heads to places with honest uncertainty."""

from __future__ import annotations

import math

import numpy as np

from loc3r_ros import geometry
from loc3r_ros.engines.manifest import Calibration
from loc3r_ros.interface import HEADING_BINS, FloatArray
from loc3r_ros.memory.snapshot import Whereabouts

BIN_WIDTH = 2 * math.pi / HEADING_BINS
BIN_CENTRES: FloatArray = -math.pi + (np.arange(HEADING_BINS) + 0.5) * BIN_WIDTH
CONFIDENCE_RADIUS = 1.0
"""Metres. A place's confidence is the probability that its position is off by no more than this."""
LARGEST_HEADING_SIGMA = math.pi
"""Radians; a heading of which nothing is known."""


def heading_distribution(logits: FloatArray, sharpness: float) -> FloatArray:
    """Return the (36,) probabilities of the heading bins from the orientation head's logits."""
    scaled = sharpness * logits.astype(np.float64)
    weights = np.exp(scaled - scaled.max())
    return weights / weights.sum()


def wrapped_normal(heading: float, sigma: float) -> FloatArray:
    """Return the (36,) bin probabilities of a heading that is normal around its mean."""
    offsets = geometry.angle_difference(BIN_CENTRES, heading)
    weights = np.exp(-0.5 * (offsets / max(sigma, BIN_WIDTH / 2)) ** 2)
    return weights / weights.sum()


def described_place(
    position: FloatArray, logits: FloatArray, calibration: Calibration
) -> tuple[FloatArray, FloatArray, FloatArray, float]:
    """Return pose, covariance, heading distribution and confidence (see `Place`) of a described observer.

    Args:
        position: (4,) x, y in metres and log variances, of the position head.
        logits: (36,) of the orientation head.
        calibration: of the heads.
    """
    distribution = heading_distribution(logits, calibration.heading_sharpness)
    # Circular soft-argmax (arXiv 2603.18002): the direction of the mean of the bins' unit vectors.
    heading = geometry.circular_mean(BIN_CENTRES, distribution)
    heading_sigma = min(geometry.circular_std(BIN_CENTRES, distribution), LARGEST_HEADING_SIGMA)
    scaled = calibration.sigma_scale * np.exp(0.5 * position[2:].astype(np.float64))
    sigma = np.maximum(scaled, calibration.sigma_floor)
    covariance = np.diag([*sigma**2, heading_sigma**2])
    pose = np.array([float(position[0]), float(position[1]), heading])
    return pose, covariance, distribution, geometry.probability_within(CONFIDENCE_RADIUS, *sigma)


def own_place(whereabouts: Whereabouts, calibration: Calibration) -> tuple[FloatArray, FloatArray, FloatArray, float]:
    """Return the same of the camera itself, as the pose prior locates it."""
    camera = whereabouts.anchor_t_camera
    heading = geometry.camera_heading(camera)
    sigma, heading_sigma = calibration.own_position_sigma, calibration.own_heading_sigma
    pose = np.array([camera[0, 3], camera[1, 3], heading])
    covariance = np.diag([sigma**2, sigma**2, heading_sigma**2])
    return (
        pose,
        covariance,
        wrapped_normal(heading, heading_sigma),
        geometry.probability_within(CONFIDENCE_RADIUS, sigma, sigma),
    )
