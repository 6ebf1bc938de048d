"""The floor plan as language sees it: where every piece of furniture lies from every place where one can stand."""

from __future__ import annotations

import enum
import functools
import math
from collections import Counter
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from loc3r_ros.geometry import Array, wrap_angle
from loc3r_ros.world.clearance import FreeSpace, free_space
from loc3r_ros.world.scene import Furniture, Scene

STANDING_RADIUS = 0.2
RESOLUTION = 0.12
HEADINGS = 36
"""Directions, every 10 degrees, in which a region of poses is searched."""
NEAR = 0.5
"""Metres from the footprint within which one stands beside a thing."""
IN_FRONT = 0.8
"""Metres from a thing's front within which one stands in front of it."""
FACING = math.radians(12.0)
SIDEWARDS = math.radians(38.0)


class Relation(enum.IntEnum):
    """What a situation says about the observer and one piece of furniture."""

    BESIDE = 0  # within NEAR of its footprint
    IN_FRONT_OF = 1  # within IN_FRONT of its front side, no further aside than its width
    FACING = 2  # its middle lies within FACING of straight ahead
    LEFT = 3  # its middle lies within SIDEWARDS of the left hand
    RIGHT = 4
    BEHIND = 5


BEARINGS = {Relation.FACING: 0.0, Relation.LEFT: math.pi / 2, Relation.RIGHT: -math.pi / 2, Relation.BEHIND: math.pi}
_CENTRE = np.array([0.0, 0.0, *BEARINGS.values()])
_REACH = np.array([0.0, 0.0, FACING, SIDEWARDS, SIDEWARDS, SIDEWARDS])


@dataclass(frozen=True)
class Clause:
    """One thing that a situation says; it also says that the furniture is in the observer's room."""

    relation: Relation
    furniture: int


@dataclass(frozen=True, eq=False)
class Region:
    """The R poses, on a grid, of which all that a situation says is true.

    Attributes:
        cell: (R,) index of the place in `Viewpoints.places`.
        pose: (R, 3) x, y, heading in the world.
    """

    cell: npt.NDArray[np.intp]
    pose: Array

    def spread(self, pose: Array) -> tuple[float, float]:
        """Return the rms distance, metres, and the rms turn, radians, of the region from a pose (3,)."""
        if not len(self.cell):
            return math.inf, math.inf
        square = ((self.pose[:, :2] - pose[:2]) ** 2).sum(axis=1)
        turn = wrap_angle(self.pose[:, 2] - pose[2])
        return math.sqrt(square.mean()), math.sqrt((turn**2).mean())


