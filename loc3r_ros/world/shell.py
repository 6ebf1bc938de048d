"""Floors, walls and ceilings of the rooms, and the frame of the doorway."""

from __future__ import annotations

from loc3r_ros.world.draw import Draw
from loc3r_ros.world.materials import TRIM, floor_material, plain, wall_material
from loc3r_ros.world.scene import Doorway, Light, Material, Primitive, Room, Surface
from loc3r_ros.world.solids import Span, around, box, cylinder

Piece = tuple[Primitive, Surface]

HALF_WALL = 0.06  # two rooms stand back to back, each with its half of the wall
SKIRTING_HEIGHT = 0.09
SKIRTING_DEPTH = 0.012
FRAME_WIDTH = 0.05
CEILING = plain((0.86, 0.86, 0.84))
GLOW = plain((1.0, 1.0, 0.95), emission=1.0)


def build_shell(
    draw: Draw, rooms: tuple[Room, ...], doorway: Doorway | None, height: float, lights: tuple[Light, ...]
) -> tuple[Piece, ...]:
    """Return the solids around the rooms in the world frame, each with its surface code."""
    pieces: list[Piece] = []
    for index, room in enumerate(rooms):
        x, y = (room.x0 - HALF_WALL, room.x1 + HALF_WALL), (room.y0 - HALF_WALL, room.y1 + HALF_WALL)
        pieces.append((box(x, y, (-0.06, 0.0), floor_material(draw)), Surface.FLOOR))
        pieces.append((box(x, y, (height, height + 0.06), CEILING), Surface.CEILING))
        material = wall_material(draw)
        for wall, along_x, is_shared in walls(room, index, doorway):
            gap = doorway if is_shared else None
            pieces += wall_pieces(wall, along_x, gap, height, material)
    for light in lights:
        disc = cylinder(light.position[0], light.position[1], (height - 0.05, height - 0.004), 0.18, GLOW)
        pieces.append((disc, Surface.CEILING))
    if doorway is not None:
        pieces += frame_pieces(doorway)
    return tuple(pieces)


def walls(room: Room, index: int, doorway: Doorway | None) -> list[tuple[tuple[Span, Span], bool, bool]]:
    """Return of each wall its floor plan, whether it runs along x, and whether the doorway pierces it."""
    x, y = (room.x0 - HALF_WALL, room.x1 + HALF_WALL), (room.y0, room.y1)
    pierced = doorway is not None
    return [
        (((x[0], room.x0), y), False, pierced and index == 1),
        (((room.x1, x[1]), y), False, pierced and index == 0),
        ((x, (room.y0 - HALF_WALL, room.y0)), True, False),
        ((x, (room.y1, room.y1 + HALF_WALL)), True, False),
    ]


def wall_pieces(
    plan: tuple[Span, Span], along_x: bool, gap: Doorway | None, height: float, material: Material
) -> list[Piece]:
    """Return a wall with its skirting board, in two parts and a lintel where the doorway pierces it."""
    x, y = plan
    parts = [y]
    pieces: list[Piece] = []
    if gap is not None:
        parts = [(y[0], gap.y - gap.width / 2), (gap.y + gap.width / 2, y[1])]
        pieces.append((box(x, around(gap.y, gap.width), (gap.height, height), material), Surface.WALL))
    for part in parts:
        pieces.append((box(x, part, (0.0, height), material), Surface.WALL))
        board_x = x if along_x else (x[0] - SKIRTING_DEPTH, x[1] + SKIRTING_DEPTH)
        board_y = (part[0] - SKIRTING_DEPTH, part[1] + SKIRTING_DEPTH) if along_x else part
        # Boards that meet in a corner differ in height by a hair, so that their tops share no plane.
        top = SKIRTING_HEIGHT + (0.002 if along_x else 0.0)
        pieces.append((box(board_x, board_y, (0.0, top), plain(TRIM)), Surface.WALL))
    return pieces


def frame_pieces(doorway: Doorway) -> list[Piece]:
    """Return the two jambs and the head of the doorway, which stand proud of the wall on both sides."""
    x, half = around(doorway.x, 2 * HALF_WALL + 0.06), doorway.width / 2
    head = doorway.height - 0.02  # below the lintel, whose underside must not show
    return [
        *(
            (box(x, around(doorway.y + side * half, FRAME_WIDTH), (0.0, head), plain(TRIM)), Surface.WALL)
            for side in (-1, 1)
        ),
        (
            box(
                x,
                around(doorway.y, doorway.width + FRAME_WIDTH),
                (head, doorway.height + FRAME_WIDTH),
                plain(TRIM),
            ),
            Surface.WALL,
        ),
    ]
