"""A drive through a scene as one picture: from above, and what the camera sees."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from loc3r_ros.geometry import Array
from loc3r_ros.interface import ImageArray
from loc3r_ros.world.scene import Scene
from loc3r_ros.world.show import draw_scene

ARROW = 0.35
"""Length of a keyframe's arrow, metres."""


def draw_drive(
    scene: Scene,
    path: Array,
    keyframes: Array,
    places: Sequence[tuple[Array, Array, Array]],
    image: ImageArray | None,
    title: str,
) -> Figure:
    """Draw the rooms, the robot's true path, where the keyframes are, and the places that were asked for.

    Args:
        scene: the scene.
        path: (N, 3) true poses of the robot in the world, oldest first, N >= 1.
        keyframes: (K, 3) poses of the keyframes' cameras in the world, oldest first.
        places: (3,) true and (3,) estimated poses in the world and (2, 2) covariances of described places.
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
    for number, (truth, pose, covariance) in enumerate(places):
        _draw_place(above, truth, pose, covariance, is_first=number == 0)
    _arrows(above, path[-1:], 2 * ARROW, "black", "robot")
    above.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncol=3, fontsize=9)
    beside.axis("off")
    if image is not None:
        beside.imshow(image)
        beside.set_title("what it sees now")
    above.set_title(title)
    return figure


def _draw_place(axes: Axes, truth: Array, pose: Array, covariance: Array, is_first: bool) -> None:
    """Draw a described place: truth, estimate with its ellipse, and a line from one to the other."""
    variances, directions = np.linalg.eigh(covariance)
    width, height = 2.0 * np.sqrt(np.maximum(variances, 0.0))
    turn = np.degrees(np.arctan2(directions[1, 0], directions[0, 0]))
    axes.add_patch(Ellipse((pose[0], pose[1]), width, height, angle=turn, fill=False, color="tab:purple", zorder=8))
    axes.plot(*np.array([truth[:2], pose[:2]]).T, color="tab:purple", linewidth=0.8, linestyle=":", zorder=8)
    labels = ("a described place", "where the node says it is, 1 sigma") if is_first else ("", "")
    _arrows(axes, truth[None], ARROW, "tab:green", labels[0])
    _arrows(axes, pose[None], ARROW, "tab:purple", labels[1])


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
