"""Questions about a scene that need no observer: count, colour, distance, size, room, route and order."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

from loc3r_ros.geometry import wrap_angle
from loc3r_ros.world.draw import Draw
from loc3r_ros.world.facts import Cue, Fact, Stage
from loc3r_ros.world.furniture import CATEGORIES
from loc3r_ros.world.language import NUMBERS, TURNS, plural, rooms_phrase
from loc3r_ros.world.scene import Furniture

MAX_COUNT = 4
MIN_LEG = 0.8
"""Shortest leg of a route, and shortest distance asked for, metres."""
CERTAIN_TURN = math.radians(35.0)
"""A turn is left, right, back or straight on within this; between them no question is asked."""
PER_TURN = 3
LOOSE = 0.3
"""Tolerance for what betrays an answer but weakly."""
MIN_FRAMES_APART = 3
"""Of two things, one appeared first where it was clear this many frames before the first glimpse of the other."""


def facts(stage: Stage, draw: Draw) -> Iterator[Fact]:
    """Yield what can be asked about a scene without an observer."""
    yield from _counts(stage)
    yield from _colours(stage)
    yield from _distances(stage)
    yield from _sizes(stage)
    yield _area(stage)
    yield from _routes(stage, draw)
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
            yield Fact("colour", (f"the {item.category}",), item.colour)


def _distances(stage: Stage) -> Iterator[Fact]:
    for one, other in itertools.combinations(stage.named, 2):
        metres = math.dist(one.position, other.position)
        if metres < MIN_LEG:
            continue
        yield Fact("distance", (one.id, other.id), f"{metres:.1f}", group=str(int(metres)))


def _sizes(stage: Stage) -> Iterator[Fact]:
    for item in stage.named:
        yield Fact("size", (item.id,), str(round(max(item.size) * 10) * 10))


def _area(stage: Stage) -> Fact:
    rooms = stage.viewpoints.scene.rooms
    return Fact("room", (rooms_phrase(len(rooms)),), str(round(sum(room.area for room in rooms))))


def _routes(stage: Stage, draw: Draw) -> Iterator[Fact]:
    """Yield up to PER_TURN ways for each turn: there are too many to yield all."""
    named = stage.named
    place = np.array([item.position for item in named]).reshape(-1, 2)
    room = np.array([item.room for item in named])
    leg = place[None] - place[:, None]  # from, to
    fits = (np.hypot(*leg.transpose(2, 0, 1)) >= MIN_LEG) & (room[:, None] == room)
    heading = np.arctan2(leg[..., 1], leg[..., 0])
    turn = heading[None] - heading[:, :, None]  # start, via, goal
    fits = fits[:, :, None] & fits[None] & ~np.eye(len(named), dtype=bool)[:, None]
    for side, answer in enumerate(TURNS):
        off = np.abs(wrap_angle(turn - side * math.pi / 2))
        ways = np.argwhere(fits & (off < CERTAIN_TURN))
        drawn = {draw.integer(len(ways)) for _ in range(PER_TURN)} if len(ways) else set()
        for way in ways[sorted(drawn)]:
            start, via, goal = (named[i] for i in way)
            cues = (Cue(("route", goal.category), answer, 4), Cue(("route via", via.category), answer, 4, LOOSE))
            yield Fact("route", (start.id, via.id, goal.id), answer, cues, answer)


def _orders(stage: Stage) -> Iterator[Fact]:
    for first, second in itertools.permutations(stage.named, 2):
        ahead = stage.sightings.first_glimpse(second.id) - stage.sightings.first_clear(first.id)
        if ahead >= MIN_FRAMES_APART and first.category != second.category:
            yield Fact("order", (first.id, second.id), first.id, contest("order", first, second))
