"""Situations: where an observer stands and looks, in words that leave little open."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from loc3r_ros.geometry import Array, wrap_angle
from loc3r_ros.world.ceiling import Ceiling, ceiling_of
from loc3r_ros.world.draw import Draw
from loc3r_ros.world.facts import Stage
from loc3r_ros.world.language import describe
from loc3r_ros.world.scene import Furniture, Mount
from loc3r_ros.world.viewpoints import BEARINGS, FACING, RESOLUTION, SIDEWARDS, Clause, Region, Relation

MAX_SPREAD = 0.35
"""Largest rms distance, metres, of the poses consistent with the words from the true one."""
MAX_TURN_SPREAD = math.radians(10.0)
MAX_CLAUSES = 4
TRIES = 120
"""Attempts for every four situations that are wanted."""
FAR = 0.6
"""What is faced or beside lies further away than this, metres: a bearing to something at hand says little."""


@dataclass(frozen=True, eq=False)
class Situation:
    """A described observer.

    Attributes:
        text: the description.
        pose: (3,) x, y, heading in the frame that its owner names.
        clauses: what the text says.
        region: the poses, in the world, of which all of it is true.
        spread: rms distance of the region from the truth, metres.
        ceiling: the best accuracy that the words allow.
    """

    text: str
    pose: Array
    clauses: tuple[Clause, ...]
    region: Region
    spread: float
    ceiling: Ceiling

    @property
    def mentioned(self) -> frozenset[int]:
        """Ids of the furniture that the text names."""
        return frozenset(clause.furniture for clause in self.clauses)


def name_of(item: Furniture, stage: Stage, draw: Draw) -> str:
    """Return a phrase that only this piece of furniture fits: "the sofa" or "the red sofa"."""
    if stage.viewpoints.count(item.category) == 1 and draw.chance(0.6):
        return f"the {item.category}"
    return f"the {item.name}"


def make_situations(stage: Stage, count: int, draw: Draw) -> list[Situation]:
    """Return up to `count` situations, poses in the world; a scene that is too bare gives fewer.

    Args:
        stage: the scene and what the video shows of it: situations name nothing else.
        count: how many are wanted.
        draw: draws places and words.
    """
    named = [item for item in stage.named if item.mount is not Mount.FLAT]
    found: list[Situation] = []
    for _ in range(TRIES * math.ceil(count / 4) if len(named) >= 3 else 0):
        if len(found) == count:
            break
        situation = _try(stage, named, draw)
        if situation is not None and all(_differs(situation, other) for other in found):
            found.append(situation)
    return found


def _differs(one: Situation, other: Situation) -> bool:
    apart = np.hypot(*(one.pose[:2] - other.pose[:2]))
    return bool(apart > 0.5 or abs(wrap_angle(one.pose[2] - other.pose[2])) > math.radians(30.0))


def _try(stage: Stage, named: list[Furniture], draw: Draw) -> Situation | None:
    """Stand somewhere, look at something, and say more until the words pin the pose down."""
    viewpoints = stage.viewpoints
    beside = draw.choice(named)
    relation = Relation.IN_FRONT_OF if _has_front(beside) and draw.chance(0.4) else Relation.BESIDE
    place = Clause(relation, beside.id)
    cells = viewpoints.near(place)
    if not len(cells):
        return None
    within_cell = [draw.uniform(-0.5, 0.5) * RESOLUTION for _ in range(2)]
    point = viewpoints.places[cells[draw.integer(len(cells))]] + within_cell
    survey = viewpoints.survey(point[None])
    far = [item for item in named if item.room == beside.room and survey.distance[item.id, 0] > FAR]
    others = draw.shuffled([item for item in far if item is not beside])
    if not others:
        return None
    faced = others.pop()
    pose = np.array([*point, wrap_angle(survey.bearing[faced.id, 0] + draw.uniform(-0.6, 0.6) * FACING)])
    if not viewpoints.holds(place, pose):
        return None
    sides = [_side_clause(item.id, float(wrap_angle(survey.bearing[item.id, 0] - pose[2]))) for item in others]
    clauses = [place, Clause(Relation.FACING, faced.id)]
    return _pin_down(stage, pose, clauses, [clause for clause in sides if clause is not None], draw)


def _pin_down(stage: Stage, pose: Array, clauses: list[Clause], sides: list[Clause], draw: Draw) -> Situation | None:
    region = stage.viewpoints.region(clauses)
    for clause in sides[: MAX_CLAUSES - len(clauses)]:
        if _is_small(region, pose):
            break
        clauses = [*clauses, clause]
        region = stage.viewpoints.narrow(region, clause)
    if not _is_small(region, pose):
        return None
    names = {clause.furniture: name_of(stage.furniture[clause.furniture], stage, draw) for clause in clauses}
    text = describe(clauses, names, draw)
    return Situation(text, pose, tuple(clauses), region, region.spread(pose)[0], ceiling_of(region))


def _side_clause(item: int, bearing: float) -> Clause | None:
    """Return what can be said of a thing at a bearing from the observer's heading, None where it is at no side."""
    for relation in (Relation.LEFT, Relation.RIGHT, Relation.BEHIND):
        if abs(math.remainder(bearing - BEARINGS[relation], 2 * math.pi)) < SIDEWARDS:
            return Clause(relation, item)
    return None


def _is_small(region: Region, pose: Array) -> bool:
    distance, turn = region.spread(pose)
    return distance < MAX_SPREAD and turn < MAX_TURN_SPREAD


def _has_front(item: Furniture) -> bool:
    return item.mount in (Mount.AGAINST_WALL, Mount.ON_WALL)
