"""Builders of small furniture and of what hangs on walls. Nominal sizes in metres; front = +x."""

from __future__ import annotations

import math

from loc3r_ros.world.draw import Draw
from loc3r_ros.world.furniture_floor import GAP
from loc3r_ros.world.materials import BRASS, DARK_GREY, LINEN, TRIM, WHITE, Paint, mix, plain
from loc3r_ros.world.scene import Material, Primitive, Texture, yaw_rotation
from loc3r_ros.world.solids import around, box, compose, cylinder, ellipsoid, pitch_rotation


def lamp(draw: Draw, paint: Paint) -> list[Primitive]:
    """A floor lamp: the shade has the colour and glows a little."""
    height, shade = 1.45, draw.uniform(0.19, 0.24)
    glow = Material(paint.colour, paint.colour, emission=0.35)
    return [
        cylinder(0, 0, (0, 0.035), 0.16, plain(DARK_GREY)),
        cylinder(0, 0, (0.035, height - 0.1), 0.022, plain(DARK_GREY)),
        cylinder(0, 0, (height - 0.32, height), shade, glow, shade * 0.55),
    ]


def plant(draw: Draw, paint: Paint) -> list[Primitive]:
    """Leaves of the plant's colour around a stem in a dark pot."""
    height, leaves = draw.uniform(0.8, 1.1), 11
    parts = [
        cylinder(0, 0, (0, 0.30), 0.13, plain((0.10, 0.11, 0.13)), 0.18),
        cylinder(0, 0, (0.27, 0.31), 0.165, plain((0.03, 0.02, 0.015))),
        cylinder(0, 0, (0.30, 0.30 + (height - 0.3) * 0.7), 0.02, plain((0.16, 0.11, 0.05))),
    ]
    for index in range(leaves):
        turn = index * 2.4 + draw.uniform(-0.3, 0.3)
        rise, length = draw.uniform(0.15, 1.1), draw.uniform(0.16, 0.24)
        rotation = compose(yaw_rotation(turn), pitch_rotation(-rise))
        x, y, z = (rotation[:, 0] * length).tolist()
        base = 0.38 + (height - 0.45) * index / leaves
        leaf = plain(mix(paint.colour, paint.contrast, draw.uniform(0.0, 0.9)))
        parts.append(ellipsoid((x, y, base + z), (length, 0.075, 0.025), leaf, rotation))
    return parts


def bin_(draw: Draw, paint: Paint) -> list[Primitive]:
    """A waste bin: a cone that widens upwards, with a rim and a dark opening."""
    height, radius = draw.uniform(0.45, 0.60), 0.19
    return [
        cylinder(0, 0, (0, height - 0.03), radius * 0.72, paint.textured(Texture.STRIPES, 14.0), radius * 0.97),
        cylinder(0, 0, (height - 0.03, height), radius * 1.06, paint.detail),
        cylinder(0, 0, (height - 0.02, height + GAP), radius * 0.9, plain((0.01, 0.01, 0.01))),
    ]


def toilet(draw: Draw, paint: Paint) -> list[Primitive]:
    """A bowl with a seat in front of a tank."""
    seat = 0.40 + draw.uniform(0.0, 0.03)
    return [
        cylinder(0.06, 0, (0, 0.30), 0.13, paint.main, 0.18),
        ellipsoid((0.10, 0, 0.32), (0.26, 0.19, 0.10), paint.main),
        ellipsoid((0.10, 0, seat), (0.26, 0.19, 0.035), paint.detail),
        ellipsoid((0.11, 0, seat + 0.016), (0.16, 0.11, 0.025), plain((0.25, 0.33, 0.38))),
        box((-0.33, -0.15), around(0, 0.40), (0.32, 0.76), paint.main),
        box((-0.34, -0.14), around(0, 0.43), (0.76, 0.80), paint.detail),
        box((-0.135, -0.11), around(0, 0.34), (seat + 0.03, 0.74), paint.detail, pitch_rotation(-0.08)),
    ]


