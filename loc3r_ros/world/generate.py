"""From a seed to a scene: rooms, how many of what, what it looks like, where it stands."""

from __future__ import annotations

import math
from dataclasses import replace

from loc3r_ros.world.draw import Draw
from loc3r_ros.world.furniture import CATEGORIES, MAX_SCALE, MIN_SCALE, build
from loc3r_ros.world.materials import COLOURS
from loc3r_ros.world.placement import FloorPlan
from loc3r_ros.world.scene import Doorway, Furniture, Light, Room, Scene
from loc3r_ros.world.shell import HALF_WALL, build_shell
from loc3r_ros.world.splits import Split, require_split

GENERATOR_VERSION = 1  # raise it when any scene or picture of a seed changes
MIN_AREA, MAX_AREA = 9.0, 64.0  # of one room, square metres
MIN_SIDE, MAX_ASPECT = 2.6, 1.7
TWO_ROOMS = 0.35  # probability
MIN_PIECES, MAX_PIECES = 6, 16
DOORWAY_MARGIN = 0.2  # between the doorway and a corner
COUNTS_OF_SEVERAL = (2, 3, 4)
SHRINK = 0.75  # of what finds no place, before it is tried again


def make_scene(seed: int, split: Split | None = None) -> Scene:
    """Make the scene of a seed: the same one on every machine.

    Args:
        seed: whole number; see `splits` for the ranges.
        split: the split that the seed must belong to, None for any.

    Raises:
        ConfigError: if the seed does not belong to `split`.
    """
    require_split(seed, split)
    draw = Draw(seed, "rooms")
    rooms, doorway = draw_rooms(draw)
    height = draw.uniform(2.6, 3.0)
    lights = tuple(draw_light(draw, room, height) for room in rooms)
    shell = build_shell(draw, rooms, doorway, height, lights)
    ambient = draw.uniform(0.40, 0.55)
    furniture = furnish(Draw(seed, "furniture"), FloorPlan(rooms, doorway, height))
    return Scene(seed, rooms, doorway, height, ambient, furniture, shell, lights)


def draw_rooms(draw: Draw) -> tuple[tuple[Room, ...], Doorway | None]:
    """Draw one room, or two with a doorway between them."""
    width, depth = draw_room_size(draw)
    first = Room(0.0, 0.0, width, depth)
    if not draw.chance(TWO_ROOMS):
        return (first,), None
    other_width, other_depth = draw_room_size(draw)
    door_width = draw.uniform(0.95, 1.15)
    margin = DOORWAY_MARGIN + door_width / 2
    y = draw.uniform(margin, depth - margin)
    start = y - draw.uniform(margin, other_depth - margin)
    x = width + 2 * HALF_WALL
    second = Room(x, start, x + other_width, start + other_depth)
    return (first, second), Doorway(width + HALF_WALL, y, door_width, 2.05)


def draw_room_size(draw: Draw) -> tuple[float, float]:
    """Draw the sides of a room so that its area is log-uniform."""
    area = draw.log_uniform(MIN_AREA, MAX_AREA)
    shortest = max(MIN_SIDE, math.sqrt(area / MAX_ASPECT))
    width = draw.log_uniform(shortest, area / shortest)
    return width, area / width


def draw_light(draw: Draw, room: Room, height: float) -> Light:
    """Draw a light near the middle of a room, stronger where the room is large."""
    x, y = (middle + draw.uniform(-0.15, 0.15) * extent for middle, extent in zip(room.centre, room.size, strict=True))
    intensity = draw.uniform(0.70, 0.90) * (1.0 + 0.006 * (room.area - MIN_AREA))
    return Light((x, y, height - 0.12), intensity)


def draw_counts(draw: Draw, total: int) -> dict[str, int]:
    """Draw how many of each category there shall be, `total` in all: some several times, others once.

    This comes before placing, so that every answer to "how many" is common.
    """
    order = draw.shuffled(CATEGORIES)
    counts: dict[str, int] = {}
    left = total
    for category in order[: 1 + draw.integer(3)]:
        count = draw.choice(COUNTS_OF_SEVERAL)
        if count <= left - 1:
            counts[category] = count
            left -= count
    singles = [category for category in order if category not in counts]
    return counts | dict.fromkeys(singles[:left], 1)


def draw_colours(draw: Draw, count: int) -> list[str]:
    """Draw different colours for things of one category, the same palette whatever it is."""
    return draw.shuffled(tuple(COLOURS))[:count]


def furnish(draw: Draw, plan: FloorPlan) -> tuple[Furniture, ...]:
    """Draw the furniture and place it, the largest first; what finds no place even when smaller is left out."""
    floor = sum(room.area for room in plan.rooms)
    total = round(min(MAX_PIECES, max(MIN_PIECES, 5.0 + floor / 6.0 + draw.uniform(-2.0, 2.0))))
    pieces = [
        build(draw, category, colour, draw.log_uniform(MIN_SCALE, MAX_SCALE))
        for category, count in draw_counts(draw, total).items()
        for colour in draw_colours(draw, count)
    ]
    placed: list[Furniture] = []
    for piece in sorted(pieces, key=lambda item: -item.size[0] * item.size[1]):
        found = place_or_shrink(draw, plan, piece)
        if found is not None:
            placed.append(replace(found, id=len(placed)))
    return tuple(placed)


def place_or_shrink(draw: Draw, plan: FloorPlan, piece: Furniture) -> Furniture | None:
    """Place a piece, smaller where it must be."""
    found = plan.place(draw, piece)
    while found is None and piece.scale > MIN_SCALE:
        piece = build(draw, piece.category, piece.colour, max(MIN_SCALE, SHRINK * piece.scale))
        found = plan.place(draw, piece)
    return found
