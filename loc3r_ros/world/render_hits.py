"""Where rays meet solids. Rays travel in packets of one origin, so that the compiler can run many of them at once."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from loc3r_ros.world.jit import f32, jit
from loc3r_ros.world.scene import Shape

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

BOX, CONE, ELLIPSOID = int(Shape.BOX), int(Shape.CONE), int(Shape.ELLIPSOID)
ALIGNED_BOX = 3  # a box along the axes of the world: most are, and three divisions per ray serve them all
NEAREST = f32(1e-3)  # of the way of a ray: what is closer is where it starts
TINY = f32(1e-7)  # stands in for a zero divisor
NO_HIT = -1


class Solids(NamedTuple):
    """The solids of a scene in the world frame, one row each, in single precision."""

    shape: Ints  # (P,)
    owner: Ints  # (P,) what the segmentation shows
    material: Ints  # (P,) row of Materials
    centre: Floats  # (P, 3)
    axes: Floats  # (P, 9) world_R_solid, row by row
    half: Floats  # (P, 3)
    taper: Floats  # (P,)
    lower: Floats  # (P, 3) bounding box
    upper: Floats  # (P, 3)
    radius: Floats  # (P,) bounding sphere about the centre


class Packet(NamedTuple):
    """Rays from one origin; the arrays are as long as the largest packet."""

    dx: Floats
    dy: Floats
    dz: Floats
    ix: Floats  # 1 / dx
    iy: Floats
    iz: Floats
    t: Floats  # nearest hit so far, in lengths of the ray's direction
    hit: Ints  # the solid that was hit there, NO_HIT


@jit
def inverse(value: np.float32) -> np.float32:
    """Return 1 / value, large and finite at zero."""
    return f32(1) / (value if abs(value) > TINY else TINY)


@jit
def aim(packet: Packet, ray: int, dx: np.float32, dy: np.float32, dz: np.float32, limit: np.float32) -> None:
    """Set a ray that has hit nothing up to `limit`."""
    packet.dx[ray], packet.dy[ray], packet.dz[ray] = dx, dy, dz
    packet.ix[ray], packet.iy[ray], packet.iz[ray] = inverse(dx), inverse(dy), inverse(dz)
    packet.t[ray], packet.hit[ray] = limit, NO_HIT


@jit
def hit_aligned_box(
    solids: Solids, i: int, packet: Packet, n: int, ox: np.float32, oy: np.float32, oz: np.float32
) -> None:
    """Slab test against a box along the axes of the world."""
    ix, iy, iz, t, hit = packet.ix, packet.iy, packet.iz, packet.t, packet.hit
    x0, y0, z0 = solids.lower[i, 0] - ox, solids.lower[i, 1] - oy, solids.lower[i, 2] - oz
    x1, y1, z1 = solids.upper[i, 0] - ox, solids.upper[i, 1] - oy, solids.upper[i, 2] - oz
    for r in range(n):
        xa, xb, ya, yb, za, zb = x0 * ix[r], x1 * ix[r], y0 * iy[r], y1 * iy[r], z0 * iz[r], z1 * iz[r]
        enter = max(max(min(xa, xb), min(ya, yb)), min(za, zb))
        leave = min(min(max(xa, xb), max(ya, yb)), max(za, zb))
        better = (enter <= leave) & (enter > NEAREST) & (enter < t[r])
        t[r] = enter if better else t[r]
        hit[r] = i if better else hit[r]


@jit
def hit_box(solids: Solids, i: int, packet: Packet, n: int, ax: np.float32, ay: np.float32, az: np.float32) -> None:
    """Slab test in the frame of a box; (ax, ay, az) is the origin of the rays in that frame."""
    dx, dy, dz, t, hit = packet.dx, packet.dy, packet.dz, packet.t, packet.hit
    m = solids.axes[i]
    xx, xy, xz, yx, yy, yz, zx, zy, zz = m[0], m[3], m[6], m[1], m[4], m[7], m[2], m[5], m[8]
    hx, hy, hz = solids.half[i, 0], solids.half[i, 1], solids.half[i, 2]
    for r in range(n):
        bx = xx * dx[r] + xy * dy[r] + xz * dz[r]
        by = yx * dx[r] + yy * dy[r] + yz * dz[r]
        bz = zx * dx[r] + zy * dy[r] + zz * dz[r]
        ix, iy, iz = inverse(bx), inverse(by), inverse(bz)
        mx, my, mz = -ax * ix, -ay * iy, -az * iz
        wx, wy, wz = abs(ix) * hx, abs(iy) * hy, abs(iz) * hz
        enter = max(max(mx - wx, my - wy), mz - wz)
        leave = min(min(mx + wx, my + wy), mz + wz)
        better = (enter <= leave) & (enter > NEAREST) & (enter < t[r])
        t[r] = enter if better else t[r]
        hit[r] = i if better else hit[r]


@jit
def hit_ellipsoid(
    solids: Solids, i: int, packet: Packet, n: int, ax: np.float32, ay: np.float32, az: np.float32
) -> None:
    """Intersect in the frame where the ellipsoid is the unit sphere."""
    dx, dy, dz, t, hit = packet.dx, packet.dy, packet.dz, packet.t, packet.hit
    m = solids.axes[i]
    sx, sy, sz = f32(1) / solids.half[i, 0], f32(1) / solids.half[i, 1], f32(1) / solids.half[i, 2]
    xx, xy, xz = m[0] * sx, m[3] * sx, m[6] * sx
    yx, yy, yz = m[1] * sy, m[4] * sy, m[7] * sy
    zx, zy, zz = m[2] * sz, m[5] * sz, m[8] * sz
    ax, ay, az = ax * sx, ay * sy, az * sz
    c = ax * ax + ay * ay + az * az - f32(1)
    for r in range(n):
        bx = xx * dx[r] + xy * dy[r] + xz * dz[r]
        by = yx * dx[r] + yy * dy[r] + yz * dz[r]
        bz = zx * dx[r] + zy * dy[r] + zz * dz[r]
        a = bx * bx + by * by + bz * bz
        b = ax * bx + ay * by + az * bz
        discriminant = b * b - a * c
        enter = (-b - math.sqrt(max(discriminant, f32(0)))) / a
        better = (discriminant > f32(0)) & (enter > NEAREST) & (enter < t[r])
        t[r] = enter if better else t[r]
        hit[r] = i if better else hit[r]


@jit
def hit_cone(solids: Solids, i: int, packet: Packet, n: int, ax: np.float32, ay: np.float32, az: np.float32) -> None:
    """Intersect the mantle (radius linear in height) and the cap that faces the ray."""
    dx, dy, dz, t, hit = packet.dx, packet.dy, packet.dz, packet.t, packet.hit
    m = solids.axes[i]
    xx, xy, xz, yx, yy, yz, zx, zy, zz = m[0], m[3], m[6], m[1], m[4], m[7], m[2], m[5], m[8]
    bottom, hz = solids.half[i, 0], solids.half[i, 2]
    top = bottom * solids.taper[i]
    slope = (top - bottom) / (f32(2) * hz)
    radius = bottom + slope * (az + hz)  # at the height of the origin
    c = ax * ax + ay * ay - radius * radius
    for r in range(n):
        bx = xx * dx[r] + xy * dy[r] + xz * dz[r]
        by = yx * dx[r] + yy * dy[r] + yz * dz[r]
        bz = zx * dx[r] + zy * dy[r] + zz * dz[r]
        widening = slope * bz
        a = bx * bx + by * by - widening * widening
        a = a if abs(a) > TINY else TINY
        b = ax * bx + ay * by - radius * widening
        discriminant = b * b - a * c
        enter = (-b - math.sqrt(max(discriminant, f32(0)))) / a
        z = az + enter * bz
        better = (discriminant > f32(0)) & (abs(z) <= hz) & (enter > NEAREST) & (enter < t[r])
        t[r] = enter if better else t[r]
        hit[r] = i if better else hit[r]
        up = f32(1) if bz < f32(0) else f32(-1)
        enter = (up * hz - az) * inverse(bz)
        x, y = ax + enter * bx, ay + enter * by
        cap = top if up > f32(0) else bottom
        better = (x * x + y * y <= cap * cap) & (enter > NEAREST) & (enter < t[r])
        t[r] = enter if better else t[r]
        hit[r] = i if better else hit[r]


@jit
def to_local(axes: Floats, x: np.float32, y: np.float32, z: np.float32) -> tuple:
    """Return a world vector in the frame of a solid."""
    return (
        axes[0] * x + axes[3] * y + axes[6] * z,
        axes[1] * x + axes[4] * y + axes[7] * z,
        axes[2] * x + axes[5] * y + axes[8] * z,
    )


@jit
def hit_solid(solids: Solids, i: int, packet: Packet, n: int, ox: np.float32, oy: np.float32, oz: np.float32) -> None:
    """Shorten the first `n` rays of a packet from origin (ox, oy, oz) that meet solid `i`."""
    shape = solids.shape[i]
    if shape == ALIGNED_BOX:
        hit_aligned_box(solids, i, packet, n, ox, oy, oz)
        return
    x, y, z = ox - solids.centre[i, 0], oy - solids.centre[i, 1], oz - solids.centre[i, 2]
    ax, ay, az = to_local(solids.axes[i], x, y, z)
    if shape == BOX:
        hit_box(solids, i, packet, n, ax, ay, az)
    elif shape == ELLIPSOID:
        hit_ellipsoid(solids, i, packet, n, ax, ay, az)
    else:
        hit_cone(solids, i, packet, n, ax, ay, az)
