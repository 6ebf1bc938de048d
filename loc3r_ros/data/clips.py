"""Clips for the pose prior: pieces of long walks, forwards or backwards, at several speeds, and their mirror images.

Making a walk costs as much as learning from it on a CPU, so that a walk may be kept on disk and give many clips.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loc3r_ros.data.seeds import with_room
from loc3r_ros.data.videos import make_video
from loc3r_ros.geometry import Array
from loc3r_ros.world.draw import Draw
from loc3r_ros.world.generate import GENERATOR_VERSION
from loc3r_ros.world.sample import camera_matrix


@dataclass(frozen=True, eq=False)
class Clip:
    """N square pictures of one scene and where they were taken.

    Attributes:
        rgb: (N, size, size, 3) uint8.
        depth: (N, size, size) metres along the optical axis; 0 where a ray meets nothing.
        world_t_camera: (N, 4, 4) poses with optical axes.
    """

    rgb: NDArray[np.uint8]
    depth: NDArray[np.floating]
    world_t_camera: Array

    @property
    def camera_matrix(self) -> Array:
        """(3, 3) K with pixel centres at whole numbers."""
        return camera_matrix(self.rgb.shape[2], self.rgb.shape[1])


def cut(walk: Clip, frames: int, max_step: int, draw: Draw) -> Clip:
    """Return a piece of a walk: `frames` of its pictures, evenly spread, in the order of the walk or against it.

    Args:
        walk: at least as many pictures.
        frames: of the clip, 2 or more.
        max_step: largest step between two pictures of the clip, in pictures of the walk.
        draw: decides.
    """
    step = 1 + draw.integer(min(max_step, (len(walk.rgb) - 1) // (frames - 1)))
    start = draw.integer(len(walk.rgb) - step * (frames - 1))
    chosen = start + step * np.arange(frames)
    if draw.chance(0.5):
        chosen = chosen[::-1]
    return Clip(walk.rgb[chosen], walk.depth[chosen], walk.world_t_camera[chosen])


def mirrored(clip: Clip) -> Clip:
    """Return a clip as a mirror shows it: left is right, in the pictures and in the way that the camera takes."""
    flip = np.diag([-1.0, 1.0, 1.0, 1.0]).astype(clip.world_t_camera.dtype)
    return Clip(clip.rgb[:, :, ::-1], clip.depth[:, :, ::-1], flip @ clip.world_t_camera @ flip)


def records(size: int) -> np.dtype:
    """Return how a picture of a walk is kept."""
    return np.dtype([("rgb", "u1", (size, size, 3)), ("depth", "<f2", (size, size)), ("pose", "<f8", (4, 4))])


@dataclass(frozen=True)
class ClipCutter:
    """Cuts clips from walks, which are kept in a folder: a file of `records` for each walk, of which a clip reads some.

    Attributes:
        size: side of the pictures, pixels.
        walk: pictures of a walk.
        max_step: of the clips (see `cut`).
        folder: where walks of this size and length are kept; None makes them anew each time.
    """

    size: int
    walk: int
    max_step: int
    folder: Path | None = None

    @classmethod
    def open(cls, size: int, walk: int, max_step: int, root: str) -> ClipCutter:
        """Return a cutter whose walks are kept under a root folder; an empty root keeps none."""
        folder = Path(root) / f"walks-{GENERATOR_VERSION}-{size}-{walk}" if root else None
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
        return cls(size, walk, max_step, folder)

    def clip(self, seed: int, frames: int, draw: Draw) -> Clip:
        """Return a clip of the scene of a seed, or of the next one that leaves room to walk in."""
        kept = self._kept(seed) if self.folder else self._make(seed)
        clip = cut(Clip(kept["rgb"], kept["depth"], kept["pose"]), frames, self.max_step, draw)
        return mirrored(clip) if draw.chance(0.5) else clip

    def _kept(self, seed: int) -> NDArray[np.void]:
        """Return the records of a walk as a view of its file, which is written if need be."""
        file = self.folder / f"{seed}.npy"  # type: ignore[operator]
        if not file.exists():
            scratch = file.with_name(f".{seed}-{os.getpid()}.npy")
            np.save(scratch, self._make(seed))
            scratch.replace(file)  # the file appears whole or not at all
        return np.load(file, mmap_mode="r")

    def _make(self, seed: int) -> NDArray[np.void]:
        walk = with_room(seed, lambda candidate: make_video(candidate, self.walk, self.size))
        kept = np.empty(self.walk, records(self.size))
        kept["rgb"], kept["depth"], kept["pose"] = walk.rgb, walk.frames.depth, walk.world_t_camera
        return kept
