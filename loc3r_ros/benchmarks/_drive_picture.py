"""The picture of a drive: errors over time with what they claim to be, and the way in the map."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from loc3r_ros import geometry
from loc3r_ros.benchmarks._simulated_drive import Log

TRUE, POSE, CLAIM = "0.45", "#0072b2", "#9ecae1"


def draw(drives: Mapping[str, Log], jumps: tuple[float, ...], prior: str, path: Path) -> None:
    """Write a PNG: a row for each drive with position error, heading error and the way."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4 * len(drives)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(drives), 3, width_ratios=(3, 3, 2), squeeze=False)
    for row, (name, log) in zip(axes, drives.items(), strict=True):
        _draw_errors(row, log, jumps)
        _draw_way(row[2], log)
        row[0].set_title(f"{name}: position error in the map")
        row[1].set_title("heading error")
        row[2].set_title("the way in the map")
    figure.suptitle(f"Ten minutes' drive; pose prior: {prior}")
    figure.savefig(path, dpi=90)


def _draw_errors(row: Any, log: Log, jumps: tuple[float, ...]) -> None:
    minutes = log.array("seconds") / 60.0
    off = log.array("pose") - log.array("truth")
    off[:, 2] = geometry.wrap_angle(off[:, 2])
    sigma = log.array("sigma")
    claimed = 2.45 * np.sqrt(0.5 * (sigma[:, 0] ** 2 + sigma[:, 1] ** 2)), 1.96 * np.degrees(sigma[:, 2])
    values = np.hypot(*off[:, :2].T), np.degrees(np.abs(off[:, 2]))
    anew = minutes[1:][np.diff(log.array("failures")) > 0]
    for axis, value, claim, unit in zip(row[:2], values, claimed, ("m", "degrees"), strict=True):
        axis.fill_between(minutes, 0.0, claim, color=CLAIM, lw=0, label="95 % by its covariance")
        axis.plot(minutes, value, color=POSE, lw=1.0, label="error of pose")
        for number, moment in enumerate(jumps):
            axis.axvline(moment / 60.0, color="#d55e00", lw=0.8, label="" if number else "pose prior goes wrong")
        for number, moment in enumerate(anew):
            axis.axvline(moment, color="k", ls=":", lw=0.8, label="" if number else "memory begins anew")
        axis.set(xlabel="minutes", ylabel=unit, ylim=(0.0, 1.05 * max(value.max(), min(claim.max(), 3 * value.max()))))
        axis.set_xlim(0.0, minutes[-1])
    row[0].legend(loc="upper left", fontsize="small", frameon=False)


def _draw_way(axis: Any, log: Log) -> None:
    axis.plot(*log.array("truth")[:, :2].T, color=TRUE, lw=0.8, label="true")
    axis.plot(*log.array("pose")[:, :2].T, color=POSE, lw=0.8, label="pose")
    axis.set(xlabel="x, m", ylabel="y, m", aspect="equal")
    axis.legend(loc="upper left", fontsize="small", frameon=False)
