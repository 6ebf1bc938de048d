"""Solids to build furniture from, given as spans (low, high) along each axis, and their bounds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from loc3r_ros.world.scene import Material, Primitive, Shape, Vector

Span = tuple[float, float]


def around(centre: float, width: float) -> Span:
    """Return the span of a width about a centre."""
    return centre - width / 2, centre + width / 2


def box(x: Span, y: Span, z: Span, material: Material, rotation: NDArray[np.float64] | None = None) -> Primitive:
    """Return a box, turned about its own centre where a rotation is given."""
    centre, half = zip(*(((low + high) / 2, (high - low) / 2) for low, high in (x, y, z)), strict=True)
    if rotation is None:
        return Primitive(Shape.BOX, centre, half, material)
    return Primitive(Shape.BOX, centre, half, material, rotation=rotation)


def cylinder(x: float, y: float, z: Span, radius: float, material: Material, top: float | None = None) -> Primitive:
    """Return an upright cylinder, or a cone frustum where the radius at the top is given."""
    half = (radius, radius, (z[1] - z[0]) / 2)
    return Primitive(Shape.CONE, (x, y, (z[0] + z[1]) / 2), half, material, 1.0 if top is None else top / radius)


def ellipsoid(
    centre: Vector, half: Vector, material: Material, rotation: NDArray[np.float64] | None = None
) -> Primitive:
    """Return an ellipsoid."""
    if rotation is None:
        return Primitive(Shape.ELLIPSOID, centre, half, material)
    return Primitive(Shape.ELLIPSOID, centre, half, material, rotation=rotation)


def pitch_rotation(pitch: float) -> NDArray[np.float64]:
    """Return the (3, 3) rotation about y; a positive pitch leans the top towards +x."""
    c, s = math.cos(pitch), math.sin(pitch)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def legs(depth: float, width: float, height: float, thickness: float, material: Material) -> list[Primitive]:
    """Return four square legs under the corners of a depth by width rectangle."""
    xs, ys = (depth - thickness) / 2, (width - thickness) / 2
    return [
        box(around(sx * xs, thickness), around(sy * ys, thickness), (0.0, height), material)
        for sx in (-1, 1)
        for sy in (-1, 1)
    ]


def rotate(matrix: NDArray[np.float64], vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return matrix (3, 3) @ vector (3,), rounded the same on every machine, which BLAS does not promise."""
    return (matrix * vector).sum(axis=1)


def compose(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the product of two (3, 3) rotations, rounded the same on every machine."""
    return (first[:, :, None] * second[None]).sum(axis=1)


def reach(primitive: Primitive) -> NDArray[np.float64]:
    """Return the (3,) half extents of a primitive along the axes of its parent."""
    half, rotation = np.array(primitive.half), primitive.rotation
    if primitive.shape is Shape.BOX:
        return rotate(np.abs(rotation), half)
    if primitive.shape is Shape.ELLIPSOID:
        return np.sqrt(rotate(rotation**2, half**2))
    radius = half[0] * max(1.0, primitive.taper)
    return radius * np.sqrt(1.0 - np.minimum(1.0, rotation[:, 2] ** 2)) + half[2] * np.abs(rotation[:, 2])


def bounds(primitives: Iterable[Primitive]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the (3,) lowest and (3,) highest corner of a set of primitives in their parent's frame."""
    items = list(primitives)
    centres = np.array([item.centre for item in items])
    extents = np.array([reach(item) for item in items])
    return (centres - extents).min(axis=0), (centres + extents).max(axis=0)


def moved(primitive: Primitive, shift: NDArray[np.float64], factor: float) -> Primitive:
    """Return a primitive shifted and then scaled about the origin, with its pattern."""
    x, y, z = ((np.array(primitive.centre) + shift) * factor).tolist()
    a, b, c = (size * factor for size in primitive.half)
    material = replace(primitive.material, scale=primitive.material.scale / factor)
    return replace(primitive, centre=(x, y, z), half=(a, b, c), material=material)
