"""Cameras: where they look, their focal length, and how their exposure drifts."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from loc3r_ros.world.draw import Draw

EXPOSURE = (0.85, 1.15)
WHITE_BALANCE = (0.95, 1.05)


def look(x: float, y: float, z: float, yaw: float, pitch: float = 0.0) -> NDArray[np.float64]:
    """Return the (4, 4) world_t_camera of a camera without roll.

    Args:
        x: position in the world, metres.
        y: position, metres.
        z: height over the floor, metres.
        yaw: heading of the optical axis, radians counter-clockwise from world +x.
        pitch: how far the axis points down, radians.
    """
    c, s, cp, sp = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
    right, down, forward = (s, -c, 0.0), (-c * sp, -s * sp, -cp), (c * cp, s * cp, -sp)
    pose = np.eye(4)
    pose[:3] = np.array([right, down, forward, (x, y, z)]).T
    return pose


def focal_length(width: int, field_of_view: float) -> float:
    """Return the focal length in pixels of a horizontal field of view in radians."""
    return width / (2.0 * math.tan(field_of_view / 2.0))


def exposure_gains(seed: int, count: int) -> NDArray[np.float64]:
    """Return (count, 3) gains for the frames of a scene: one exposure and white balance, with a little drift."""
    draw = Draw(seed, "exposure")
    exposure = draw.log_uniform(*EXPOSURE)
    balance = np.array([draw.uniform(*WHITE_BALANCE) for _ in range(3)])
    drift = np.array([draw.log_uniform(0.97, 1.03) for _ in range(count)])
    return exposure * drift[:, None] * balance
