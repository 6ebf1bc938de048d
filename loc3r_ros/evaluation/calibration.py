"""Fits how the numbers of the heads become honest probabilities, and stores it in the engines' manifest."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from loc3r_ros import geometry
from loc3r_ros.engines.manifest import CALIBRATION_FILE, FILE_NAME, Calibration, Manifest
from loc3r_ros.errors import ConfigError
from loc3r_ros.evaluation.poses import position_error
from loc3r_ros.evaluation.records import Estimated, Placement, SceneRecord
from loc3r_ros.evaluation.uncertainty import ellipse_levels, squared_mahalanobis
from loc3r_ros.geometry import Array
from loc3r_ros.interface import HEADING_BINS
from loc3r_ros.localizer.places import described_place

NEUTRAL = Calibration(sigma_scale=1.0, sigma_floor=1e-6, heading_sharpness=1.0)
"""Leaves the numbers of the heads as they are; to be fitted, they must have been measured with it."""
SCALES = np.geomspace(0.05, 20.0, 600)
MIN_PLACES = 20
LEAST_OWN_POSITION, LEAST_OWN_HEADING = 0.02, np.radians(0.5)
"""Metres and radians: nobody is surer of a camera's place than this."""


def fit(records: Sequence[SceneRecord]) -> Calibration:
    """Return the calibration for places measured with `NEUTRAL` engines.

    `sigma_scale` makes the distribution of errors, in units of their sigma, the one that a normal distribution in the
    plane has (least Cramer-von Mises distance). The likeliest scale would widen every ellipse for the sake of a few
    wild errors. `heading_sharpness` is the likeliest one (temperature scaling: Guo et al., ICML 2017).

    Raises:
        ConfigError: there are too few places.
    """
    places = [place for record in records for place in record.placements]
    own = [place for record in records for place in record.own]
    if min(len(places), len(own)) < MIN_PLACES:
        raise ConfigError(
            f"{len(places)} described places and {len(own)} camera poses are too few to fit a calibration: "
            f"use so many scenes that there are {MIN_PLACES} of each."
        )
    position_sigma, heading_sigma = _own_sigmas(own)
    return replace(
        Calibration(),
        sigma_scale=fit_sigma_scale(places),
        heading_sharpness=fit_heading_sharpness(places),
        own_position_sigma=position_sigma,
        own_heading_sigma=heading_sigma,
    )


def fit_sigma_scale(places: Sequence[Placement]) -> float:
    """Return the factor on the standard deviations of positions."""
    truth, estimates = _of(places)
    error = np.array([one.pose[:2] for one in estimates]) - truth[:, :2]
    covariance = np.array([one.covariance[:2, :2] for one in estimates])
    floor = Calibration().sigma_floor ** 2 * np.eye(2)
    distances = [_unevenness(squared_mahalanobis(error, np.maximum(s * s * covariance, floor))) for s in SCALES]
    return float(SCALES[np.argmin(distances)])


def fit_heading_sharpness(places: Sequence[Placement]) -> float:
    """Return the exponent on the heading distributions that makes the true headings likeliest."""
    truth, estimates = _of(places)
    logs = np.log(np.maximum([one.heading_distribution for one in estimates], 1e-12))
    bins = ((geometry.wrap_angle(truth[:, 2]) + np.pi) / (2 * np.pi) * HEADING_BINS).astype(int) % HEADING_BINS
    of_truth = logs[np.arange(len(bins)), bins]
    losses = [float((np.log(np.exp(k * logs).sum(axis=1)) - k * of_truth).mean()) for k in SCALES]
    return float(SCALES[np.argmin(losses)])


def recalibrated(record: SceneRecord, calibration: Calibration) -> SceneRecord:
    """Return a record with the described places that engines of a calibration give, where `NEUTRAL` ones gave these."""
    return replace(record, placements=[_recalibrated(place, calibration) for place in record.placements])


def store(folder: Path, calibration: Calibration) -> Manifest:
    """Write a calibration into the manifest of a folder of engines, whole or not at all, and return the manifest.

    Raises:
        EngineError: the folder or its manifest is missing or damaged.
    """
    manifest = replace(Manifest.read(folder), calibration=calibration)
    path = folder / FILE_NAME
    unfinished = path.with_name(f".{FILE_NAME}")
    unfinished.write_text(manifest.to_json())
    os.replace(unfinished, path)
    return manifest


def store_beside(model: Path, calibration: Calibration) -> None:
    """Write a calibration into the folder of a model, from which `loc3r export` takes it."""
    (model / CALIBRATION_FILE).write_text(json.dumps(asdict(calibration), indent=2) + "\n")


def _of(places: Sequence[Placement]) -> tuple[Array, list[Estimated]]:
    return np.array([one.truth for one in places]), [one.estimates["video"] for one in places]


def _unevenness(squared: Array) -> float:
    """Return the Cramer-von Mises distance of the ellipse levels from even."""
    levels = np.sort(ellipse_levels(squared))
    return float(((levels - (np.arange(len(levels)) + 0.5) / len(levels)) ** 2).mean())


def _own_sigmas(own: Sequence[Placement]) -> tuple[float, float]:
    """Return the rms errors of the camera's own places, metres per axis and radians."""
    truth, estimates = _of(own)
    poses = np.array([one.pose for one in estimates])
    turns = geometry.angle_difference(poses[:, 2], truth[:, 2])
    position = float(np.sqrt(0.5 * (position_error(poses, truth) ** 2).mean()))
    return max(position, LEAST_OWN_POSITION), max(float(np.sqrt((turns**2).mean())), float(LEAST_OWN_HEADING))


def _recalibrated(place: Placement, calibration: Calibration) -> Placement:
    estimates = {}
    for name, one in place.estimates.items():
        numbers = np.array([*one.pose[:2], *np.log(np.diag(one.covariance)[:2])])
        logits = np.log(np.maximum(one.heading_distribution, 1e-12))
        estimates[name] = Estimated(*described_place(numbers, logits, calibration))
    return replace(place, estimates=estimates)
