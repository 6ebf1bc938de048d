"""Where furniture goes: by the way it is mounted, never by what the room is for."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from loc3r_ros.world.draw import Draw
from loc3r_ros.world.scene import Doorway, Furniture, Mount, Room

TRIES = 40
FLOOR_GAP = 0.06  # between things on the floor, metres
WALL_GAP = 0.02  # behind things that stand against a wall: skirting boards are thinner
AISLE = 0.45  # around things that stand in the open
DOORWAY_DEPTH = 0.9  # kept free on both sides of the doorway
DOOR_DEPTH = 0.5  # kept free in front of a closed door
MAX_COVERAGE = 0.32  # of a room's floor, so that one can walk
MAX_SHARE = 0.16  # of a room's floor that one piece may take, so that others find a place
WEST, SOUTH, EAST, NORTH = range(4)
WALL_YAW = (0.0, math.pi / 2, math.pi, -math.pi / 2)  # heading of what has its back to that wall


@dataclass(frozen=True)
class Block:
    """An axis-aligned box of space that is taken."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]

    def overlaps(self, other: Block, gap: float = 0.0) -> bool:
        """Return whether two blocks come nearer than a horizontal gap."""
        return (
            self.low[0] < other.high[0] + gap
            and other.low[0] < self.high[0] + gap
            and self.low[1] < other.high[1] + gap
            and other.low[1] < self.high[1] + gap
            and self.low[2] < other.high[2]
            and other.low[2] < self.high[2]
        )


def block_of(item: Furniture) -> Block:
    """Return the space that a placed piece takes."""
    c, s = abs(math.cos(item.yaw)), abs(math.sin(item.yaw))
    ex, ey = (c * item.size[0] + s * item.size[1]) / 2, (s * item.size[0] + c * item.size[1]) / 2
    (x, y), z = item.position, item.elevation
    return Block((x - ex, y - ey, z), (x + ex, y + ey, z + item.size[2]))


