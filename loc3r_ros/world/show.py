"""Pictures and text of a sample, for people."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle

from loc3r_ros.geometry import Array, compose2
from loc3r_ros.world.ceiling import mean_ceiling
from loc3r_ros.world.materials import COLOURS
from loc3r_ros.world.sample import Sample
from loc3r_ros.world.scene import Furniture, Mount, Scene
from loc3r_ros.world.situations import Situation

COLUMNS = 8
SITUATION_COLOURS = ("tab:red", "tab:blue", "tab:green", "tab:purple")


def contact_sheet(images: npt.NDArray[np.uint8], columns: int = COLUMNS) -> npt.NDArray[np.uint8]:
    """Return all of (N, H, W, 3) pictures in one, row by row, with a thin gap between them."""
    count, height, width, _ = images.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + 2), columns * (width + 2), 3), 255, np.uint8)
    for number, image in enumerate(images):
        top, left = (number // columns) * (height + 2), (number % columns) * (width + 2)
        sheet[top : top + height, left : left + width] = image
    return sheet


def draw_top_view(sample: Sample) -> Figure:
    """Draw the rooms from above with the walk and the situations; furniture that was not seen is dashed."""
    figure = Figure(figsize=(11, 11), layout="constrained")
    axes: Axes = figure.subplots()
    draw_scene(axes, sample.scene, sample.sightings.seen)
    _draw_walk(axes, sample)
    for number, situation in enumerate(sample.situations):
        pose = compose2(sample.world_t_anchor, situation.pose)
        _draw_situation(axes, situation, pose, number)
    axes.set_title(f"seed {sample.scene.seed}: walk (grey), first camera (black), situations with their regions")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.05), fontsize=8)
    return figure


def draw_scene(axes: Axes, scene: Scene, seen: Collection[int] | None = None) -> None:
    """Draw rooms and furniture from above.

    Args:
        axes: where to.
        scene: the scene.
        seen: ids of the furniture to draw with a solid line, the rest is dashed; None for all.
    """
    for room in scene.rooms:
        axes.add_patch(Rectangle((room.x0, room.y0), *room.size, facecolor="0.97", edgecolor="black", linewidth=2))
    if scene.doorway is not None:
        door = scene.doorway
        axes.plot([door.x] * 2, [door.y - door.width / 2, door.y + door.width / 2], color="white", linewidth=8)
    for item in scene.furniture:
        _draw_furniture(axes, item, seen is None or item.id in seen)
    axes.set_aspect("equal")
    axes.set_xlabel("x, m")
    axes.set_ylabel("y, m")


def describe_sample(sample: Sample) -> str:
    """Return the situations with their ceilings, and the questions with their answers, as text."""
    lines = [f"Seed {sample.scene.seed}: {len(sample.sightings.seen)} of {len(sample.scene.furniture)} objects seen."]
    lines += ["", "Without a situation:", *_question_lines(sample, None)]
    for number, situation in enumerate(sample.situations):
        x, y, heading = situation.pose
        lines += ["", f"Situation {number}: {situation.text}"]
        lines.append(
            f"  at x {x:.2f} m, y {y:.2f} m, {math.degrees(heading):.0f} deg in the anchor frame; {_limits(situation)}"
        )
        lines += _question_lines(sample, number)
    return "\n".join(lines) + "\n"


def to_json(sample: Sample) -> dict[str, Any]:
    """Return the language of a sample and its ceilings as plain data."""
    situations = [
        {
            "text": one.text,
            "pose": [round(float(value), 4) for value in one.pose],
            "spread_m": round(one.spread, 4),
            "ceiling": dataclasses.asdict(one.ceiling),
        }
        for one in sample.situations
    ]
    questions = [
        {"type": one.type, "question": one.text, "answer": one.answer, "situation": one.situation}
        for one in sample.questions
    ]
    ceilings = [one.ceiling for one in sample.situations]
    ceiling = dataclasses.asdict(mean_ceiling(ceilings)) if ceilings else None
    return {"seed": sample.scene.seed, "ceiling": ceiling, "situations": situations, "questions": questions}


def write(sample: Sample, folder: Path) -> list[Path]:
    """Write all of it into a folder, which is made if need be, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / name for name in ("frames.png", "top.png", "questions.txt", "questions.json")]
    cv2.imwrite(str(files[0]), contact_sheet(sample.frames.rgb)[..., ::-1])
    draw_top_view(sample).savefig(files[1], dpi=90)
    files[2].write_text(describe_sample(sample))
    files[3].write_text(json.dumps(to_json(sample), indent=1) + "\n")
    return files


def _question_lines(sample: Sample, situation: int | None) -> list[str]:
    asked = [one for one in sample.questions if one.situation == situation]
    return [f"  {one.type:9} {one.text}  {one.answer}" for one in asked]


def _limits(situation: Situation) -> str:
    best = situation.ceiling
    return (
        f"region {situation.spread:.2f} m rms, ceiling {best.acc_05m:.2f} @0.5m, {best.acc_10m:.2f} @1.0m, "
        f"{best.acc_15deg:.2f} @15deg, {best.acc_30deg:.2f} @30deg"
    )


def _draw_furniture(axes: Axes, item: Furniture, seen: bool) -> None:
    colour = np.array(COLOURS[item.colour]) ** (1 / 2.2)
    flat = item.mount is Mount.FLAT
    style = "-" if seen else "--"
    patch = Polygon(item.footprint, facecolor=(*colour, 0.3 if flat else 0.8), edgecolor="black", linestyle=style)
    patch.set_zorder(1 if flat else 2)
    axes.add_patch(patch)
    front = item.position + item.world_R_furniture[:2, 0] * item.size[0] / 2
    axes.plot(*front, marker=".", color="black", markersize=4)
    axes.annotate(item.name, item.position, fontsize=8, ha="center", va="center", zorder=5).set_bbox(
        {"facecolor": "white", "alpha": 0.6, "pad": 0.5, "edgecolor": "none"}
    )


def _draw_walk(axes: Axes, sample: Sample) -> None:
    x, y = sample.walk.position[:, :2].T
    gaze = np.stack([np.cos(sample.walk.yaw), np.sin(sample.walk.yaw)])
    axes.plot(x, y, color="0.4", linewidth=1, zorder=3)
    axes.quiver(x, y, *gaze, color="0.5", scale=30, width=0.002, zorder=3)
    axes.quiver(x[0], y[0], *gaze[:, 0], color="black", scale=18, width=0.005, zorder=4)


def _draw_situation(axes: Axes, situation: Situation, pose: Array, number: int) -> None:
    colour = SITUATION_COLOURS[number % len(SITUATION_COLOURS)]
    places = np.unique(situation.region.pose[:, :2], axis=0)
    axes.scatter(places[:, 0], places[:, 1], s=10, color=colour, alpha=0.35, zorder=3)
    label = f"{number}: {situation.text}"
    axes.quiver(
        *pose[:2], math.cos(pose[2]), math.sin(pose[2]), color=colour, scale=14, width=0.006, label=label, zorder=6
    )
