"""Questions about a scene that need no observer: count, colour, distance, size, room, route and order."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

from loc3r_ros.geometry import wrap_angle
from loc3r_ros.world.facts import Cue, Fact, Stage
from loc3r_ros.world.furniture import CATEGORIES
from loc3r_ros.world.language import NUMBERS, TURNS, plural, rooms_phrase
from loc3r_ros.world.materials import COLOURS
from loc3r_ros.world.scene import Furniture

MAX_COUNT = 4
MIN_LEG = 0.8
"""Shortest leg of a route, and shortest distance asked for, metres."""
CERTAIN_TURN = math.radians(35.0)
"""A turn is left, right, back or straight on within this; between them no question is asked."""
MIN_FRAMES_APART = 3
"""Of two things, one appeared first where it was clear this many frames before the first glimpse of the other."""


def facts(stage: Stage) -> Iterator[Fact]:
    """Yield all that can be asked about a scene without an observer."""
    yield from _counts(stage)
    yield from _colours(stage)
    yield from _distances(stage)
    yield from _sizes(stage)
    yield _area(stage)
    yield from _routes(stage)
    yield from _orders(stage)


def contest(kind: str, winner: Furniture, loser: Furniture) -> tuple[Cue, ...]:
    """Return what could betray which of two pieces of furniture a question has for its answer."""
    pair = sorted((winner.category, loser.category))
    return (
        Cue((kind, winner.category), "wins", 2),
        Cue((kind, loser.category), "loses", 2),
        Cue((kind, *pair), winner.category, 2),
    )


def _counts(stage: Stage) -> Iterator[Fact]:
    for category in CATEGORIES:
        every = {item.id for item in stage.furniture if item.category == category}
        if every and every <= stage.sightings.seen and len(every) <= MAX_COUNT:
            answer = NUMBERS[len(every)]
            yield Fact("count", (plural(category),), answer, (Cue(("count", category), answer, MAX_COUNT),), answer)


def _colours(stage: Stage) -> Iterator[Fact]:
    for item in stage.named:
        if stage.viewpoints.count(item.category) == 1:
            cue = Cue(("colour", item.category), item.colour, len(COLOURS))
            yield Fact("colour", (f"the {item.category}",), item.colour, (cue,))


def _distances(stage: Stage) -> Iterator[Fact]:
    for one, other in itertools.combinations(stage.named, 2):
        metres = math.dist(one.position, other.position)
        if metres < MIN_LEG:
            continue
        cue = Cue(("distance",), str(min(int(metres), 5)), 6)
        yield Fact("distance", (one.id, other.id), f"{metres:.1f}", (cue,), str(int(metres)))


def _sizes(stage: Stage) -> Iterator[Fact]:
    for item in stage.named:
        yield Fact("size", (item.id,), str(round(max(item.size) * 10) * 10))


def _area(stage: Stage) -> Fact:
    rooms = stage.viewpoints.scene.rooms
    return Fact("room", (rooms_phrase(len(rooms)),), str(round(sum(room.area for room in rooms))))


def _routes(stage: Stage) -> Iterator[Fact]:
    for start, via, goal in itertools.permutations(stage.named, 3):
        if not start.room == via.room == goal.room:
            continue
        legs = np.diff([start.position, via.position, goal.position], axis=0)
        if np.hypot(*legs.T).min() < MIN_LEG:
            continue
        headings = np.arctan2(legs[:, 1], legs[:, 0])
        side = certain_side(float(wrap_angle(headings[1] - headings[0])), CERTAIN_TURN)
        if side is not None:
            cues = (Cue(("route", goal.category), TURNS[side], 4), Cue(("route via", via.category), TURNS[side], 4))
            yield Fact("route", (start.id, via.id, goal.id), TURNS[side], cues, TURNS[side])


def _orders(stage: Stage) -> Iterator[Fact]:
    for first, second in itertools.permutations(stage.named, 2):
        ahead = stage.sightings.first_glimpse(second.id) - stage.sightings.first_clear(first.id)
        if ahead >= MIN_FRAMES_APART and first.category != second.category:
            yield Fact("order", (first.id, second.id), first.id, contest("order", first, second))


def certain_side(angle: float, reach: float) -> int | None:
    """Return which of `language.SIDES` an angle, counter-clockwise from ahead, lies within `reach` of; None between."""
    for side in range(4):
        if abs(wrap_angle(angle - side * math.pi / 2)) < reach:
            return side
    return None
