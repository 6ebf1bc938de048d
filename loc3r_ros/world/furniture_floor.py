"""Builders of the large furniture that stands on the floor. Nominal sizes in metres; front = +x.

A builder returns solids anywhere in space: `furniture.build` moves and scales them. No two faces with the same outward
normal lie in one plane, or the picture would flicker between them.
"""

from __future__ import annotations

from loc3r_ros.world.draw import Draw
from loc3r_ros.world.materials import BOOKS, BRASS, DARK_GREY, LINEN, PINE, STEEL, STONE, Paint, plain
from loc3r_ros.world.scene import Material, Primitive, Texture
from loc3r_ros.world.solids import around, box, cylinder, ellipsoid, legs, pitch_rotation

GAP = 0.003  # between faces that would otherwise share a plane


def table(draw: Draw, paint: Paint) -> list[Primitive]:
    """Square or round, on four legs or one."""
    height = 0.74
    if draw.chance(0.35):
        radius = draw.uniform(0.40, 0.60)
        return [
            cylinder(0, 0, (height - 0.05, height), radius, paint.wood),
            cylinder(0, 0, (0.04, height - 0.05), 0.05, paint.detail),
            cylinder(0, 0, (0, 0.04), radius * 0.6, paint.detail),
        ]
    depth, width = draw.uniform(0.70, 0.95), draw.uniform(1.0, 1.6)
    top = box(around(0, depth), around(0, width), (height - 0.05, height), paint.wood)
    return [top, *legs(depth - 0.06, width - 0.06, height - 0.05, 0.07, paint.detail)]


def chair(draw: Draw, paint: Paint) -> list[Primitive]:
    """A kitchen chair or an office chair."""
    seat, side = 0.45, draw.uniform(0.42, 0.50)
    cushion = box(around(0, side), around(0, side), (seat - 0.06, seat), paint.main)
    if draw.chance(0.35):
        dark = plain(DARK_GREY)
        return [
            cushion,
            box(around(-side / 2, 0.07), around(0, side * 0.92), (seat + 0.10, seat + 0.52), paint.main),
            box(around(-side / 2 - 0.04, 0.03), around(0, 0.08), (seat - 0.04, seat + 0.30), dark),
            cylinder(0, 0, (0.09, seat - 0.06), 0.03, dark),
            box(around(0, 0.50), around(0, 0.06), (0.03, 0.08), dark),
            box(around(0, 0.06), around(0, 0.50), (0.03 + GAP, 0.08 + GAP), dark),
            *(
                ellipsoid((sx * 0.23, sy * 0.23, 0.03), (0.03, 0.03, 0.03), dark)
                for sx, sy in ((1, 0), (-1, 0), (0, 1), (0, -1))
            ),
        ]
    wood = plain(PINE) if draw.chance(0.5) else paint.detail
    back = -side / 2 + 0.02
    posts = [box(around(back, 0.04), around(sy * (side / 2 - 0.03), 0.04), (seat, seat + 0.46), wood) for sy in (-1, 1)]
    rest = box(around(back, 0.024), around(0, side - 0.10), (seat + 0.16, seat + 0.45), paint.main)
    return [cushion, rest, *posts, *legs(side - 0.02, side - 0.02, seat - 0.06, 0.045, wood)]


def sofa(draw: Draw, paint: Paint) -> list[Primitive]:
    """Two or three seats between arms."""
    depth, width, seats = 0.85, draw.uniform(1.3, 1.6), 2 if draw.chance(0.5) else 3
    inner = (width - 0.36) / seats
    cloth, cushion = paint.fabric, paint.textured(Texture.FABRIC, 20.0, 0.9)
    front = (-depth / 2 + 0.20, depth / 2 - 0.02)
    parts = [
        box((-depth / 2 + GAP, depth / 2 - 0.04), around(0, width - 0.01), (0.05, 0.30), paint.detail),
        box((-depth / 2, -depth / 2 + 0.20), around(0, width - 0.36), (0.30, 0.80), cloth),
        *(box(around(0, depth), around(sy * (width / 2 - 0.09), 0.18), (0.05, 0.58), cloth) for sy in (-1, 1)),
    ]
    for index in range(seats):
        middle = (index - (seats - 1) / 2) * inner
        parts.append(box(front, around(middle, inner - 0.02), (0.30, 0.44), cushion))
        parts.append(box((-0.24, -0.10), around(middle, inner - 0.04), (0.45, 0.76), cushion, pitch_rotation(-0.15)))
    return parts


