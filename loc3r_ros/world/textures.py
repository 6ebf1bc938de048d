"""Patterns computed at a point of a surface, from arithmetic that rounds the same on every machine.

No sine, no arctangent: the C library may round them differently from one CPU to the next.
"""

from __future__ import annotations

import math

import numpy as np

from loc3r_ros.world.jit import f32, jit
from loc3r_ros.world.scene import Texture

MASK = 0xFFFFFFFF
WOOD, TILES, CHECKS = int(Texture.WOOD), int(Texture.TILES), int(Texture.CHECKS)
STRIPES, FABRIC, BRICKS = int(Texture.STRIPES), int(Texture.FABRIC), int(Texture.BRICKS)
SKY, PAINTING, SCREEN, PLANKS = int(Texture.SKY), int(Texture.PAINTING), int(Texture.SCREEN), int(Texture.PLANKS)


@jit
def lattice(x: int, y: int) -> np.float32:
    """Return a hash of two whole numbers in [0, 1) (multiply and shift, as in C. Wellons' hash prospector)."""
    h = (x * 0x9E3779B1 + y * 0x85EBCA77) & MASK
    h = ((h ^ (h >> 16)) * 0x7FEB352D) & MASK
    h = ((h ^ (h >> 15)) * 0x846CA68B) & MASK
    return f32(h >> 8) * f32(1.0 / (1 << 24))


@jit
def noise(x: np.float32, y: np.float32) -> np.float32:
    """Return smooth value noise in [0, 1): the hash at the corners of the unit cell, blended."""
    x_cell, y_cell = math.floor(x), math.floor(y)
    u, v = x - f32(x_cell), y - f32(y_cell)
    u, v = u * u * (f32(3) - f32(2) * u), v * v * (f32(3) - f32(2) * v)
    low = lattice(x_cell, y_cell) * (f32(1) - u) + lattice(x_cell + 1, y_cell) * u
    high = lattice(x_cell, y_cell + 1) * (f32(1) - u) + lattice(x_cell + 1, y_cell + 1) * u
    return low * (f32(1) - v) + high * v


@jit
def courses(x: np.float32, y: np.float32, joint: np.float32, shift: np.float32, length: np.float32) -> tuple:
    """Return joint flag and a random number per stone of a wall of unit rows, stones `length` long, rows shifted."""
    row = math.floor(y)
    along = x / length + shift * f32(row % 2)
    stone = math.floor(along)
    is_joint = (y - f32(row) < joint) or ((along - f32(stone)) * length < joint)
    return is_joint, lattice(stone, row)


@jit
def pattern(texture: int, scale: np.float32, u: np.float32, v: np.float32, half: np.float32) -> tuple:
    """Return weight of the second colour and brightness at a point (u, v) metres from the middle of a face.

    Args:
        texture: code of the pattern.
        scale: cycles per metre (SKY, PAINTING: a phase that makes two of them differ).
        u: across.
        v: up.
        half: half height of the face, metres.
    """
    x, y = u * scale, v * scale
    weight, bright = f32(0), f32(1)
    if texture == FABRIC:
        weight = noise(x, y)
    elif texture == WOOD:
        weight = f32(0.8) * noise(x * f32(0.35), y * f32(2.2)) + f32(0.2) * noise(x * f32(2), y * f32(11))
    elif texture == STRIPES:
        weight = f32(1) if x - math.floor(x) < f32(0.45) else f32(0)
    elif texture == CHECKS:
        weight = f32((math.floor(x) + math.floor(y)) & 1)
    elif texture == TILES:
        is_joint, random = courses(x, y, f32(0.05), f32(0), f32(1))
        weight, bright = f32(is_joint), f32(0.92) + f32(0.10) * random
    elif texture == BRICKS:
        is_joint, random = courses(x, y * f32(2), f32(0.10), f32(0.5), f32(1.2))
        weight, bright = f32(is_joint), f32(0.90) + f32(0.14) * random
    elif texture == PLANKS:
        is_joint, random = courses(x, y, f32(0.05), f32(0.37), f32(7))
        weight = f32(0.8) * noise(x * f32(0.5) + f32(50) * random, y * f32(3))
        bright = (f32(0.84) + f32(0.24) * random) * (f32(0.6) if is_joint else f32(1))
    elif texture == SKY:
        clouds = noise(u * f32(3), v * f32(5)) - f32(0.5)
        weight = f32(0.5) - f32(0.5) * v / half + f32(0.5) * max(f32(0), clouds)
    elif texture == PAINTING:
        level = math.floor(f32(5) * noise(u * f32(6) + scale, v * f32(6) - scale))
        weight, bright = level * f32(0.25), f32(0.7) + f32(0.15) * f32(int(level) % 3)
    elif texture == SCREEN:
        weight = noise(u * f32(6), v * f32(9))
        bright = f32(0.8) + f32(0.3) * noise(u * f32(12), v * f32(12))
    return min(f32(1), max(f32(0), weight)), bright
