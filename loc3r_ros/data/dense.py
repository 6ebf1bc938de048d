"""Dense truth for the vision tower: what each part of a picture shows, how far away and how it is turned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loc3r_ros.geometry import Array
from loc3r_ros.world.furniture import CATEGORIES
from loc3r_ros.world.materials import COLOURS
from loc3r_ros.world.sample import Sample
from loc3r_ros.world.scene import Scene, Surface

SURFACES = (Surface.FLOOR, Surface.CEILING, Surface.WALL)
CLASSES = (*CATEGORIES, *(surface.name.lower() for surface in SURFACES))
"""What a cell can show, furniture first."""
COLOUR_NAMES = tuple(COLOURS)
UNKNOWN = -100
"""Class or colour of a cell that teaches nothing: nothing was hit, or it is no furniture and language has no colour."""
MAX_STEP = 0.05
"""Largest relative change of depth between neighbours across which a normal still is one."""


@dataclass(frozen=True)
class DenseTargets:
    """The truth at the middle of each of R x R cells of N pictures.

    Attributes:
        category: (N, R, R) int64 index into CLASSES, or UNKNOWN.
        colour: (N, R, R) int64 index into COLOUR_NAMES, or UNKNOWN.
        depth: (N, R, R) float32 metres along the optical axis; 0 where unknown.
        normal: (N, R, R, 3) float32 unit vectors towards the camera, in its optical axes; 0 where unknown.
    """

    category: NDArray[np.int64]
    colour: NDArray[np.int64]
    depth: NDArray[np.float32]
    normal: NDArray[np.float32]


def dense_targets(sample: Sample, cells: int, cell_pixels: float) -> DenseTargets:
    """Return the truth at the middle of cells that begin at the top left corner.

    Args:
        sample: what to look at.
        cells: R, cells along a side.
        cell_pixels: side of a cell; what lies beyond R cells is left out.
    """
    at = cell_middles(cells, cell_pixels)
    pick = np.ix_(np.arange(len(sample.frames.depth)), at, at)
    shown = sample.frames.segmentation[pick]
    return DenseTargets(
        category=lookup(class_table(sample.scene), shown),
        colour=lookup(colour_table(sample.scene), shown),
        depth=sample.frames.depth[pick],
        normal=normals(sample.frames.depth, sample.camera_matrix, at),
    )


def cell_middles(cells: int, cell_pixels: float) -> NDArray[np.intp]:
    """Return (cells,) the pixels, along a side, at the middles of cells."""
    return ((np.arange(cells) + 0.5) * cell_pixels).astype(np.intp)


def class_table(scene: Scene) -> dict[int, int]:
    """Return code of the segmentation -> index into CLASSES."""
    table = {int(code): CLASSES.index(code.name.lower()) for code in SURFACES}
    return table | {item.id: CLASSES.index(item.category) for item in scene.furniture}


def colour_table(scene: Scene) -> dict[int, int]:
    """Return code of the segmentation -> index into COLOUR_NAMES, for furniture."""
    return {item.id: COLOUR_NAMES.index(item.colour) for item in scene.furniture}


def lookup(table: dict[int, int], codes: NDArray[np.int16]) -> NDArray[np.int64]:
    """Return the entries of a table, UNKNOWN for codes that it lacks."""
    lowest = min(Surface)
    entries = np.full(max([*table, 0]) - lowest + 1, UNKNOWN, np.int64)
    for code, entry in table.items():
        entries[code - lowest] = entry
    return entries[codes - int(lowest)]


def normals(depth: NDArray[np.float32], camera_matrix: Array, at: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return (N, R, R, 3) unit normals towards the camera at R rows and columns of (N, H, W) depths.

    They are 0 at depth edges, at the border and without depth.
    """
    inner = np.clip(at, 1, min(depth.shape[1:]) - 2)
    focal, centre = np.float32(camera_matrix[0, 0]), camera_matrix[:2, 2].astype(np.float32)

    def points(down: int, across: int) -> NDArray[np.float32]:
        v, u = inner + down, inner + across
        shown = depth[:, v[:, None], u]
        return np.stack([(u - centre[0]) / focal * shown, (v[:, None] - centre[1]) / focal * shown, shown], axis=-1)

    middle, left, right, above, below = (points(*step) for step in ((0, 0), (0, -1), (0, 1), (-1, 0), (1, 0)))
    across, down = right - left, below - above
    normal = np.cross(down, across)
    shown = middle[..., 2]
    bends = (one[..., 2] + other[..., 2] - 2 * shown for one, other in ((left, right), (above, below)))
    bend = np.maximum(*(np.abs(one) for one in bends))
    step = np.maximum(np.abs(across[..., 2]), np.abs(down[..., 2]))
    length = np.linalg.norm(normal, axis=-1)
    smooth = (shown > 0) & (length > 0) & (bend < MAX_STEP * shown) & (step < shown)
    smooth &= (inner == at) & (inner == at)[:, None]
    unit = np.where(smooth[..., None], normal / np.maximum(length, 1e-12)[..., None], 0.0)
    facing = np.where((unit * middle).sum(-1, keepdims=True) > 0, -unit, unit)
    return facing.astype(np.float32)