def bed(draw: Draw, paint: Paint) -> list[Primitive]:
    """A headboard, a mattress, pillows and a blanket of the bed's colour."""
    length, width = 1.65, draw.choice((0.80, 1.20))
    blanket = paint.textured(Texture.STRIPES, 7.0) if draw.chance(0.4) else paint.fabric
    pillows = 1 if width < 1.0 else 2
    return [
        box((-length / 2, -length / 2 + 0.06), around(0, width + 0.04), (0.05, 0.90), paint.wood),
        box((-length / 2 + 0.06, length / 2), around(0, width), (0.08, 0.26), paint.detail),
        box((-length / 2 + 0.06, length / 2 - 0.03), around(0, width - 0.05), (0.26, 0.45), plain(LINEN)),
        box((-length / 2 + 0.50, length / 2 - 0.01), around(0, width - 0.02), (0.26, 0.48), blanket),
        *(
            ellipsoid((-length / 2 + 0.28, (i - (pillows - 1) / 2) * 0.55, 0.48), (0.17, 0.25, 0.08), plain(LINEN))
            for i in range(pillows)
        ),
    ]


def shelf(draw: Draw, paint: Paint) -> list[Primitive]:
    """Boards with books."""
    width, height, depth, levels = draw.uniform(0.65, 0.95), 1.45, 0.30, 4
    spacing = (height - 0.07) / levels
    parts = [
        box((-depth / 2 + GAP, -depth / 2 + 0.02), around(0, width - 0.02), (0.01, height - 0.01), paint.detail),
        *(box(around(0, depth), around(sy * (width / 2 - 0.02), 0.04), (0.0, height), paint.main) for sy in (-1, 1)),
    ]
    boards = [0.04 + level * spacing for level in range(levels + 1)]
    for bottom in boards:
        parts.append(
            box(
                (-depth / 2 + 0.02, depth / 2 - 0.01),
                around(0, width - 0.08),
                (bottom - 0.02, bottom + 0.02),
                paint.main,
            )
        )
    for bottom in boards[:-1]:
        parts += books(draw, (-width / 2 + 0.05, width / 2 - 0.05), bottom + 0.02)
    return parts


def books(draw: Draw, span: tuple[float, float], bottom: float) -> list[Primitive]:
    """A row of books on one board: blocks of neutral colours with gaps between them."""
    parts, y = [], span[0] + draw.uniform(0.0, 0.1)
    while y < span[1] - 0.14:
        thickness, height = draw.uniform(0.07, 0.13), draw.uniform(0.18, 0.27)
        parts.append(
            box(
                (-0.10, draw.uniform(0.05, 0.11)),
                (y, y + thickness),
                (bottom, bottom + height),
                plain(draw.choice(BOOKS)),
            )
        )
        y += thickness + (draw.uniform(0.08, 0.2) if draw.chance(0.3) else 0.006)
    return parts


def fridge(draw: Draw, paint: Paint) -> list[Primitive]:
    """Two doors above each other, with steel handles on one side."""
    depth, width, height = 0.56, draw.uniform(0.54, 0.62), 1.45
    split, steel, hinge = height * draw.uniform(0.55, 0.68), plain(STEEL), -1 if draw.chance(0.5) else 1
    grip, door, handle = hinge * (width / 2 - 0.07), (depth / 2 - 0.06, depth / 2), (depth / 2, depth / 2 + 0.035)
    return [
        box((-depth / 2, depth / 2 - 0.06), around(0, width - 0.02), (0.05, height - 0.01), paint.detail),
        box(door, around(0, width), (0.06, split - 0.012), paint.main),
        box(door, around(0, width), (split + 0.012, height), paint.main),
        box(around(-0.02, depth - 0.14), around(0, width - 0.06), (0, 0.05), plain(DARK_GREY)),
        box(handle, around(grip, 0.035), (split - 0.45, split - 0.07), steel),
        box(handle, around(grip, 0.035), (split + 0.07, split + 0.32), steel),
    ]


def sink(draw: Draw, paint: Paint) -> list[Primitive]:
    """A washstand: a cupboard with a counter, a basin and a tap."""
    depth, width, height = 0.52, draw.uniform(0.70, 1.0), 0.82
    stone, steel, front = plain(STONE), plain(STEEL), depth / 2 - 0.02
    doors = width / 2 - 0.03
    return [
        box((-depth / 2, front), around(0, width - 0.03), (0.0, height - 0.05), paint.main),
        *(
            box((front, front + 0.012), around(sy * width / 4, doors - 0.02), (0.08, height - 0.10), paint.detail)
            for sy in (-1, 1)
        ),
        *(box((front + 0.012, front + 0.03), around(sy * 0.05, 0.025), (0.45, 0.60), steel) for sy in (-1, 1)),
        box(around(0, depth), around(0, width), (height - 0.05, height), stone),
        box((-depth / 2, -depth / 2 + 0.03), around(0, width - 0.01), (height, height + 0.12), stone),
        cylinder(0.05, 0, (height, height + 0.05), 0.17, plain((0.88, 0.88, 0.86)), 0.20),
        cylinder(0.05, 0, (height + 0.01, height + 0.055), 0.15, plain((0.16, 0.19, 0.21)), 0.17),
        cylinder(-0.18, 0, (height, height + 0.26), 0.022, steel),
        box((-0.19, -0.01), around(0, 0.035), (height + 0.24, height + 0.275), steel),
    ]


