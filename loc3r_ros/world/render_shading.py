"""What colour a ray brings back: pattern, ambient light, and point lights with hard shadows."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from loc3r_ros.world.jit import f32, jit
from loc3r_ros.world.render_hits import (
    ALIGNED_BOX,
    BOX,
    CONE,
    NO_HIT,
    Floats,
    Ints,
    Packet,
    Solids,
    aim,
    hit_solid,
    to_local,
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
def box_face(half: Floats, lx: np.float32, ly: np.float32, lz: np.float32, planks: bool) -> tuple:
    """Return normal and texture point (u, v, half height) of a local point on a box; planks lie in the xy plane."""
    rx, ry, rz = abs(lx) / half[0], abs(ly) / half[1], abs(lz) / half[2]
    zero, one = f32(0), f32(1)
    if rx >= ry and rx >= rz:
        nx, ny, nz, u, v, size = one if lx > zero else -one, zero, zero, ly, lz, half[2]
    elif ry >= rz:
        nx, ny, nz, u, v, size = zero, one if ly > zero else -one, zero, lx, lz, half[2]
    else:
        nx, ny, nz, u, v, size = zero, zero, one if lz > zero else -one, lx, ly, half[1]
    return (nx, ny, nz, lx, ly, size) if planks else (nx, ny, nz, u, v, size)


@jit
def round_face(is_cone: bool, half: Floats, taper: np.float32, lx: np.float32, ly: np.float32, lz: np.float32) -> tuple:
    """Return normal and texture point of a local point on a cone or an ellipsoid."""
    if is_cone:
        slope = half[0] * (taper - f32(1)) / (f32(2) * half[2])
        radius = half[0] + slope * (lz + half[2])
        inner = max(f32(0), radius - CAP_EDGE)
        if half[2] - abs(lz) < CAP_EDGE and lx * lx + ly * ly < inner * inner:
            return f32(0), f32(0), f32(1) if lz > f32(0) else f32(-1), lx, ly, half[1]
        nx, ny, nz = lx, ly, -slope * radius
    else:
        nx, ny, nz = lx / (half[0] * half[0]), ly / (half[1] * half[1]), lz / (half[2] * half[2])
    scale = f32(1) / f32(math.sqrt(nx * nx + ny * ny + nz * nz))
    # An angle in the L1 norm, 0 to 4 around: steady like the true one, and it rounds the same everywhere.
    turn = lx / (abs(lx) + abs(ly) + f32(1e-9))
    around = (f32(1) - turn if ly >= f32(0) else turn + f32(3)) * f32(0.5 * math.pi)
    return nx * scale, ny * scale, nz * scale, around * half[0], lz, half[2]


@jit
def ambient_light(ambient: np.float32, nx: np.float32, nz: np.float32, z: np.float32) -> np.float32:
    """Return light from all sides: most from above, less from below, weaker on upright faces close to the floor."""
    sky = f32(0.86) + f32(0.06) * nx + (f32(0.14) * nz if nz > f32(0) else f32(-0.25) * nz)
    near_floor = f32(1) - CONTACT_DARK * max(f32(0), f32(1) - z / CONTACT_HEIGHT)
    return ambient * sky * (near_floor if nz < f32(0.5) else f32(1))


@jit
def sample_surface(
    world: World, packet: Packet, r: int, ox: np.float32, oy: np.float32, oz: np.float32, out: Samples
) -> None:
    """Fill sample `r` with the colour, the lifted point, the normal and the ambient light where its ray hit."""
    solids, i = world.solids, packet.hit[r]
    x, y, z = ox + packet.t[r] * packet.dx[r], oy + packet.t[r] * packet.dy[r], oz + packet.t[r] * packet.dz[r]
    m, half, material = solids.axes[i], solids.half[i], solids.material[i]
    lx, ly, lz = to_local(m, x - solids.centre[i, 0], y - solids.centre[i, 1], z - solids.centre[i, 2])
    shape, texture = solids.shape[i], world.materials.texture[material]
    if shape in (BOX, ALIGNED_BOX):
        a, b, c, u, v, size = box_face(half, lx, ly, lz, texture == PLANKS)
    else:
        a, b, c, u, v, size = round_face(shape == CONE, half, solids.taper[i], lx, ly, lz)
    nx, ny, nz = m[0] * a + m[1] * b + m[2] * c, m[3] * a + m[4] * b + m[5] * c, m[6] * a + m[7] * b + m[8] * c
    weight, bright = f32(0), f32(1)
    if texture != PLAIN:
        weight, bright = pattern(texture, world.materials.scale[material], u, v, size)
    for k in range(3):
        first, second = world.materials.colour[material, k], world.materials.second[material, k]
        out.colour[r, k] = (first + (second - first) * weight) * bright
    out.x[r], out.y[r], out.z[r] = x + LIFT * nx, y + LIFT * ny, z + LIFT * nz
    out.nx[r], out.ny[r], out.nz[r] = nx, ny, nz
    out.light[r] = ambient_light(world.ambient, nx, nz, z)


@jit
def miss(r: int, out: Samples) -> None:
    """Fill sample `r` of a ray that left the rooms."""
    out.x[r] = out.y[r] = out.z[r] = out.nx[r] = out.ny[r] = out.nz[r] = out.light[r] = f32(0)
    for k in range(3):
        out.colour[r, k] = f32(0)


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
    for r in range(n):
        if packet.hit[r] == NO_HIT:
            miss(r, out)
        else:
            sample_surface(world, packet, r, ox, oy, oz, out)
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
