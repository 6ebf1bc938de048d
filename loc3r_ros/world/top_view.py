"""A drive through a scene as one picture: from above, and what the camera sees."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loc3r_ros.geometry import Array
from loc3r_ros.interface import ImageArray
from loc3r_ros.world.scene import Scene
from loc3r_ros.world.show import draw_scene

ARROW = 0.35
"""Length of a keyframe's arrow, metres."""


def draw_drive(scene: Scene, path: Array, keyframes: Array, image: ImageArray | None, title: str) -> Figure:
    """Draw the rooms, the robot's true path and where the keyframes are.

    Args:
        scene: the scene.
        path: (N, 3) true poses of the robot in the world, oldest first, N >= 1.
        keyframes: (K, 3) poses of the keyframes' cameras in the world, oldest first.
        image: (H, W, 3) uint8 RGB that the camera sees, if any.
        title: what to write over it.
    """
    figure = Figure(figsize=(15, 8))
    above, beside = figure.subplots(1, 2, gridspec_kw={"width_ratios": (3, 2), "wspace": 0.05})
    draw_scene(above, scene)
    above.scatter(*keyframes[:, :2].T, s=12, color="tab:red", zorder=7)
    above.plot(*path[:, :2].T, color="tab:blue", linewidth=1.5, zorder=6, label="true path")
    _arrows(above, keyframes, ARROW, "tab:red", "keyframes that the node keeps")
    for number in _thinned(len(keyframes)):
        x, y, heading = keyframes[number]
        where = (x - 0.15 * np.cos(heading), y - 0.15 * np.sin(heading))
        above.annotate(str(number), where, fontsize=7, color="tab:red", ha="center", va="center", zorder=8)
    _arrows(above, path[-1:], 2 * ARROW, "black", "robot")
    above.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncol=3, fontsize=9)
    beside.axis("off")
    if image is not None:
        beside.imshow(image)
        beside.set_title("what it sees now")
    above.set_title(title)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a picture so that whoever looks at the file never meets half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}")
    figure.savefig(unfinished, dpi=80, bbox_inches="tight", format=path.suffix[1:])
    os.replace(unfinished, path)


def _arrows(axes: Axes, poses: Array, length: float, colour: str, label: str) -> None:
    heading = poses[:, 2]
    axes.quiver(
        *poses[:, :2].T,
        length * np.cos(heading),
        length * np.sin(heading),
        angles="xy",
        scale_units="xy",
        scale=1.0,
        width=0.0025,
        headwidth=5.0,
        color=colour,
        label=label,
        zorder=7,
    )


def _thinned(count: int, most: int = 25) -> range:
    return range(0, count, max(1, -(-count // most)))
