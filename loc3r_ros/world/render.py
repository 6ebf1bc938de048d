"""Pictures, depth and segmentation of a scene."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loc3r_ros.world.render_frame import render_frames
from loc3r_ros.world.render_pack import pack
from loc3r_ros.world.scene import Scene


@dataclass(frozen=True, eq=False)
class Frames:
    """What N cameras see.

    Attributes:
        rgb: (N, H, W, 3) uint8.
        depth: (N, H, W) float32, metres along the optical axis (z), at pixel centres; 0 where a ray meets nothing.
        segmentation: (N, H, W) int16, furniture id or a `Surface` code, at pixel centres.
    """

    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    segmentation: NDArray[np.int16]


class Renderer:
    """Renders one scene, any number of times.

    Args:
        scene: what to render.
    """

    def __init__(self, scene: Scene) -> None:
        self._world = pack(scene)

    def render(
        self,
        cameras: NDArray[np.floating],
        width: int,
        height: int,
        focal: float,
        *,
        gain: NDArray[np.floating] | None = None,
        antialias: bool = True,
        threads: int = 1,
    ) -> Frames:
        """Render frames; the pixels depend neither on `threads` nor on the machine.

        Args:
            cameras: (N, 4, 4) world_t_camera, optical axes (x right, y down, z forward).
            width: pixels.
            height: pixels.
            focal: focal length in pixels; the principal point is (width / 2, height / 2), pixel centres at + 0.5.
            gain: (N, 3) exposure and white-balance factors per frame, None for 1.
            antialias: whether edges get four samples per pixel.
            threads: how many threads share the frames.
        """
        # Copies: numba would compile anew for an array that is read-only.
        poses = np.array(cameras, np.float32, order="C")
        count = len(poses)
        gains = np.ones((count, 3), np.float32) if gain is None else np.array(gain, np.float32, order="C")
        frames = Frames(
            np.empty((count, height, width, 3), np.uint8),
            np.empty((count, height, width), np.float32),
            np.empty((count, height, width), np.int16),
        )

        def work(part: slice) -> None:
            out = (frames.rgb[part], frames.depth[part], frames.segmentation[part])
            render_frames(self._world, poses[part], np.float32(focal), gains[part], antialias, *out)

        cuts = np.linspace(0, count, max(1, min(threads, count)) + 1).astype(int)
        parts = [slice(a, b) for a, b in itertools.pairwise(cuts)]
        if len(parts) == 1:
            work(parts[0])
        else:
            with ThreadPoolExecutor(len(parts)) as pool:
                list(pool.map(work, parts))
        return frames


def render(
    scene: Scene,
    cameras: NDArray[np.floating],
    width: int,
    height: int,
    focal: float,
    *,
    gain: NDArray[np.floating] | None = None,
    antialias: bool = True,
    threads: int = 1,
) -> Frames:
    """Render a scene once; see `Renderer.render`."""
    return Renderer(scene).render(cameras, width, height, focal, gain=gain, antialias=antialias, threads=threads)
