"""The floor plan as language sees it: where every piece of furniture lies from every place where one can stand."""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from loc3r_ros.geometry import Array, wrap_angle
from loc3r_ros.world.clearance import free_space
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
SIDEWARDS = math.radians(35.0)


class Relation(enum.IntEnum):
    """What a situation says about the observer and one piece of furniture."""

    BESIDE = 0  # within NEAR of its footprint
    IN_FRONT_OF = 1  # within IN_FRONT of its front side, no further aside than its width
    FACING = 2  # its middle lies within FACING of straight ahead
    LEFT = 3  # its middle lies within SIDEWARDS of the left hand
    RIGHT = 4
    BEHIND = 5


BEARINGS = {Relation.FACING: 0.0, Relation.LEFT: math.pi / 2, Relation.RIGHT: -math.pi / 2, Relation.BEHIND: math.pi}
_REACH = {relation: FACING if relation is Relation.FACING else SIDEWARDS for relation in BEARINGS}
_HEADINGS = (np.arange(HEADINGS) + 0.5) * (2 * math.pi / HEADINGS) - math.pi


@dataclass(frozen=True)
class Clause:
    """One thing that a situation says; it also says that the furniture is in the observer's room."""

    relation: Relation
    furniture: int


@dataclass(frozen=True, eq=False)
class Survey:
    """Where F pieces of furniture lie from N points.

    Attributes:
        distance: (F, N) to the footprint, metres.
        bearing: (F, N) of its middle, in the world, radians.
        in_front: (F, N) whether the point is in front of it.
        room: (N,) room of each point.
    """

    distance: Array
    bearing: Array
    in_front: npt.NDArray[np.bool_]
    room: npt.NDArray[np.int64]


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
        square = (self.pose[:, 0] - pose[0]) ** 2 + (self.pose[:, 1] - pose[1]) ** 2
        turn = wrap_angle(self.pose[:, 2] - pose[2])
        return math.sqrt(square.mean()), math.sqrt((turn**2).mean())


class Viewpoints:
    """A scene seen from C places where one can stand.

    Attributes:
        scene: the scene.
        places: (C, 2) metres in the world.
        referable: ids of the furniture that its category, or its colour and category, tell from all other.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.places = free_space(scene, STANDING_RADIUS, RESOLUTION).points
        self._outlines = np.array([_outline(item) for item in scene.furniture]).reshape(-1, 6)
        self._survey = self.survey(self.places)
        self._categories = Counter(item.category for item in scene.furniture)
        names = Counter(item.name for item in scene.furniture)
        self.referable = frozenset(item.id for item in scene.furniture if names[item.name] == 1)

    def count(self, category: str) -> int:
        """Return how many pieces of a category the scene has."""
        return self._categories[category]

    def survey(self, points: Array) -> Survey:
        """Return where the furniture lies from points (N, 2) in the world."""
        door = self.scene.doorway
        room = np.zeros(len(points), np.int64) if door is None else (points[:, 0] > door.x).astype(np.int64)
        distance, bearing, in_front = _survey(self._outlines, np.ascontiguousarray(points))
        return Survey(distance, bearing, in_front, room)

    def near(self, clause: Clause) -> npt.NDArray[np.intp]:
        """Return the places of which a clause about the place is true."""
        return np.flatnonzero(self._fits(clause, self._survey, np.arange(len(self.places)), np.zeros(1)))

    def region(self, clauses: Sequence[Clause]) -> Region:
        """Return all poses on the grid of which every clause is true; the first is about the place."""
        place, *rest = clauses
        cells = self.near(place)
        cell, heading = np.repeat(cells, HEADINGS), np.tile(_HEADINGS, len(cells))
        region = Region(cell, np.column_stack([self.places[cell], heading]))
        for clause in rest:
            region = self.narrow(region, clause)
        return region

    def narrow(self, region: Region, clause: Clause) -> Region:
        """Return the part of a region of which one more clause is true."""
        keep = self._fits(clause, self._survey, region.cell, region.pose[:, 2])
        return Region(region.cell[keep], region.pose[keep])

    def holds(self, clause: Clause, pose: Array) -> bool:
        """Say whether a clause is true of a pose (3,): x, y, heading in the world."""
        return bool(self._fits(clause, self.survey(pose[None, :2]), np.zeros(1, np.intp), pose[2:])[0])

    def _fits(
        self, clause: Clause, survey: Survey, point: npt.NDArray[np.intp], heading: Array
    ) -> npt.NDArray[np.bool_]:
        """Return (N,) whether a clause is true at surveyed points, by index (N,), with headings (N,)."""
        item, relation = clause.furniture, clause.relation
        if relation is Relation.BESIDE:
            fits = survey.distance[item, point] < NEAR
        elif relation is Relation.IN_FRONT_OF:
            fits = survey.in_front[item, point]
        else:
            off = wrap_angle(survey.bearing[item, point] - heading - BEARINGS[relation])
            fits = np.abs(off) < _REACH[relation]
        return fits & (survey.room[point] == self.scene.furniture[item].room)


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
