"""A recording from above: the learned layout, the keyframes and the described places with their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loc3r_ros.interface import FloatArray, Layout, Place
from loc3r_ros.recording.report import Report

COLOURS = ("tab:red", "tab:blue", "tab:green", "tab:purple", "tab:orange", "tab:brown", "tab:pink", "tab:cyan")
SIGMAS = (1, 2)
LONGEST_LABEL = 70
MOST_NUMBERS = 25
"""Keyframes that carry their number; more would hide each other."""


def draw(report: Report, title: str) -> Figure:
    """Draw a report from above, x of the anchor frame to the right and y up, in metres."""
    figure = Figure(figsize=(11, 11), layout="constrained")
    axes: Axes = figure.subplots()
    arrow = _arrow_length(report)
    _draw_layout(axes, report.layout)
    _draw_keyframes(axes, report, arrow)
    _draw_place(axes, report.robot, "black", "the camera at the end", 1.5 * arrow)
    for place, colour in zip(report.places, _colours(report.places), strict=True):
        _draw_place(axes, place, colour, _shorten(place.situation), 1.5 * arrow)
    axes.set(title=title, xlabel="x of the anchor frame, m", ylabel="y, m", aspect="equal")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.06), fontsize=9)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a picture, and the folder that it lies in if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


def ellipse(centre: FloatArray, covariance: FloatArray, sigmas: float) -> FloatArray:
    """Return (65, 2) points of the closed n-sigma ellipse of a (2, 2) covariance around a (2,) centre."""
    turn = np.linspace(0.0, 2.0 * np.pi, 65)
    variances, axes = np.linalg.eigh(covariance)
    half_axes = axes * np.sqrt(np.maximum(variances, 0.0))
    return centre + sigmas * np.stack([np.cos(turn), np.sin(turn)], axis=1) @ half_axes.T


def _draw_layout(axes: Axes, layout: Layout) -> None:
    x, y = layout.points.T
    axes.scatter(x, y, s=5, c=layout.colour / 255.0, zorder=1, label="layout that the model has learned")


def _draw_keyframes(axes: Axes, report: Report, arrow: float) -> None:
    poses = report.keyframe_poses
    axes.plot(poses[:, 0], poses[:, 1], color="0.35", linewidth=1, marker="o", markersize=3, zorder=3)
    sources = {"odom": "odometry", "anchor": "the pose prior"}
    placed = sorted({sources[keyframe.reference] for keyframe in report.keyframes if keyframe.reference in sources})
    label = f"{len(poses)} keyframes from number {report.keyframes[0].index} on, placed by {' and '.join(placed)}"
    _arrows(axes, poses, arrow, "0.2", label)
    for row in range(0, len(poses), -(-len(poses) // MOST_NUMBERS)):
        where, text = (poses[row, 0], poses[row, 1]), str(report.keyframes[row].index)
        axes.annotate(text, where, (-9, -9), textcoords="offset points", fontsize=7, zorder=5)


def _draw_place(axes: Axes, place: Place, colour: str, label: str, arrow: float) -> None:
    x, y = place.pose[:2]
    sigma = np.sqrt(np.diag(place.covariance))
    text = f"{label} ({100 * place.confidence:.0f} % within 1 m; sigma {sigma[0]:.2f} m, {sigma[1]:.2f} m)"
    axes.scatter(x, y, s=50, color=colour, zorder=8)
    _arrows(axes, place.pose[None], arrow, colour, text)
    for sigmas in SIGMAS:
        style = "-" if sigmas == 1 else "--"
        axes.plot(*_ellipse_of(place, sigmas).T, color=colour, linewidth=1.2, linestyle=style, zorder=7)


def _arrows(axes: Axes, poses: FloatArray, length: float, colour: str, label: str) -> None:
    ahead = length * np.stack([np.cos(poses[:, 2]), np.sin(poses[:, 2])])
    axes.quiver(
        *poses[:, :2].T,
        *ahead,
        angles="xy",
        scale_units="xy",
        scale=1.0,
        width=0.003,
        color=colour,
        label=label,
        zorder=6,
    )


def _arrow_length(report: Report) -> float:
    """Return a length that can be seen, in metres: a share of what the picture shows."""
    ellipses = [_ellipse_of(place, max(SIGMAS)) for place in (report.robot, *report.places)]
    points = np.concatenate([report.layout.points, report.keyframe_poses[:, :2], *ellipses])
    return 0.04 * float(np.max(np.nanmax(points, axis=0) - np.nanmin(points, axis=0)))


def _ellipse_of(place: Place, sigmas: float) -> FloatArray:
    return ellipse(place.pose[:2], place.covariance[:2, :2], sigmas)


def _colours(places: Sequence[Place]) -> list[str]:
    return [COLOURS[number % len(COLOURS)] for number in range(len(places))]


def _shorten(text: str) -> str:
    return text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 3]}..."
