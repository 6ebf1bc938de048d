"""What colour a ray brings back: pattern, ambient light, and point lights with hard shadows."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from loc3r_ros.world.jit import f32, jit
from loc3r_ros.world.render_hits import (
    CONE,
    ELLIPSOID,
    NO_HIT,
    Floats,
    Ints,
    Packet,
    Solids,
    aim,
    hit_solid,
)
from loc3r_ros.world.scene import Texture
from loc3r_ros.world.textures import pattern

PLAIN, PLANKS = int(Texture.PLAIN), int(Texture.PLANKS)
LIFT = f32(2e-3)  # metres off the surface, so that it does not shadow itself
FALL_OFF = f32(0.06)  # of light, per square metre of squared distance
FAINT = f32(0.02)  # light that is not worth a shadow ray
SHADE = f32(0.12)  # of a light that reaches into its shadow, bounced by the room
FULL = f32(1.05)  # brightness of what glows by itself
CONTACT_HEIGHT = f32(0.4)  # metres over the floor below which ambient light is weaker
CONTACT_DARK = f32(0.28)
CAP_EDGE = f32(1e-4)  # metres: what is nearer to the end of a cone lies on its cap


Face = tuple[np.float32, np.float32, np.float32, np.float32, np.float32, np.float32]
"""Normal (3), a point (u, v) of the pattern, half height of the face; all local, metres."""


class Materials(NamedTuple):
    """The materials of a scene, one row each."""

    colour: Floats  # (M, 3)
    second: Floats  # (M, 3)
    texture: Ints  # (M,)
    scale: Floats  # (M,)
    emission: Floats  # (M,)


class World(NamedTuple):
    """All that the renderer knows of a scene."""

    solids: Solids
    materials: Materials
    lights: Floats  # (L, 4) position and intensity
    casters: Ints  # (C,) the solids that throw shadows, largest first
    ambient: np.float32


class Samples(NamedTuple):
    """Points on surfaces, one for each ray of a packet."""

    x: Floats
    y: Floats
    z: Floats
    nx: Floats
    ny: Floats
    nz: Floats
    light: Floats
    beam: Floats  # what one point light adds
    colour: Floats  # (n, 3)


@jit
def box_face(
    hx: np.float32, hy: np.float32, hz: np.float32, lx: np.float32, ly: np.float32, lz: np.float32, is_flat: bool
) -> Face:
    """Return the face of a box that a local point lies on; with `is_flat` the pattern is that of the xy plane."""
    rx, ry, rz = abs(lx) / hx, abs(ly) / hy, abs(lz) / hz
    zero = f32(0)
    nx = ny = nz = zero
    if rx >= ry and rx >= rz:
        nx, u, v, size = f32(math.copysign(f32(1), lx)), ly, lz, hz
    elif ry >= rz:
        ny, u, v, size = f32(math.copysign(f32(1), ly)), lx, lz, hz
    else:
        nz, u, v, size = f32(math.copysign(f32(1), lz)), lx, ly, hy
    return (nx, ny, nz, lx, ly, size) if is_flat else (nx, ny, nz, u, v, size)


@jit
def cone_face(
    radius: np.float32, hz: np.float32, taper: np.float32, lx: np.float32, ly: np.float32, lz: np.float32
) -> Face:
    """Return the face of a cone that a local point lies on."""
    slope = radius * (taper - f32(1)) / (f32(2) * hz)
    outer = radius + slope * (lz + hz)
    inner = max(f32(0), outer - CAP_EDGE)
    if hz - abs(lz) < CAP_EDGE and lx * lx + ly * ly < inner * inner:
        return f32(0), f32(0), f32(math.copysign(f32(1), lz)), lx, ly, radius
    nx, ny, nz = unit(lx, ly, -slope * outer)
    return nx, ny, nz, angle(lx, ly) * radius, lz, hz


@jit
def ellipsoid_face(
    hx: np.float32, hy: np.float32, hz: np.float32, lx: np.float32, ly: np.float32, lz: np.float32
) -> Face:
    """Return the face of an ellipsoid at a local point."""
    nx, ny, nz = unit(lx / (hx * hx), ly / (hy * hy), lz / (hz * hz))
    return nx, ny, nz, angle(lx, ly) * hx, lz, hz


@jit
def unit(x: np.float32, y: np.float32, z: np.float32) -> tuple[np.float32, np.float32, np.float32]:
    """Return a vector scaled to length 1."""
    scale = f32(1) / f32(math.sqrt(x * x + y * y + z * z))
    return x * scale, y * scale, z * scale


@jit
def angle(x: np.float32, y: np.float32) -> np.float32:
    """Return an angle of 0 to 2 pi measured in the L1 norm: steady, and without the rounding of an arctangent."""
    turn = x / (abs(x) + abs(y) + f32(1e-9))
    return (f32(1) - turn if y >= f32(0) else turn + f32(3)) * f32(0.5 * math.pi)


@jit
def ambient_light(ambient: np.float32, nx: np.float32, nz: np.float32, z: np.float32) -> np.float32:
    """Return light from all sides: most from above, less from below, weaker on upright faces close to the floor."""
    sky = f32(0.86) + f32(0.06) * nx + (f32(0.14) * nz if nz > f32(0) else f32(-0.25) * nz)
    near_floor = f32(1) - CONTACT_DARK * max(f32(0), f32(1) - z / CONTACT_HEIGHT)
    return ambient * sky * (near_floor if nz < f32(0.5) else f32(1))


@jit
def sample_surfaces(
    world: World, packet: Packet, n: int, ox: np.float32, oy: np.float32, oz: np.float32, out: Samples
) -> None:
    """Fill colour, lifted point, normal and ambient light where rays hit; all zero for rays that left the rooms.

    No slice of a table is taken here: each would count references, once per ray.
    """
    shapes, owners, centre, axes, half = (
        world.solids.shape,
        world.solids.material,
        world.solids.centre,
        world.solids.axes,
        world.solids.half,
    )
    taper, textures, scales = world.solids.taper, world.materials.texture, world.materials.scale
    for r in range(n):
        i = packet.hit[r]
        if i == NO_HIT:
            out.x[r] = out.y[r] = out.z[r] = out.nx[r] = out.ny[r] = out.nz[r] = out.light[r] = f32(0)
            out.colour[r, 0] = out.colour[r, 1] = out.colour[r, 2] = f32(0)
            continue
        x, y, z = ox + packet.t[r] * packet.dx[r], oy + packet.t[r] * packet.dy[r], oz + packet.t[r] * packet.dz[r]
        qx, qy, qz = x - centre[i, 0], y - centre[i, 1], z - centre[i, 2]
        lx = axes[i, 0] * qx + axes[i, 3] * qy + axes[i, 6] * qz
        ly = axes[i, 1] * qx + axes[i, 4] * qy + axes[i, 7] * qz
        lz = axes[i, 2] * qx + axes[i, 5] * qy + axes[i, 8] * qz
        material = owners[i]
        texture = textures[material]
        if shapes[i] == CONE:
            a, b, c, u, v, size = cone_face(half[i, 0], half[i, 2], taper[i], lx, ly, lz)
        elif shapes[i] == ELLIPSOID:
            a, b, c, u, v, size = ellipsoid_face(half[i, 0], half[i, 1], half[i, 2], lx, ly, lz)
        else:
            a, b, c, u, v, size = box_face(half[i, 0], half[i, 1], half[i, 2], lx, ly, lz, texture == PLANKS)
        nx = axes[i, 0] * a + axes[i, 1] * b + axes[i, 2] * c
        ny = axes[i, 3] * a + axes[i, 4] * b + axes[i, 5] * c
        nz = axes[i, 6] * a + axes[i, 7] * b + axes[i, 8] * c
        weight, bright = f32(0), f32(1)
        if texture != PLAIN:
            weight, bright = pattern(texture, scales[material], u, v, size)
        for k in range(3):
            first, second = world.materials.colour[material, k], world.materials.second[material, k]
            out.colour[r, k] = (first + (second - first) * weight) * bright
        out.x[r], out.y[r], out.z[r] = x + LIFT * nx, y + LIFT * ny, z + LIFT * nz
        out.nx[r], out.ny[r], out.nz[r] = nx, ny, nz
        out.light[r] = ambient_light(world.ambient, nx, nz, z)


@jit
def outside_cone(
    vx: np.float32,
    vy: np.float32,
    vz: np.float32,
    radius: np.float32,
    ax: np.float32,
    ay: np.float32,
    az: np.float32,
    cosine: np.float32,
    sine: np.float32,
) -> bool:
    """Return whether a sphere at (vx, vy, vz) from the apex surely misses the cone about unit axis (ax, ay, az)."""
    squared = vx * vx + vy * vy + vz * vz
    if squared <= radius * radius:
        return False
    along = vx * ax + vy * ay + vz * az
    across = f32(math.sqrt(max(f32(0), squared - along * along)))
    return across * cosine - along * sine > radius or along < -radius


@jit
def beam_from(lamp: Floats, n: int, out: Samples, packet: Packet) -> bool:
    """Fill the unshadowed beam of one light and aim shadow rays from it; return whether any is worth tracing."""
    px, py, pz, intensity = lamp[0], lamp[1], lamp[2], lamp[3]
    any_lit = False
    for r in range(n):
        vx, vy, vz = out.x[r] - px, out.y[r] - py, out.z[r] - pz
        squared = vx * vx + vy * vy + vz * vz
        cosine = -(out.nx[r] * vx + out.ny[r] * vy + out.nz[r] * vz) / f32(math.sqrt(squared))
        beam = max(f32(0), intensity * cosine / (f32(1) + FALL_OFF * squared))
        out.beam[r] = beam
        # The ray ends just before the point; a ray without length meets nothing.
        aim(packet, r, vx, vy, vz, f32(0.999) if beam > FAINT else f32(0))
        any_lit |= beam > FAINT
    return any_lit


@jit
def shadow(world: World, lamp: Floats, n: int, out: Samples, packet: Packet) -> None:
    """Trace the shadow rays of a packet against the casters that can stand between the light and its points."""
    px, py, pz, big = lamp[0], lamp[1], lamp[2], f32(1e9)
    x0, y0, z0, x1, y1, z1 = big, big, big, -big, -big, -big
    for r in range(n):
        if packet.t[r] > f32(0):
            x0, y0, z0 = min(x0, out.x[r]), min(y0, out.y[r]), min(z0, out.z[r])
            x1, y1, z1 = max(x1, out.x[r]), max(y1, out.y[r]), max(z1, out.z[r])
    ax, ay, az = f32(0.5) * (x0 + x1) - px, f32(0.5) * (y0 + y1) - py, f32(0.5) * (z0 + z1) - pz
    distance = f32(math.sqrt(ax * ax + ay * ay + az * az))
    spread = f32(0.5) * f32(math.sqrt((x1 - x0) ** 2 + (y1 - y0) ** 2 + (z1 - z0) ** 2)) / distance
    sine = min(f32(1), spread)
    cosine = f32(math.sqrt(f32(1) - sine * sine))
    ax, ay, az = ax / distance, ay / distance, az / distance
    x0, y0, z0, x1, y1, z1 = min(x0, px), min(y0, py), min(z0, pz), max(x1, px), max(y1, py), max(z1, pz)
    solids = world.solids
    for index in range(world.casters.shape[0]):
        i = world.casters[index]
        if solids.lower[i, 0] > x1 or solids.lower[i, 1] > y1 or solids.lower[i, 2] > z1:
            continue
        if solids.upper[i, 0] < x0 or solids.upper[i, 1] < y0 or solids.upper[i, 2] < z0:
            continue
        vx, vy, vz = solids.centre[i, 0] - px, solids.centre[i, 1] - py, solids.centre[i, 2] - pz
        if not outside_cone(vx, vy, vz, solids.radius[i], ax, ay, az, cosine, sine):
            hit_solid(solids, i, packet, n, px, py, pz)
    for r in range(n):
        out.beam[r] *= SHADE if packet.hit[r] != NO_HIT else f32(1)


@jit
def shade(
    world: World, packet: Packet, n: int, ox: np.float32, oy: np.float32, oz: np.float32, out: Samples, rays: Packet
) -> None:
    """Fill the colours of the first `n` samples from the hits of a packet; `rays` is room for shadow rays."""
    sample_surfaces(world, packet, n, ox, oy, oz, out)
    for j in range(world.lights.shape[0]):
        if beam_from(world.lights[j], n, out, rays):
            shadow(world, world.lights[j], n, out, rays)
        for r in range(n):
            out.light[r] += out.beam[r]
    for r in range(n):
        if packet.hit[r] != NO_HIT:
            glow = world.materials.emission[world.solids.material[packet.hit[r]]]
            light = out.light[r] + (FULL - out.light[r]) * glow
            for k in range(3):
                out.colour[r, k] *= light
