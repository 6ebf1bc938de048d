"""From records to the numbers that are reported. Shares are percent; intervals are 95 %, over scenes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from loc3r_ros import geometry
from loc3r_ros.evaluation import uncertainty as honest
from loc3r_ros.evaluation.answers import is_exact, normalised, number_in, relative_accuracy
from loc3r_ros.evaluation.poses import (
    ACCURACIES,
    TrajectoryErrors,
    accuracies,
    heading_error,
    position_error,
    trajectory_errors,
)
from loc3r_ros.evaluation.readers import READERS
from loc3r_ros.evaluation.records import CONDITIONS, Asked, Estimated, Placement, SceneRecord, Trajectory
from loc3r_ros.evaluation.statistics import Estimate, Measured, mean_of, measured
from loc3r_ros.geometry import Array
from loc3r_ros.world.blind import NUMERIC
from loc3r_ros.world.language import QUESTIONS

DISTANCES = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, np.inf)
"""Metres between which layout errors are told apart."""
GIVEN = ("language", "language_and_pose_prior", "language_and_cameras", "all_but_the_words")
"""What the truth takes the place of, reader by reader of READERS."""
PARTS = ("language", "pose_prior", "camera_belief", "perception")
"""What each of them puts right besides."""
Group = dict[str, Any]


def score(records: Sequence[SceneRecord]) -> Group:
    """Return all numbers of an evaluation: the four accuracies in percent, then named groups."""
    localization = score_localization(records)
    headline = {name: localization["video"][name]["value"] for name in ACCURACIES if "video" in localization}
    return headline | {
        "scenes": len(records),
        "localization": localization,
        "explained": score_explained(records),
        "uncertainty": score_uncertainty(records),
        "own_place": score_own_place(records),
        "questions": score_questions(records),
        "layout": score_layout(records),
        "camera": score_trajectories([record.camera for record in records]),
        "long_walk": score_trajectories([record.walk for record in records if record.walk is not None]),
    }


def described(estimate: Estimate, factor: float = 1.0) -> Group:
    """Return an estimate as plain data."""
    low, high = estimate.interval
    value = factor * estimate.value
    return {"value": value, "low": factor * low, "high": factor * high, "count": estimate.count}


# --- places -----------------------------------------------------------------------------------------------------------


def score_localization(records: Sequence[SceneRecord]) -> Group:
    """Return accuracies and medians of described places under each condition, of a constant guess, and the ceiling."""
    groups = [record.placements for record in records]
    if not any(groups):
        return {}
    scores = {name: _score_places(groups, _estimate_of(name)) for name in CONDITIONS}
    guess = _constant_guess([one.truth for group in groups for one in group])
    scores["constant"] = _score_places(groups, lambda _: guess)
    scores["ceiling"] = {
        name: described(measured([np.array([one.ceiling[name] for one in group]) for group in groups]).mean(), 100.0)
        for name in ACCURACIES
    }
    return scores


def _estimate_of(condition: str) -> Callable[[Placement], Array]:
    return lambda placement: placement.estimates[condition].pose


def _constant_guess(truths: list[Array]) -> Array:
    """Return the mean of all true poses: the best that can be said without looking or listening."""
    poses = np.array(truths)
    return np.array([*poses[:, :2].mean(axis=0), geometry.circular_mean(poses[:, 2])])


def _score_places(groups: list[list[Placement]], guess: Callable[[Placement], Array]) -> Group:
    metres, degrees = _place_errors(groups, guess)
    shares = {name: described(one, 100.0) for name, one in _shares_right(metres, degrees).items()}
    return shares | {"median_m": described(metres.median()), "median_deg": described(degrees.median())}


def _place_errors(groups: list[list[Placement]], guess: Callable[[Placement], Array]) -> tuple[Measured, Measured]:
    """Return metres and degrees."""
    errors = [_errors(group, guess) for group in groups]
    metres, degrees = (measured([one[axis] for one in errors]) for axis in (0, 1))
    return metres, degrees


def _shares_right(metres: Measured, degrees: Measured) -> dict[str, Estimate]:
    right = accuracies(metres.value, degrees.value)
    return {name: _share(metres, right[name]) for name in ACCURACIES}


def _errors(group: list[Placement], guess: Callable[[Placement], Array]) -> tuple[Array, Array]:
    """Return metres and degrees."""
    true, estimated = (np.array(list(poses)).reshape(-1, 3) for poses in ((p.truth for p in group), map(guess, group)))
    return position_error(estimated, true), heading_error(estimated, true)


def _share(like: Measured, holds: npt.NDArray[np.bool_]) -> Estimate:
    return Measured(np.asarray(holds, dtype=np.float64), like.scene, like.scenes).mean()


# --- where the error comes from ---------------------------------------------------------------------------------------


def score_explained(records: Sequence[SceneRecord]) -> Group:
    """Return what described places would score with the truth in the place of more and more parts, and what each loses.

    The order is from the answer back to the words: language, pose prior, belief about cameras, perception, words.
    """
    groups = [record.placements for record in records]
    if not any(groups):
        return {}
    guesses: dict[str, Callable[[Placement], Array]] = {"nothing": _estimate_of("video")}
    guesses |= {name: _reader_of(reader) for name, reader in zip(GIVEN, READERS, strict=True)}
    right = {name: _shares_right(*_place_errors(groups, guess)) for name, guess in guesses.items()}
    steps = zip(PARTS, pairwise(guesses), strict=True)
    lost: Group = {
        part: {name: described(right[more][name] - right[less][name], 100.0) for name in ACCURACIES}
        for part, (less, more) in steps
    }
    words = {name: {"value": 100.0 * (1.0 - right[GIVEN[-1]][name].value)} for name in ACCURACIES}
    scores = {name: _score_places(groups, guess) for name, guess in guesses.items()}
    return {"truth_given_for": scores, "lost_to": {"words": words} | lost}


def _reader_of(name: str) -> Callable[[Placement], Array]:
    return lambda placement: placement.readers[name]


# --- uncertainty ------------------------------------------------------------------------------------------------------


def score_uncertainty(records: Sequence[SceneRecord]) -> Group:
    """Return whether the places that the model gives for descriptions know how wrong they are."""
    return _honesty([record.placements for record in records])


def score_own_place(records: Sequence[SceneRecord]) -> Group:
    """Return error and honesty of the camera's own place, from the pose prior, at frames of the videos."""
    groups = [record.own for record in records]
    return (_score_places(groups, _estimate_of("video")) | {"uncertainty": _honesty(groups)}) if any(groups) else {}


