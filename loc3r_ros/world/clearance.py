"""Where one can stand and walk: distances to walls and furniture on the floor, free cells, routes through them."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from loc3r_ros.geometry import Array
from loc3r_ros.world.scene import Doorway, Mount, Scene

WALL_THICKNESS = 1.0
"""Outside of the rooms all is solid at least this deep, metres."""
JAMB = 0.06
"""How far the doorway's frame reaches into the passage on each side, metres."""
BAND_STEPS = 200
COMFORT = 0.6
"""Clearance, metres, beyond which a route gains nothing by keeping further away."""


def solids(scene: Scene) -> Array:
    """Return what stands on the floor plan: walls, and all furniture but what lies flat.

    Returns:
        (S, 6) rectangles: centre x, y, cosine and sine of the yaw, half sizes along its own x and y, metres.
    """
    boxes = [_box(*rectangle) for rectangle in _walls(scene)]
    for item in scene.furniture:
        if item.mount is not Mount.FLAT:
            cosine, sine = item.world_R_furniture[:2, 0]
            boxes.append((*item.position, cosine, sine, item.size[0] / 2, item.size[1] / 2))
    return np.array(boxes)


def clearance(solid: Array, points: Array) -> Array:
    """Return (N,) signed distances, metres, of points (N, 2) to the nearest of `solids`; negative inside one."""
    return _clearance(solid, np.ascontiguousarray(points, np.float64))


def pull_taut(path: Array, solid: Array, keep: float) -> Array:
    """Return a path (M, 2) pulled taut between its ends, no point nearer than `keep` metres to `solids`."""
    return _pull_taut(path, solid, keep)


@dataclass(frozen=True, eq=False)
class FreeSpace:
    """The connected cells in which a body of some radius can stand.

    Attributes:
        points: (C, 2) centres of the cells in the world, metres.
        clearance: (C,) distance of each to the nearest solid, metres.
        resolution: side of a cell, metres.
        neighbours: (E, 2) pairs of cells that touch by a side or a corner.
    """

    points: Array
    clearance: Array
    resolution: float
    neighbours: npt.NDArray[np.intp]

    def nearest(self, point: npt.ArrayLike) -> int:
        """Return the index of the cell nearest to a point (2,)."""
        return int(np.argmin(((self.points - np.asarray(point)) ** 2).sum(axis=1)))

    def route(self, start: int, goal: int) -> Array:
        """Return (N, 2) cell centres of the cheapest way between two cells, `start` first; narrow places cost more."""
        _, before = csgraph.dijkstra(self._graph, directed=False, indices=goal, return_predecessors=True)
        cells = [start]
        while cells[-1] != goal:
            cells.append(int(before[cells[-1]]))
        return self.points[cells]

    @functools.cached_property
    def _graph(self) -> sparse.csr_matrix:
        first, second = self.neighbours.T
        length = np.hypot(*(self.points[first] - self.points[second]).T)
        tightness = np.maximum(0.0, COMFORT - np.minimum(self.clearance[first], self.clearance[second]))
        count = len(self.points)
        return sparse.csr_matrix((length * (1.0 + 1.5 * tightness), (first, second)), shape=(count, count))


def free_space(scene: Scene, radius: float, resolution: float) -> FreeSpace:
    """Return the largest connected set of cells whose centres keep more than `radius` from every solid, metres."""
    rooms = scene.rooms
    low = np.min([(room.x0, room.y0) for room in rooms], axis=0)
    high = np.max([(room.x1, room.y1) for room in rooms], axis=0)
    counts = np.ceil((high - low) / resolution).astype(int)
    index = np.stack(np.meshgrid(*map(np.arange, counts), indexing="ij"), axis=-1)
    points = low + (index + 0.5) * resolution
    distance = clearance(solids(scene), points.reshape(-1, 2)).reshape(counts)
    labels, _ = ndimage.label(distance > radius, structure=np.ones((3, 3)))
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    free = labels == np.argmax(sizes) if sizes.any() else np.zeros(counts, bool)
    return FreeSpace(points[free], distance[free], resolution, _touching(free))


def _touching(free: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """Return (E, 2) indices, among the free cells, of cells that touch."""
    number = np.full(free.shape, -1)
    number[free] = np.arange(np.count_nonzero(free))
    views = (
        (number[:-1], number[1:]),
        (number[:, :-1], number[:, 1:]),
        (number[:-1, :-1], number[1:, 1:]),
        (number[1:, :-1], number[:-1, 1:]),
    )
    pairs = np.concatenate([np.stack([a.ravel(), b.ravel()], axis=1) for a, b in views])
    return pairs[(pairs >= 0).all(axis=1)]


def _walls(scene: Scene) -> list[tuple[float, float, float, float]]:
    """Return the walls as (x0, y0, x1, y1); between two rooms there is one wall with a gap for the doorway."""
    t = WALL_THICKNESS
    first, last = scene.rooms[0], scene.rooms[-1]
    bottom = min(room.y0 for room in scene.rooms) - t
    top = max(room.y1 for room in scene.rooms) + t
    walls = [(first.x0 - t, bottom, first.x0, top), (last.x1, bottom, last.x1 + t, top)]
    for room in scene.rooms:
        walls += [(room.x0, bottom, room.x1, room.y0), (room.x0, room.y1, room.x1, top)]
    if scene.doorway is not None:
        walls += _partition(first.x1, last.x0, bottom, top, scene.doorway)
    return walls


def _partition(
    x0: float, x1: float, bottom: float, top: float, doorway: Doorway
) -> list[tuple[float, float, float, float]]:
    reach = doorway.width / 2 - JAMB
    return [(x0, bottom, x1, doorway.y - reach), (x0, doorway.y + reach, x1, top)]


def _box(x0: float, y0: float, x1: float, y1: float) -> tuple[float, ...]:
    return ((x0 + x1) / 2, (y0 + y1) / 2, 1.0, 0.0, (x1 - x0) / 2, (y1 - y0) / 2)


@numba.njit(cache=True)
def _signed_distance(solid, x, y):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    nearest = np.inf
    for s in range(len(solid)):
        dx, dy = x - solid[s, 0], y - solid[s, 1]
        a = abs(dx * solid[s, 2] + dy * solid[s, 3]) - solid[s, 4]
        b = abs(dy * solid[s, 2] - dx * solid[s, 3]) - solid[s, 5]
        outside = (max(a, 0.0) ** 2 + max(b, 0.0) ** 2) ** 0.5
        nearest = min(nearest, outside + min(max(a, b), 0.0))
    return nearest


@numba.njit(cache=True)
def _clearance(solid, points):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    distance = np.empty(len(points))
    for i in range(len(points)):
        distance[i] = _signed_distance(solid, points[i, 0], points[i, 1])
    return distance


@numba.njit(cache=True)
def _pull_taut(path, solid, keep):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    band = path.copy()
    for _ in range(BAND_STEPS):
        for i in range(1, len(band) - 1):
            x = 0.5 * band[i, 0] + 0.25 * (band[i - 1, 0] + band[i + 1, 0])
            y = 0.5 * band[i, 1] + 0.25 * (band[i - 1, 1] + band[i + 1, 1])
            if _signed_distance(solid, x, y) > keep:
                band[i, 0], band[i, 1] = x, y
    return band
