"""Pictures of an evaluation: scenes from above with truth and estimate, and how errors follow the predicted sigma."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from loc3r_ros.evaluation.poses import position_error
from loc3r_ros.evaluation.records import Placement, SceneRecord
from loc3r_ros.evaluation.uncertainty import ellipse_levels, position_sigma, squared_mahalanobis
from loc3r_ros.geometry import Array, compose2, rotate_covariance, rotation2, transform_points2
from loc3r_ros.world.generate import make_scene
from loc3r_ros.world.show import SITUATION_COLOURS, draw_scene

SCENES = 12
"""Most scenes that are drawn."""
ARROW = 0.5
"""Metres."""
HONEST_MEDIAN = float(np.sqrt(2 * np.log(2)))
"""Median error in the plane in units of the sigma per axis (Rayleigh)."""


def write_pictures(records: Sequence[SceneRecord], folder: Path) -> list[Path]:
    """Draw the first scenes and the summary into a folder, which is made if need be; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"uncertainty.png": draw_uncertainty([one for record in records for one in record.placements])}
    figures |= {f"scene_{record.seed}.png": draw_record(record) for record in records[:SCENES]}
    for name, figure in figures.items():
        figure.savefig(folder / name, dpi=80)
    return [folder / name for name in figures]


def draw_record(record: SceneRecord) -> Figure:
    """Draw a scene from above: true poses filled, estimates hollow with their 1- and 2-sigma ellipses."""
    figure = Figure(figsize=(11, 11), layout="constrained")
    axes: Axes = figure.subplots()
    draw_scene(axes, make_scene(record.seed))
    _draw_path(axes, record)
    for colour, place in zip(SITUATION_COLOURS, record.placements, strict=False):
        _draw_place(axes, place, record.world_t_anchor, colour)
    axes.set_title(f"seed {record.seed}: truth (disc), estimate (ring) with 1- and 2-sigma ellipses")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), fontsize=8)
    axes.autoscale_view()
    return figure


def _draw_path(axes: Axes, record: SceneRecord) -> None:
    """Draw where the camera was and where the pose prior thinks that it was."""
    for poses, style, label in (
        (record.camera.true, "-", "camera"),
        (record.camera.estimated, "--", "camera as the pose prior has it"),
    ):
        path = transform_points2(record.world_t_anchor, poses[:, :2, 3])
        axes.plot(*path.T, color="0.4", linestyle=style, linewidth=1, zorder=3, label=label)


def _draw_place(axes: Axes, place: Placement, world_t_anchor: Array, colour: str) -> None:
    estimate = place.estimates["video"]
    true, guess = (compose2(world_t_anchor, pose) for pose in (place.truth, estimate.pose))
    turned = rotate_covariance(estimate.covariance, rotation2(float(world_t_anchor[2])))
    metres = position_error(guess[None], true[None])[0]
    label = f"{place.text} Off by {metres:.2f} m."
    for pose, face, text in ((true, colour, label), (guess, "white", "_")):
        x, y = float(pose[0]), float(pose[1])
        axes.annotate("", _tip(pose), (x, y), arrowprops={"arrowstyle": "-|>", "color": colour}, zorder=7)
        axes.scatter(x, y, s=60, color=face, edgecolors=colour, label=text, zorder=8)
    axes.plot(*np.array([true[:2], guess[:2]]).T, color=colour, linestyle=":", linewidth=1, zorder=6)
    for sigmas in (1, 2):
        axes.add_patch(ellipse(guess[:2], turned[:2, :2], sigmas, edgecolor=colour))


def _tip(pose: Array) -> tuple[float, float]:
    return float(pose[0] + ARROW * np.cos(pose[2])), float(pose[1] + ARROW * np.sin(pose[2]))


def ellipse(centre: Array, covariance: Array, sigmas: float, edgecolor: str) -> Ellipse:
    """Return the n-sigma ellipse of a (2, 2) covariance."""
    variances, axes = np.linalg.eigh(covariance)
    width, height = 2 * sigmas * np.sqrt(variances)
    turn = np.degrees(np.arctan2(axes[1, 0], axes[0, 0]))
    return Ellipse(
        (float(centre[0]), float(centre[1])), width, height, angle=turn, fill=False, edgecolor=edgecolor, zorder=6
    )


def draw_uncertainty(places: Sequence[Placement]) -> Figure:
    """Draw errors over predicted sigma, and the share of errors within each predicted region."""
    figure = Figure(figsize=(12, 5.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    right.plot((0, 1), (0, 1), color="0.6", linestyle="--")
    if places:
        truth = np.array([one.truth for one in places])
        poses = np.array([one.estimates["video"].pose for one in places])
        covariance = np.array([one.estimates["video"].covariance for one in places])
        sigma = position_sigma(covariance)
        left.scatter(sigma, position_error(poses, truth), s=8, alpha=0.5)
        span = np.array([sigma.min(), sigma.max()])
        left.plot(span, HONEST_MEDIAN * span, color="0.6", linestyle="--", label="honest median")
        left.legend()
        error = poses[:, :2] - truth[:, :2]
        levels = np.sort(ellipse_levels(squared_mahalanobis(error, covariance[:, :2, :2])))
        right.plot(levels, (np.arange(len(levels)) + 1) / len(levels), color="tab:blue")
    left.set(xlabel="predicted sigma, m", ylabel="error, m", xscale="log", yscale="log", title="Described places")
    right.set(xlabel="predicted probability of a region", ylabel="share of errors in it", title="Reliability")
    return figure