class Viewpoints:
    """Distances and bearings from C places to the F pieces of furniture of a scene.

    Attributes:
        scene: the scene.
        places: (C, 2) where one can stand, metres in the world.
        room: (C,) room of each place.
    """

    def __init__(self, scene: Scene) -> None:
        space: FreeSpace = free_space(scene, STANDING_RADIUS, RESOLUTION)
        self.scene = scene
        self.places = space.points
        self.room = self.room_of(space.points)
        self._outlines = np.array([_outline(item) for item in scene.furniture])
        self._distance, self._bearing, self._in_front = _survey(self._outlines, self.places)
        self._furniture_room = np.array([item.room for item in scene.furniture])
        self._categories = Counter(item.category for item in scene.furniture)
        self._names = Counter(item.name for item in scene.furniture)

    def room_of(self, points: Array) -> npt.NDArray[np.int64]:
        """Return (N,) the room that points (N, 2) lie in."""
        if self.scene.doorway is None:
            return np.zeros(len(points), np.int64)
        return (points[:, 0] > self.scene.doorway.x).astype(np.int64)

    def count(self, category: str) -> int:
        """Return how many pieces of a category the scene has."""
        return self._categories[category]

    @functools.cached_property
    def referable(self) -> frozenset[int]:
        """Furniture that its category, or its colour and category, tell from all other furniture."""
        return frozenset(item.id for item in self.scene.furniture if self._names[item.name] == 1)

    def survey(self, points: Array) -> tuple[Array, Array]:
        """Return (F, N) distances to the footprints, metres, and (F, N) world bearings of the middles."""
        distance, bearing, _ = _survey(self._outlines, np.ascontiguousarray(points))
        return distance, bearing

    def near(self, furniture: int, relation: Relation) -> npt.NDArray[np.intp]:
        """Return the places beside, or in front of, a piece of furniture in its own room."""
        holds = self._in_front if relation is Relation.IN_FRONT_OF else self._distance < NEAR
        return np.flatnonzero(holds[furniture] & (self.room == self._furniture_room[furniture]))

    def region(self, clauses: list[Clause]) -> Region:
        """Return all poses on the grid of which every clause is true."""
        relation = np.array([clause.relation for clause in clauses])
        furniture = np.array([clause.furniture for clause in clauses])
        same_room = (self.room == self._furniture_room[furniture][:, None]).all(axis=0)
        for clause in clauses:
            if clause.relation in (Relation.BESIDE, Relation.IN_FRONT_OF):
                holds = self._in_front if clause.relation is Relation.IN_FRONT_OF else self._distance < NEAR
                same_room &= holds[clause.furniture]
        cells = np.flatnonzero(same_room)
        angular = relation >= Relation.FACING
        bearing = self._bearing[furniture[angular]][:, cells]
        cell, heading = np.nonzero(_headings(bearing, _CENTRE[relation[angular]], _REACH[relation[angular]]))
        cell = cells[cell]
        angle = (heading + 0.5) * (2 * math.pi / HEADINGS) - math.pi
        return Region(cell, np.column_stack([self.places[cell], angle]))

    def holds(self, clauses: list[Clause], pose: Array) -> bool:
        """Say whether every clause is true of a pose (3,): x, y, heading in the world."""
        distance, bearing, in_front = _survey(self._outlines, pose[None, :2])
        room = self.room_of(pose[None, :2])[0]
        for clause in clauses:
            item, relation = clause.furniture, clause.relation
            if relation is Relation.BESIDE:
                true = distance[item, 0] < NEAR
            elif relation is Relation.IN_FRONT_OF:
                true = in_front[item, 0]
            else:
                error = wrap_angle(bearing[item, 0] - pose[2] - _CENTRE[relation])
                true = abs(error) < _REACH[relation]
            if not true or self._furniture_room[item] != room:
                return False
        return True


def _outline(item: Furniture) -> tuple[float, ...]:
    cosine, sine = item.world_R_furniture[:2, 0]
    return (*item.position, cosine, sine, item.size[0] / 2, item.size[1] / 2)


@numba.njit(cache=True)
def _survey(outlines, points):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return (F, N) distance to each footprint, bearing of its middle, and whether a point is in front of it."""
    shape = (len(outlines), len(points))
    distance, bearing, in_front = np.empty(shape), np.empty(shape), np.empty(shape, np.bool_)
    for f in range(len(outlines)):
        x, y, cosine, sine, half_x, half_y = outlines[f]
        for n in range(len(points)):
            dx, dy = points[n, 0] - x, points[n, 1] - y
            u, v = dx * cosine + dy * sine, dy * cosine - dx * sine
            distance[f, n] = (max(abs(u) - half_x, 0.0) ** 2 + max(abs(v) - half_y, 0.0) ** 2) ** 0.5
            bearing[f, n] = np.arctan2(-dy, -dx)
            in_front[f, n] = half_x < u < half_x + IN_FRONT and abs(v) < half_y
    return distance, bearing, in_front


@numba.njit(cache=True)
def _headings(bearing, centre, reach):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return (C, HEADINGS) which headings fit all of (K, C) bearings, given the wanted side (K,) and reach (K,)."""
    clauses, cells = bearing.shape
    fits = np.ones((cells, HEADINGS), np.bool_)
    for cell in range(cells):
        for step in range(HEADINGS):
            heading = (step + 0.5) * (2 * np.pi / HEADINGS) - np.pi
            for k in range(clauses):
                error = (bearing[k, cell] - heading - centre[k] + np.pi) % (2 * np.pi) - np.pi
                if abs(error) >= reach[k]:
                    fits[cell, step] = False
                    break
    return fits