def desk(draw: Draw, paint: Paint) -> list[Primitive]:
    """A writing desk with drawers on one side, a screen and a keyboard."""
    depth, width, height, side = 0.62, draw.uniform(1.05, 1.35), 0.74, -1 if draw.chance(0.5) else 1
    under, grey, dark = height - 0.04, plain((0.30, 0.31, 0.33)), plain(DARK_GREY)
    drawers, front = side * (width / 2 - 0.22), depth / 2 - 0.05
    parts = [
        box(around(0, depth), around(0, width), (under, height), paint.wood),
        box((-depth / 2 + 0.03, front), around(drawers, 0.38), (0.0, under), paint.main),
        box(around(0, depth - 0.06), around(-side * (width / 2 - 0.04), 0.04), (0.0, under), paint.main),
        box((-depth / 2 + 0.01, -depth / 2 + 0.028), around(0, width - 0.06), (0.30, under), paint.detail),
        box((-0.20, -0.16), around(0, 0.50), (height + 0.09, height + 0.40), dark),
        box(
            (-0.16, -0.155),
            around(0, 0.46),
            (height + 0.11, height + 0.38),
            Material((0.10, 0.12, 0.15), (0.40, 0.45, 0.50), Texture.SCREEN, 1.0, 0.5),
        ),
        cylinder(-0.19, 0, (height, height + 0.10), 0.04, dark),
        box((0.05, 0.20), around(0, 0.40), (height, height + 0.02), grey),
    ]
    for bottom in (0.06, 0.27, 0.48):
        parts.append(box((front, front + 0.012), around(drawers, 0.33), (bottom, bottom + 0.18), paint.detail))
        parts.append(
            box((front + 0.012, front + 0.03), around(drawers, 0.12), (bottom + 0.08, bottom + 0.11), plain(STEEL))
        )
    return parts


def cabinet(draw: Draw, paint: Paint) -> list[Primitive]:
    """A sideboard or a wardrobe: two doors beside each other, with knobs in the middle."""
    tall = draw.chance(0.4)
    depth, height = 0.48, 1.45 if tall else 0.85
    width, front = draw.uniform(0.85, 1.15), 0.48 / 2 - 0.03
    door = width / 2 - 0.05
    return [
        box((-depth / 2, front), around(0, width - 0.02), (0.05, height - 0.03), paint.main),
        box((-depth / 2 + 0.02, front - 0.03), around(0, width - 0.06), (0.0, 0.05), plain(DARK_GREY)),
        box(around(0, depth), around(0, width), (height - 0.03, height), paint.wood),
        *(
            box((front, front + 0.022), around(sy * (door / 2 + 0.012), door), (0.09, height - 0.08), paint.detail)
            for sy in (-1, 1)
        ),
        *(ellipsoid((front + 0.03, sy * 0.06, height * 0.55), (0.024, 0.024, 0.024), plain(BRASS)) for sy in (-1, 1)),
    ]


def tv(draw: Draw, paint: Paint) -> list[Primitive]:
    """A screen on a low stand."""
    width, stand, depth = draw.uniform(0.85, 1.10), 0.40, 0.38
    panel, bottom = width * 0.58, stand + 0.07
    picture = Material((0.03, 0.04, 0.05), (0.34, 0.40, 0.46), Texture.SCREEN, 1.0, 0.7)
    return [
        box(around(0, depth), around(0, width + 0.15), (0.06, stand), paint.wood),
        box((depth / 2, depth / 2 + 0.012), around(0, width * 0.9), (0.10, stand - 0.06), paint.detail),
        box(around(0, depth - 0.10), around(0, width), (0, 0.06), plain(DARK_GREY)),
        box(around(0, 0.20), around(0, 0.36), (stand, stand + 0.03), paint.detail),
        box(around(0, 0.05), around(0, 0.10), (stand + 0.03, bottom + 0.02), paint.detail),
        box(around(0, 0.06), around(0, width), (bottom, bottom + panel), paint.main),
        box((0.03, 0.036), around(0, width - 0.12), (bottom + 0.06, bottom + panel - 0.06), picture),
    ]