def box_(draw: Draw, paint: Paint) -> list[Primitive]:
    """A carton with a strip of pale tape around it and a seam between its flaps."""
    side, height = draw.uniform(0.42, 0.52), draw.uniform(0.36, 0.46)
    tape = plain(mix(paint.contrast, WHITE, 0.5))
    return [
        box(around(0, side), around(0, side * 1.2), (0, height), paint.fabric),
        box(around(0, 0.07), around(0, side * 1.2 + 0.008), (0.01, height + 0.004), tape),
        box(around(0, side - 0.01), around(0, 0.014), (height - 0.01, height + 0.007), plain(DARK_GREY)),
    ]


def ball(draw: Draw, paint: Paint) -> list[Primitive]:
    """A striped ball."""
    radius = draw.uniform(0.19, 0.24)
    spots = Material(paint.colour, paint.contrast, Texture.STRIPES, 2.5 / (math.pi * radius))
    return [ellipsoid((0, 0, radius), (radius, radius, radius), spots, pitch_rotation(draw.uniform(0.3, 1.2)))]


def rug(draw: Draw, paint: Paint) -> list[Primitive]:
    """A thin carpet with a border."""
    depth, width = draw.uniform(0.95, 1.3), draw.uniform(1.4, 1.9)
    texture, scale = draw.choice(((Texture.PLAIN, 1.0), (Texture.STRIPES, 6.0), (Texture.FABRIC, 30.0)))
    inner = paint.textured(texture, scale)
    return [
        box(around(0, depth), around(0, width), (0, 0.008), paint.detail),
        box(around(0, depth - 0.2), around(0, width - 0.2), (0, 0.012), inner),
    ]


def picture(draw: Draw, paint: Paint) -> list[Primitive]:
    """A framed painting in pale shades of the frame's colour."""
    width, height, phase = draw.uniform(0.55, 0.90), draw.uniform(0.45, 0.65), draw.uniform(1.0, 99.0)
    canvas = Material(mix(paint.colour, LINEN, 0.65), mix(paint.contrast, LINEN, 0.25), Texture.PAINTING, phase)
    return [
        box((0, 0.03), around(0, width), (0, height), paint.main),
        box((0.01, 0.036), around(0, width - 0.14), (0.07, height - 0.07), canvas),
    ]


def door(draw: Draw, paint: Paint) -> list[Primitive]:
    """A closed door with two panels in a pale frame."""
    width, height, trim = 0.66, 1.42, plain(TRIM)
    knob = -1 if draw.chance(0.5) else 1
    return [
        box((0, 0.035), around(0, width), (0, height), paint.wood),
        *(box((0, 0.055), around(sy * (width / 2 + 0.035), 0.07), (0, height + 0.07), trim) for sy in (-1, 1)),
        box((0, 0.055), around(0, width), (height, height + 0.07), trim),
        *(box((0.02, 0.042), around(0, width * 0.66), span, paint.detail) for span in ((0.15, 0.62), (0.76, 1.28))),
        ellipsoid((0.07, knob * (width / 2 - 0.07), 0.70), (0.035, 0.035, 0.035), plain(BRASS)),
    ]


def window(draw: Draw, paint: Paint) -> list[Primitive]:
    """Sky behind a frame with a cross, a sill and, at times, curtains; all but the sky has the colour."""
    width, height, bar = draw.uniform(0.85, 1.15), draw.uniform(0.80, 0.95), paint.main
    sky = Material((0.45, 0.66, 0.95), (0.92, 0.95, 1.0), Texture.SKY, 1.0, 1.0)
    parts = [
        box((0, 0.02), around(0, width), (0, height), sky),
        *(box((0, 0.06), around(sy * width / 2, 0.09), (-0.045, height + 0.045), bar) for sy in (-1, 1)),
        *(box((0, 0.06), around(0, width - 0.09), around(z, 0.09), bar) for z in (0.0, height)),
        box((0, 0.045), around(0, 0.05), (0.045, height - 0.045), bar),
        box((0, 0.04), around(0, width - 0.09), around(height / 2, 0.045), bar),
        box((0, 0.16), around(0, width + 0.14), (-0.08, -0.045), paint.detail),
    ]
    if draw.chance(0.5):
        cloth = paint.textured(Texture.STRIPES, 12.0)
        parts += [
            box((0.07, 0.12), around(sy * (width / 2 + 0.08), 0.24), (-0.20, height + 0.09), cloth) for sy in (-1, 1)
        ]
        parts.append(box((0.08, 0.11), around(0, width + 0.5), (height + 0.10, height + 0.13), plain(DARK_GREY)))
    return parts
