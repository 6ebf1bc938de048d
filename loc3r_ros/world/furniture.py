"""The catalogue of furniture, and how one piece is made from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from loc3r_ros.world import furniture_floor as floor
from loc3r_ros.world import furniture_small as small
from loc3r_ros.world.draw import Draw
from loc3r_ros.world.materials import COLOURS, Paint
from loc3r_ros.world.scene import Furniture, Mount, Primitive
from loc3r_ros.world.solids import bounds, moved

MIN_SCALE, MAX_SCALE = 0.6, 1.6


@dataclass(frozen=True)
class Kind:
    """One entry of the catalogue: a builder of solids and where the thing goes."""

    build: Callable[[Draw, Paint], list[Primitive]]
    mount: Mount


CATALOGUE: dict[str, Kind] = {
    "ball": Kind(small.ball, Mount.ANYWHERE),
    "bed": Kind(floor.bed, Mount.AGAINST_WALL),
    "bin": Kind(small.bin_, Mount.NEAR_WALL),
    "box": Kind(small.box_, Mount.ANYWHERE),
    "cabinet": Kind(floor.cabinet, Mount.AGAINST_WALL),
    "chair": Kind(floor.chair, Mount.ANYWHERE),
    "desk": Kind(floor.desk, Mount.AGAINST_WALL),
    "door": Kind(small.door, Mount.ON_WALL),
    "fridge": Kind(floor.fridge, Mount.AGAINST_WALL),
    "lamp": Kind(small.lamp, Mount.NEAR_WALL),
    "picture": Kind(small.picture, Mount.ON_WALL),
    "plant": Kind(small.plant, Mount.NEAR_WALL),
    "rug": Kind(small.rug, Mount.FLAT),
    "shelf": Kind(floor.shelf, Mount.AGAINST_WALL),
    "sink": Kind(floor.sink, Mount.AGAINST_WALL),
    "sofa": Kind(floor.sofa, Mount.AGAINST_WALL),
    "table": Kind(floor.table, Mount.OPEN_FLOOR),
    "toilet": Kind(small.toilet, Mount.AGAINST_WALL),
    "TV": Kind(floor.tv, Mount.AGAINST_WALL),
    "window": Kind(small.window, Mount.ON_WALL),
}
CATEGORIES: tuple[str, ...] = tuple(CATALOGUE)


def build(draw: Draw, category: str, colour: str, scale: float) -> Furniture:
    """Build a piece of furniture that has no place yet.

    Args:
        draw: where its variations come from.
        category: one of CATEGORIES.
        colour: one of `materials.COLOURS`.
        scale: factor on the nominal size.
    """
    kind = CATALOGUE[category]
    solids = kind.build(draw, Paint(COLOURS[colour]))
    low, high = bounds(solids)
    shift = np.array([-(low[0] + high[0]) / 2, -(low[1] + high[1]) / 2, -low[2]])
    x, y, z = ((high - low) * scale).tolist()
    primitives = tuple(moved(solid, shift, scale) for solid in solids)
    return Furniture(category, colour, (x, y, z), kind.mount, primitives, scale=scale)