@dataclass
class FloorPlan:
    """The rooms and what stands in them so far.

    Args:
        rooms: one or two rooms.
        doorway: the passage between them, which stays free.
        height: of the ceiling, metres.
    """

    rooms: tuple[Room, ...]
    doorway: Doorway | None
    height: float
    taken: list[Block] = field(default_factory=list)
    rugs: list[Block] = field(default_factory=list)
    covered: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.doorway is not None:
            x, y, half = self.doorway.x, self.doorway.y, self.doorway.width / 2 + 0.1
            low, high = (x - DOORWAY_DEPTH, y - half, 0.0), (x + DOORWAY_DEPTH, y + half, self.height)
            self.taken.append(Block(low, high))

    def place(self, draw: Draw, item: Furniture) -> Furniture | None:
        """Return the piece at a free place and take that place, or None where none was found."""
        for _ in range(TRIES):
            candidate = self._propose(draw, item)
            if candidate is not None and self._fits(candidate):
                self._take(candidate)
                return candidate
        return None

    def _propose(self, draw: Draw, item: Furniture) -> Furniture | None:
        room = pick_room(draw, self.rooms)
        if item.mount in (Mount.AGAINST_WALL, Mount.ON_WALL, Mount.NEAR_WALL):
            return self._beside_wall(draw, item, room)
        margin = AISLE if item.mount is Mount.OPEN_FLOOR else WALL_GAP
        yaw = draw.uniform(-math.pi, math.pi) if item.mount is Mount.ANYWHERE else WALL_YAW[draw.integer(4)]
        turned = replace(item, yaw=yaw, room=room)
        block, bounds = block_of(turned), self.rooms[room]
        x_free, y_free = bounds.x1 - bounds.x0 - 2 * margin, bounds.y1 - bounds.y0 - 2 * margin
        x_need, y_need = block.high[0] - block.low[0], block.high[1] - block.low[1]
        if x_need > x_free or y_need > y_free:
            return None
        x = bounds.centre[0] + draw.uniform(-0.5, 0.5) * (x_free - x_need)
        y = bounds.centre[1] + draw.uniform(-0.5, 0.5) * (y_free - y_need)
        return replace(turned, position=(x, y))

    def _beside_wall(self, draw: Draw, item: Furniture, room: int) -> Furniture | None:
        side = draw.integer(4)
        hangs = item.mount is Mount.ON_WALL
        if hangs and self.doorway is not None and side == (EAST, WEST)[room]:
            return None  # nothing hangs on the wall between the rooms
        bounds = self.rooms[room]
        low, high = (bounds.y0, bounds.y1) if side in (WEST, EAST) else (bounds.x0, bounds.x1)
        along = draw.uniform(low, high)  # the ends are refused by _fits, so that every place is equally likely
        gap = 0.0 if hangs else WALL_GAP if item.mount is Mount.AGAINST_WALL else draw.uniform(WALL_GAP, 0.15)
        off = item.size[0] / 2 + gap
        position = (
            (bounds.x0 + off, along),
            (along, bounds.y0 + off),
            (bounds.x1 - off, along),
            (along, bounds.y1 - off),
        )
        top = self.height - 0.1 - item.size[2]
        elevation = draw.uniform(min(0.8, top), min(1.5, top)) if hangs and item.category != "door" else 0.0
        return replace(item, position=position[side], yaw=WALL_YAW[side], room=room, elevation=elevation)

    def _fits(self, item: Furniture) -> bool:
        block, room = block_of(item), self.rooms[item.room]
        margin = 0.0 if item.mount is Mount.ON_WALL else WALL_GAP
        slack = margin - 1e-9
        if block.low[0] < room.x0 + slack or block.high[0] > room.x1 - slack:
            return False
        if block.low[1] < room.y0 + slack or block.high[1] > room.y1 - slack:
            return False
        if block.high[2] > self.height - 0.02:
            return False
        if item.mount is Mount.FLAT:
            return not any(block.overlaps(other, FLOOR_GAP) for other in self.rugs)
        if stands(item) and not self._has_floor_for(item):
            return False
        return not any(space.overlaps(other, FLOOR_GAP) for space in clear_space(item) for other in self.taken)

    def _has_floor_for(self, item: Furniture) -> bool:
        floor, covered = self.rooms[item.room].area, self.covered.get(item.room, 0.0)
        return area(item) <= MAX_SHARE * floor and covered + area(item) <= MAX_COVERAGE * floor

    def _take(self, item: Furniture) -> None:
        if item.mount is Mount.FLAT:
            self.rugs.append(block_of(item))
            return
        self.taken += clear_space(item)
        if stands(item):
            self.covered[item.room] = self.covered.get(item.room, 0.0) + area(item)


def clear_space(item: Furniture) -> list[Block]:
    """Return the space that a piece takes and, for a door, the floor in front of it."""
    block = block_of(item)
    if item.category != "door":
        return [block]
    shift = (item.size[0] + DOOR_DEPTH) / 2
    x, y = item.position[0] + math.cos(item.yaw) * shift, item.position[1] + math.sin(item.yaw) * shift
    front = replace(item, position=(x, y), size=(DOOR_DEPTH, item.size[1], item.size[2]))
    return [block, block_of(front)]


def stands(item: Furniture) -> bool:
    """Return whether a piece takes floor."""
    return item.mount not in (Mount.ON_WALL, Mount.FLAT)


def area(item: Furniture) -> float:
    """Return the floor that a piece covers, square metres."""
    return item.size[0] * item.size[1]


def pick_room(draw: Draw, rooms: tuple[Room, ...]) -> int:
    """Draw a room, the larger the likelier."""
    if len(rooms) == 1:
        return 0
    return 0 if draw.chance(rooms[0].area / (rooms[0].area + rooms[1].area)) else 1
