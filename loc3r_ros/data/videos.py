"""Videos of the world with their geometry, without language: what vision tower and pose prior learn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loc3r_ros.geometry import Array
from loc3r_ros.world.camera import exposure_gains, focal_length
from loc3r_ros.world.generate import make_scene
from loc3r_ros.world.render import Frames, Renderer
from loc3r_ros.world.sample import FIELD_OF_VIEW, camera_matrix
from loc3r_ros.world.scene import Scene
from loc3r_ros.world.walk import make_walk


@dataclass(frozen=True, eq=False)
class Video:
    """N square pictures of a scene.

    Attributes:
        scene: what is in it.
        frames: colour, depth and segmentation, N of each.
        camera_matrix: (3, 3) K with pixel centres at whole numbers.
        world_t_camera: (N, 4, 4) poses with optical axes.
    """

    scene: Scene
    frames: Frames
    camera_matrix: Array
    world_t_camera: Array

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """(N, size, size, 3)."""
        return self.frames.rgb


def make_video(seed: int, frames: int, size: int) -> Video:
    """Render a walk through the scene of a seed.

    Args:
        seed: of the scene.
        frames: pictures, 2 or more.
        size: side of a picture, pixels.

    Raises:
        WalkError: if the furniture leaves no room to stand in.
    """
    scene = make_scene(seed)
    renderer = Renderer(scene)
    cameras = make_walk(scene, renderer, frames).world_t_camera
    focal = focal_length(size, FIELD_OF_VIEW)
    pictures = renderer.render(cameras, size, size, focal, gain=exposure_gains(seed, frames))
    return Video(scene, pictures, camera_matrix(size, size), cameras)
