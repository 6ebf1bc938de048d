"""Pictures, depth and segmentation of a scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loc3r_ros.world.scene import Scene


@dataclass(frozen=True, eq=False)
class Frames:
    """What N cameras see.

    Attributes:
        rgb: (N, H, W, 3) uint8.
        depth: (N, H, W) float32, metres along the optical axis (z), at pixel centres.
        segmentation: (N, H, W) int16, furniture id or a `Surface` code, at pixel centres.
    """

    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    segmentation: NDArray[np.int16]


def render(
    scene: Scene,
    cameras: NDArray[np.float64],
    width: int,
    height: int,
    focal: float,
    *,
    gain: NDArray[np.float64] | None = None,
    antialias: bool = True,
    threads: int = 1,
) -> Frames:
    """Render a scene; the pixels depend neither on `threads` nor on the machine.

    Args:
        scene: what to render.
        cameras: (N, 4, 4) world_t_camera, optical axes (x right, y down, z forward).
        width: pixels.
        height: pixels.
        focal: focal length in pixels; the principal point is (width / 2, height / 2), pixel centres at + 0.5.
        gain: (N, 3) exposure and white-balance factors per frame, None for 1.
        antialias: whether edges get four samples per pixel.
        threads: how many threads share the frames.
    """
    raise NotImplementedError
