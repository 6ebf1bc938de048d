"""One sample of the world, from a seed: a video with its truth, situations and questions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from loc3r_ros.errors import ConfigError
from loc3r_ros.geometry import Array, compose2, invert2, planar, world_t_anchor
from loc3r_ros.world.bev import BevTargets, anchor_poses, patch_targets
from loc3r_ros.world.camera import exposure_gains, focal_length
from loc3r_ros.world.draw import Draw
from loc3r_ros.world.facts import Stage
from loc3r_ros.world.generate import make_scene
from loc3r_ros.world.questions import Question, make_questions
from loc3r_ros.world.render import Frames, Renderer
from loc3r_ros.world.scene import Scene
from loc3r_ros.world.sight import Sightings, sightings
from loc3r_ros.world.situations import Situation, make_situations
from loc3r_ros.world.splits import Split
from loc3r_ros.world.viewpoints import Viewpoints
from loc3r_ros.world.walk import Walk, make_walk

FIELD_OF_VIEW = math.radians(80.0)
"""Of every camera, across."""
SITUATIONS = 4
MIN_SIDE = 16


@dataclass(frozen=True, eq=False)
class Sample:
    """A video of a scene and all that is true about it.

    The world frame is the scene's; the anchor frame lies on the floor under the first camera, x forward, y left, z up.

    Attributes:
        scene: the scene.
        walk: the camera's way through it.
        frames: colour, depth and segmentation, N of each.
        camera_matrix: (3, 3) K with pixel centres at whole numbers.
        world_t_camera: (N, 4, 4) poses with optical axes.
        anchor_t_camera: (N, 4, 4) the same in the anchor frame.
        world_t_anchor: (3,) x, y, heading of the anchor frame on the world's floor.
        layout: bird's-eye-view targets of every patch, in the anchor frame.
        sightings: what the frames show of the furniture.
        situations: described observers; poses in the anchor frame.
        questions: questions and answers.
    """

    scene: Scene
    walk: Walk
    frames: Frames
    camera_matrix: Array
    world_t_camera: Array
    anchor_t_camera: Array
    world_t_anchor: Array
    layout: BevTargets
    sightings: Sightings
    situations: tuple[Situation, ...]
    questions: tuple[Question, ...]


def make_sample(
    seed: int,
    split: Split | None = None,
    frames: int = 32,
    width: int = 128,
    height: int = 128,
    grid: tuple[int, int] = (16, 16),
    threads: int = 1,
    situations: int = SITUATIONS,
    extent: int | None = None,
) -> Sample:
    """Make the sample of a seed: the same, bit for bit, whatever `threads`.

    Args:
        seed: of the scene; see `splits` for the ranges.
        split: the split that the seed must belong to, None for any.
        frames: pictures in the video.
        width: of a picture, pixels.
        height: of a picture, pixels.
        grid: rows and columns of patches in a picture.
        threads: how many threads render.
        situations: most described observers.
        extent: side of the square of pixels, from the upper left corner, that patches share; pixels beyond it belong to
            none. All pixels where None.

    Raises:
        ConfigError: if the seed does not belong to `split`, or the video would be too short or its pictures too small.
        WalkError: if the furniture leaves no room to stand in.
    """
    _check_size(frames, width, height, grid)
    scene = make_scene(seed, split)
    renderer = Renderer(scene)
    walk = make_walk(scene, renderer, frames)
    cameras = walk.world_t_camera
    gain = exposure_gains(seed, frames)
    pictures = renderer.render(cameras, width, height, focal_length(width, FIELD_OF_VIEW), gain=gain, threads=threads)
    matrix = camera_matrix(width, height)
    poses = anchor_poses(cameras)
    anchor = planar(world_t_anchor(cameras[0]))
    shown = sightings(pictures.segmentation, len(scene.furniture))
    described, questions = _make_language(scene, renderer, shown, situations)
    return Sample(
        scene=scene,
        walk=walk,
        frames=pictures,
        camera_matrix=matrix,
        world_t_camera=cameras,
        anchor_t_camera=poses,
        world_t_anchor=anchor,
        layout=patch_targets(pictures.depth[:, :extent, :extent], poses, matrix, grid),
        sightings=shown,
        situations=tuple(replace(one, pose=compose2(invert2(anchor), one.pose)) for one in described),
        questions=tuple(questions),
    )


def make_text(
    seed: int, split: Split | None = None, frames: int = 32, width: int = 128, height: int = 128
) -> tuple[list[Situation], list[Question]]:
    """Return the situations and questions of `make_sample` in less time: no truth, and pictures of ids only.

    The poses of the situations are in the world.
    """
    scene = make_scene(seed, split)
    renderer = Renderer(scene)
    cameras = make_walk(scene, renderer, frames).world_t_camera
    pictures = renderer.render(cameras, width, height, focal_length(width, FIELD_OF_VIEW), antialias=False)
    return _make_language(scene, renderer, sightings(pictures.segmentation, len(scene.furniture)), SITUATIONS)


def _check_size(frames: int, width: int, height: int, grid: tuple[int, int]) -> None:
    if frames < 2:
        raise ConfigError(f"A walk of {frames} frames is none: ask for 2 or more.")
    smallest = max(MIN_SIDE, *grid)
    if min(width, height) < smallest:
        raise ConfigError(
            f"Pictures of {width} x {height} pixels are too small for {grid[0]} x {grid[1]} patches: "
            f"ask for at least {smallest} x {smallest}."
        )


def _make_language(
    scene: Scene, renderer: Renderer, shown: Sightings, count: int
) -> tuple[list[Situation], list[Question]]:
    draw = Draw(scene.seed, "language")
    stage = Stage(Viewpoints(scene), shown, renderer)
    situations = make_situations(stage, count, draw)
    return situations, make_questions(stage, situations, draw)


def camera_matrix(width: int, height: int) -> Array:
    """Return the (3, 3) pinhole matrix of every camera of the world, pixel centres at whole numbers."""
    focal = focal_length(width, FIELD_OF_VIEW)
    return np.array([[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0.0, 0.0, 1.0]])