def _honesty(groups: list[list[Placement]]) -> Group:
    every = [placement for group in groups for placement in group]
    if not every:
        return {}
    estimates: list[Estimated] = [one.estimates["video"] for one in every]
    error = np.array([one.estimates["video"].pose - one.truth for one in every])
    error[:, 2] = geometry.wrap_angle(error[:, 2])
    covariance = np.array([one.covariance for one in estimates])
    confidence = np.array([one.confidence for one in estimates])
    metres, degrees = np.hypot(*error[:, :2].T), np.degrees(np.abs(error[:, 2]))
    scene = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    like = Measured(metres, scene, len(groups))
    sigma, turn_sigma = honest.position_sigma(covariance), np.sqrt(covariance[:, 2, 2])
    squared = honest.squared_mahalanobis(error[:, :2], covariance[:, :2, :2])
    levels = honest.normal_levels(error[:, 2], turn_sigma)
    return {
        "position": {
            "rank_correlation": honest.rank_correlation(sigma, metres),
            "calibration_error": honest.calibration_error(honest.ellipse_levels(squared)),
            **{f"within_{n}_sigma": described(_share(like, squared <= n * n), 100.0) for n in (1, 2)},
            "expected_within": {str(n): 100.0 * share for n, share in honest.ELLIPSE_COVERAGE.items()},
            "median_sigma_m": float(np.median(sigma)),
        },
        "heading": {
            "rank_correlation": honest.rank_correlation(turn_sigma, degrees),
            "calibration_error": honest.calibration_error(levels),
            **{
                f"within_{n}_sigma": described(_share(like, levels <= share), 100.0)
                for n, share in honest.NORMAL_COVERAGE.items()
            },
            "expected_within": {str(n): 100.0 * share for n, share in honest.NORMAL_COVERAGE.items()},
            "median_sigma_deg": float(np.degrees(np.median(turn_sigma))),
        },
        "confidence": {
            "calibration_error": honest.confidence_error(confidence, metres <= 1.0),
            "brier": float(((confidence - (metres <= 1.0)) ** 2).mean()),
            "mean": 100.0 * float(confidence.mean()),
            "within_1m": described(_share(like, metres <= 1.0), 100.0),
        },
        "by_sigma": _by_sigma(like, sigma),
    }


