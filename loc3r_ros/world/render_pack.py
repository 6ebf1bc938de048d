"""From a scene to the tables that the renderer reads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from loc3r_ros.world.render_hits import ALIGNED_BOX, Solids
from loc3r_ros.world.render_shading import Materials, World
from loc3r_ros.world.scene import Furniture, Material, Primitive, Scene, Shape, Surface
from loc3r_ros.world.solids import compose, reach, rotate

GLOWING = 0.5  # emission from which a solid throws no shadow


def pack(scene: Scene) -> World:
    """Return the tables of a scene."""
    placed = [(primitive, int(code)) for primitive, code in scene.shell]
    for item in scene.furniture:
        placed += [(to_world(item, primitive), item.id) for primitive in item.primitives]
    rows: dict[Material, int] = {}
    for primitive, _ in placed:
        rows.setdefault(primitive.material, len(rows))
    solids = pack_solids(placed, rows)
    materials = pack_materials(list(rows))
    lights = np.array([[*light.position, light.intensity] for light in scene.lights], np.float32)
    # A single room is convex, so its walls cannot come between its light and anything in it.
    is_caster = (solids.owner >= 0) | ((solids.owner == Surface.WALL) & (len(scene.rooms) > 1))
    is_caster &= materials.emission[solids.material] < GLOWING
    casters = np.flatnonzero(is_caster)
    casters = casters[np.argsort(-solids.radius[casters], kind="stable")]
    return World(solids, materials, lights, casters.astype(np.int32), np.float32(scene.ambient))


def to_world(item: Furniture, primitive: Primitive) -> Primitive:
    """Return a solid of a piece of furniture in the world frame."""
    rotation = item.world_R_furniture
    offset = rotate(rotation, np.array(primitive.centre))
    x, y, z = (offset + np.array([*item.position, item.elevation])).tolist()
    turned = compose(rotation, primitive.rotation)
    return replace(primitive, centre=(x, y, z), rotation=turned)


def pack_solids(placed: list[tuple[Primitive, int]], rows: dict[Material, int]) -> Solids:
    """Return the table of solids; boxes along the axes of the world become ALIGNED_BOX."""
    primitives = [primitive for primitive, _ in placed]
    centre = np.array([p.centre for p in primitives])
    half = np.array([p.half for p in primitives])
    axes = np.array([p.rotation for p in primitives])
    taper = np.array([p.taper for p in primitives])
    shape = np.array([p.shape for p in primitives], np.int32)
    extent = np.array([reach(p) for p in primitives])
    is_aligned = (shape == Shape.BOX) & ((np.abs(axes) > 1.0 - 1e-12).sum(axis=(1, 2)) == 3)
    widest = half[:, 0] * np.maximum(1.0, taper)
    radius = np.where(shape == Shape.BOX, np.linalg.norm(half, axis=1), half.max(axis=1))
    radius = np.where(shape == Shape.CONE, np.hypot(widest, half[:, 2]), radius)
    return Solids(
        np.where(is_aligned, ALIGNED_BOX, shape).astype(np.int32),
        np.array([owner for _, owner in placed], np.int32),
        np.array([rows[p.material] for p in primitives], np.int32),
        centre.astype(np.float32),
        axes.reshape(-1, 9).astype(np.float32),
        half.astype(np.float32),
        taper.astype(np.float32),
        (centre - extent).astype(np.float32),
        (centre + extent).astype(np.float32),
        (radius * (1.0 + 1e-5)).astype(np.float32),
    )


def pack_materials(materials: list[Material]) -> Materials:
    """Return the table of materials."""
    return Materials(
        np.array([m.colour for m in materials], np.float32),
        np.array([m.second for m in materials], np.float32),
        np.array([m.texture for m in materials], np.int32),
        np.array([m.scale for m in materials], np.float32),
        np.array([m.emission for m in materials], np.float32),
    )
