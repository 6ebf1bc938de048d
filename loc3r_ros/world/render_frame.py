"""One frame: tiles of rays, the solids that each tile can meet, and finer samples along edges."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from loc3r_ros.world.jit import digest_of, f32, jit, jit_entry
from loc3r_ros.world.render_hits import NO_HIT, Floats, Ints, Packet, Solids, aim, hit_solid
from loc3r_ros.world.render_shading import Samples, World, outside_cone, shade
from loc3r_ros.world.scene import Surface

TILE = 16  # pixels: a packet is a tile of rays
EXTRA = 3  # rays more for a pixel on an edge
PACKET = TILE * TILE * EXTRA
# Where rays pass, off the pixel's centre: first there, then at a triangle whose corners share no row and no column.
OFFSET_X = (f32(0), f32(0.35), f32(-0.26), f32(-0.09))
OFFSET_Y = (f32(0), f32(0.10), f32(0.25), f32(-0.35))
EDGE = f32(0.24)  # sum of colour differences between neighbours that counts as an edge
FAR = f32(100.0)  # metres
FAR_CHECK = 8  # solids between two looks at how far the packet still reaches
KNEE = f32(0.8)  # brightness from which highlights are compressed
NOTHING = int(Surface.NOTHING)


class View(NamedTuple):
    """A camera."""

    pose: Floats  # (4, 4) world_t_camera
    width: int
    height: int
    focal: np.float32  # pixels


class Work(NamedTuple):
    """Room to work in, for one frame at a time."""

    packet: Packet
    shadows: Packet
    samples: Samples
    candidates: Ints  # (P,) solids that a tile can meet, nearest first
    nearness: Floats  # (P,) their least depth
    hits: Ints  # (H, W)
    firsts: Floats  # (H, W, 3) colours at the centres of pixels
    colours: Floats  # (H, W, 3) the same with the extra rays blended in
    pixels: Ints  # (TILE * TILE, 2) x, y of the pixels that the packet serves


@jit
def new_packet() -> Packet:
    """Return room for PACKET rays."""
    a = np.empty((7, PACKET), np.float32)
    return Packet(a[0], a[1], a[2], a[3], a[4], a[5], a[6], np.empty(PACKET, np.int32))


@jit
def new_work(solids: int, width: int, height: int) -> Work:
    """Return room for frames of a scene with so many solids."""
    a = np.empty((8, PACKET), np.float32)
    samples = Samples(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], np.empty((PACKET, 3), np.float32))
    return Work(
        new_packet(),
        new_packet(),
        samples,
        np.empty(solids, np.int32),
        np.empty(solids, np.float32),
        np.empty((height, width), np.int32),
        np.empty((height, width, 3), np.float32),
        np.empty((height, width, 3), np.float32),
        np.empty((TILE * TILE, 2), np.int32),
    )


@jit
def direction(view: View, x: np.float32, y: np.float32) -> tuple:
    """Return the world direction of an image point, one metre deep, so that the ray parameter is the depth."""
    u = (x - f32(0.5) * f32(view.width)) / view.focal
    v = (y - f32(0.5) * f32(view.height)) / view.focal
    p = view.pose
    return (
        p[0, 0] * u + p[0, 1] * v + p[0, 2],
        p[1, 0] * u + p[1, 1] * v + p[1, 2],
        p[2, 0] * u + p[2, 1] * v + p[2, 2],
    )


@jit
def tile_cone(view: View, x0: int, y0: int, x1: int, y1: int) -> tuple:
    """Return unit axis, cosine and sine of a cone about the rays through a tile."""
    ax, ay, az = direction(view, f32(0.5) * f32(x0 + x1), f32(0.5) * f32(y0 + y1))
    length = f32(math.sqrt(ax * ax + ay * ay + az * az))
    ax, ay, az = ax / length, ay / length, az / length
    cosine = f32(1)
    for x, y in ((x0, y0), (x1, y0), (x0, y1), (x1, y1)):
        dx, dy, dz = direction(view, f32(x), f32(y))
        cosine = min(cosine, (ax * dx + ay * dy + az * dz) / f32(math.sqrt(dx * dx + dy * dy + dz * dz)))
    cosine -= f32(1e-5)
    return ax, ay, az, cosine, f32(math.sqrt(f32(1) - cosine * cosine))


@jit
def gather(solids: Solids, view: View, x0: int, y0: int, x1: int, y1: int, work: Work) -> int:
    """List the solids that the rays of a tile can meet, nearest first; return how many."""
    ax, ay, az, cosine, sine = tile_cone(view, x0, y0, x1, y1)
    p, candidates, nearness, count = view.pose, work.candidates, work.nearness, 0
    for i in range(solids.shape.shape[0]):
        vx, vy, vz = solids.centre[i, 0] - p[0, 3], solids.centre[i, 1] - p[1, 3], solids.centre[i, 2] - p[2, 3]
        if outside_cone(vx, vy, vz, solids.radius[i], ax, ay, az, cosine, sine):
            continue
        near = vx * p[0, 2] + vy * p[1, 2] + vz * p[2, 2] - solids.radius[i]
        slot = count
        while slot > 0 and nearness[slot - 1] > near:
            candidates[slot], nearness[slot] = candidates[slot - 1], nearness[slot - 1]
            slot -= 1
        candidates[slot], nearness[slot] = i, near
        count += 1
    return count


@jit
def trace(solids: Solids, count: int, work: Work, n: int, ox: np.float32, oy: np.float32, oz: np.float32) -> None:
    """Find the nearest hits of a packet among its candidates, and stop where all the rest lie behind."""
    reach = FAR
    for index in range(count):
        if work.nearness[index] > reach:
            break
        hit_solid(solids, work.candidates[index], work.packet, n, ox, oy, oz)
        if index % FAR_CHECK == FAR_CHECK - 1:
            reach = f32(0)
            for r in range(n):
                reach = max(reach, work.packet.t[r])


@jit
def differ(work: Work, y: int, x: int, v: int, u: int) -> bool:
    """Return whether an edge runs between two pixels: another solid, or a jump of colour."""
    c = work.firsts
    jump = abs(c[y, x, 0] - c[v, u, 0]) + abs(c[y, x, 1] - c[v, u, 1]) + abs(c[y, x, 2] - c[v, u, 2])
    return work.hits[y, x] != work.hits[v, u] or jump > EDGE


@jit
def list_pixels(view: View, x0: int, y0: int, x1: int, y1: int, refine: bool, work: Work) -> int:
    """List the pixels of a tile, or only those that differ from a neighbour; return how many."""
    count = 0
    for y in range(y0, y1):
        for x in range(x0, x1):
            wanted = not refine
            if refine and x > 0:
                wanted |= differ(work, y, x, y, x - 1)
            if refine and y > 0:
                wanted |= differ(work, y, x, y - 1, x)
            if refine and x + 1 < view.width:
                wanted |= differ(work, y, x, y, x + 1)
            if refine and y + 1 < view.height:
                wanted |= differ(work, y, x, y + 1, x)
            if wanted:
                work.pixels[count, 0], work.pixels[count, 1] = x, y
                count += 1
    return count


@jit
def aim_rays(view: View, pixels: int, refine: bool, work: Work) -> int:
    """Aim a ray through the centre of each listed pixel, or EXTRA rays around it; return how many."""
    first, each = (1, EXTRA) if refine else (0, 1)
    for r in range(pixels * each):
        pixel, offset = r // each, first + r % each
        x = f32(work.pixels[pixel, 0]) + f32(0.5) + OFFSET_X[offset]
        y = f32(work.pixels[pixel, 1]) + f32(0.5) + OFFSET_Y[offset]
        dx, dy, dz = direction(view, x, y)
        aim(work.packet, r, dx, dy, dz, FAR)
    return pixels * each


@jit
def keep_first(world: World, n: int, work: Work, depth: Floats, owners: NDArray[np.int16]) -> None:
    """Keep what the rays through the centres of pixels found."""
    for r in range(n):
        x, y, i = work.pixels[r, 0], work.pixels[r, 1], work.packet.hit[r]
        depth[y, x] = work.packet.t[r] if i != NO_HIT else f32(0)
        owners[y, x] = world.solids.owner[i] if i != NO_HIT else NOTHING
        work.hits[y, x] = i
        for k in range(3):
            work.firsts[y, x, k] = work.colours[y, x, k] = work.samples.colour[r, k]


@jit
def blend(n: int, work: Work) -> None:
    """Blend the colours of the extra rays into those of their pixels."""
    for r in range(n):
        x, y = work.pixels[r // EXTRA, 0], work.pixels[r // EXTRA, 1]
        for k in range(3):
            extra = work.samples.colour[r, k] - work.firsts[y, x, k]
            work.colours[y, x, k] += extra * f32(1.0 / (1 + EXTRA))


@jit
def render_frame(
    world: World, view: View, antialias: bool, work: Work, depth: Floats, owners: NDArray[np.int16]
) -> None:
    """Fill the linear colours in `work`, depth and owners of one frame, each (H, W, ...).

    The first sweep traces the centres of all pixels, the second more rays for those on edges. Both run through the same
    lines, which halves the time to compile.
    """
    ox, oy, oz = view.pose[0, 3], view.pose[1, 3], view.pose[2, 3]
    for sweep in range(2 if antialias else 1):
        refine = sweep == 1
        for y in range(0, view.height, TILE):
            for x in range(0, view.width, TILE):
                x1, y1 = min(x + TILE, view.width), min(y + TILE, view.height)
                n = aim_rays(view, list_pixels(view, x, y, x1, y1, refine, work), refine, work)
                if n == 0:
                    continue
                trace(world.solids, gather(world.solids, view, x, y, x1, y1, work), work, n, ox, oy, oz)
                shade(world, work.packet, n, ox, oy, oz, work.samples, work.shadows)
                if refine:
                    blend(n, work)
                else:
                    keep_first(world, n, work, depth, owners)


@jit
def develop(colours: Floats, gain: Floats, rgb: NDArray[np.uint8]) -> None:
    """Turn linear light into pixels: exposure, a soft shoulder, gamma 2."""
    for y in range(rgb.shape[0]):
        for x in range(rgb.shape[1]):
            for k in range(3):
                value = colours[y, x, k] * gain[k]
                if value > KNEE:
                    value = KNEE + (value - KNEE) / (f32(1) + f32(4) * (value - KNEE))
                level = f32(255) * f32(math.sqrt(max(f32(0), value))) + f32(0.5)
                rgb[y, x, k] = np.uint8(min(f32(255), level))


def compile_renderer(digest: str) -> Callable[..., None]:
    """Return `render_frames`, compiled for sources of that digest."""

    @jit_entry
    def render_frames(
        world: World,
        poses: Floats,
        focal: np.float32,
        gains: Floats,
        antialias: bool,
        rgb: NDArray[np.uint8],
        depth: Floats,
        owners: NDArray[np.int16],
    ) -> None:
        """Render N frames one after the other into rgb (N, H, W, 3), depth and owners (N, H, W)."""
        _ = digest
        frames, height, width = depth.shape
        work = new_work(world.solids.shape.shape[0], width, height)
        for frame in range(frames):
            view = View(poses[frame], width, height, focal)
            render_frame(world, view, antialias, work, depth[frame], owners[frame])
            develop(work.colours, gains[frame], rgb[frame])

    return render_frames


SOURCES = ("jit", "textures", "render_hits", "render_shading", "render_frame", "scene")
render_frames = compile_renderer(digest_of(*(Path(__file__).with_name(f"{name}.py") for name in SOURCES)))