def _by_sigma(metres: Measured, sigma: Array) -> Group:
    """Return Acc@1.0m of the half of the places with the smaller sigma, and of the rest."""
    surer = np.zeros(len(sigma), dtype=bool)
    surer[np.argsort(sigma, kind="stable")[: len(sigma) // 2]] = True
    halves = [metres.where(mask) for mask in (surer, ~surer)]
    near = [_share(half, half.value < 1.0) for half in halves]
    names = ("acc_1.0m_surer_half", "acc_1.0m_other_half", "difference")
    return {name: described(one, 100.0) for name, one in zip(names, (near[0], near[1], near[0] - near[1]), strict=True)}


# --- questions --------------------------------------------------------------------------------------------------------


def score_questions(records: Sequence[SceneRecord]) -> Group:
    """Return for each type of question how often it was answered, by condition.

    `exact` is the share of exact answers, `mra` the mean relative accuracy of answers that are numbers; `score` is the
    one that a type is judged by, and what means over types are made of. `constant` is what the best constant answer
    would score, chosen with the answers known: no reader of the words alone should be much better.
    """
    if not any(record.asked for record in records):
        return {}
    types, judged = {}, {}
    for kind in QUESTIONS:
        groups = [[one for one in record.asked if one.type == kind] for record in records]
        if any(groups):
            judge = _mra if kind in NUMERIC else _exact
            judged[kind] = _by_condition(groups, judge)
            types[kind] = {
                "judged_by": "mra" if kind in NUMERIC else "exact",
                "score": {name: described(one, 100.0) for name, one in judged[kind].items()},
                "exact": {name: described(one, 100.0) for name, one in _by_condition(groups, _exact).items()},
            }
    means = {name: mean_of([judged[kind][name] for kind in judged]) for name in (*CONDITIONS, "constant")}
    gains = {f"over_{name}": means["video"] - means[name] for name in means if name != "video"}
    worst = min((judged[kind]["video"].value - judged[kind]["blank"].value, kind) for kind in judged)
    return {
        "types": types,
        "mean": {name: described(one, 100.0) for name, one in means.items()},
        "gain": {name: described(one, 100.0) for name, one in gains.items()},
        "least_gain_over_blank": {"type": worst[1], "value": 100.0 * worst[0]},
    }


def _by_condition(groups: list[list[Asked]], judge: Callable[[str, Asked], float]) -> dict[str, Estimate]:
    constant = _constant_answer([one for group in groups for one in group], judge)
    replies: dict[str, Callable[[Asked], str]] = {name: _reply_of(name) for name in CONDITIONS}
    replies["constant"] = lambda _: constant
    return {
        name: measured([np.array([judge(reply(one), one) for one in group]) for group in groups]).mean()
        for name, reply in replies.items()
    }


def _reply_of(condition: str) -> Callable[[Asked], str]:
    return lambda asked: asked.replies[condition]


def _exact(reply: str, asked: Asked) -> float:
    return float(is_exact(reply, asked.answer))


def _mra(reply: str, asked: Asked) -> float:
    return relative_accuracy(reply, asked.answer)


def _constant_answer(asked: list[Asked], judge: Callable[[str, Asked], float]) -> str:
    """Return the commonest answer, or the median where answers are judged as numbers."""
    if judge is _mra:
        return str(float(np.median([number_in(one.answer) for one in asked])))
    return Counter(normalised(one.answer) for one in asked).most_common(1)[0][0]


# --- layout and camera ------------------------------------------------------------------------------------------------


def score_layout(records: Sequence[SceneRecord]) -> Group:
    """Return errors and honesty of the bird's-eye-view map, by distance from the camera along the floor."""
    distance, error, level, posed = (
        measured([getattr(record.layout, name) for record in records])
        for name in ("distance", "error", "level", "posed")
    )
    if not len(error.value):
        return {}
    bins = []
    for low, high in pairwise(DISTANCES):
        inside = (distance.value >= low) & (distance.value < high)
        if inside.any():
            name = f"{low:g}+ m" if np.isinf(high) else f"{low:g}-{high:g} m"
            bins.append({"distance": name} | _layout_row(error.where(inside), level.where(inside)))
    right = {"mean_m": described(posed.mean()), "median_m": described(posed.median())}
    return {"all": _layout_row(error, level), "by_distance": bins, "poses_given": right}


def _layout_row(error: Measured, level: Measured) -> Group:
    within = {
        f"within_{n}_sigma": described(_share(level, level.value <= share), 100.0)
        for n, share in honest.ELLIPSE_COVERAGE.items()
    }
    return {
        "mean_m": described(error.mean()),
        "median_m": described(error.median()),
        "calibration_error": honest.calibration_error(level.value),
        **within,
    }


def score_trajectories(trajectories: Sequence[Trajectory]) -> Group:
    """Return errors of camera poses: absolute from the same first pose, relative from pose to pose.

    `scale` is the factor on the estimate that brings it closest to the truth, `aligned_m` what then remains (RMSE),
    `aligned_rigid_m` what remains without it, and `still_m` the same of a camera that is believed to stand still.
    """
    errors = [trajectory_errors(one.estimated, one.true) for one in trajectories if len(one.true) > 1]
    if not errors:
        return {}
    absolute = {"m": "metres", "deg": "degrees"}
    relative = {"m": "step_metres", "deg": "step_degrees"}
    ends = [[one.metres[-1:], one.degrees[-1:]] for one in errors]
    return {
        "trajectories": len(errors),
        "poses": int(sum(len(one.true) for one in trajectories)),
        "absolute": _trajectory_rows(errors, absolute),
        "relative": _trajectory_rows(errors, relative),
        "end_median_m": described(measured([end[0] for end in ends]).median()),
        "end_median_deg": described(measured([end[1] for end in ends]).median()),
        "aligned_m": described(measured([np.array([one.aligned_metres]) for one in errors]).mean()),
        "aligned_rigid_m": described(measured([np.array([one.rigid_metres]) for one in errors]).mean()),
        "still_m": described(measured([np.array([one.still_metres]) for one in errors]).mean()),
        "scale": described(measured([np.array([one.scale]) for one in errors]).median()),
    }


def _trajectory_rows(errors: list[TrajectoryErrors], fields: dict[str, str]) -> Group:
    rows: Group = {}
    for unit, name in fields.items():
        values = measured([getattr(one, name) for one in errors])
        rows |= {f"mean_{unit}": described(values.mean()), f"median_{unit}": described(values.median())}
    return rows
