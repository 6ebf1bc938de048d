"""Videos with their truth, as an evaluation needs them, and the seeds that it may use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loc3r_ros.engines.manifest import VideoSpec
from loc3r_ros.errors import ConfigError
from loc3r_ros.evaluation.readers import Landmark, Reading, shares_of
from loc3r_ros.geometry import Array, compose2, invert2, transform_points2
from loc3r_ros.interface import ImageArray
from loc3r_ros.world.bev import patch_targets
from loc3r_ros.world.ceiling import Ceiling, best_guess
from loc3r_ros.world.questions import Question
from loc3r_ros.world.sample import Sample, make_sample
from loc3r_ros.world.situations import Situation
from loc3r_ros.world.splits import SEED_RANGES, Split, split_of


@dataclass(frozen=True, eq=False)
class Described:
    """A situation.

    Attributes:
        text: the words.
        pose: (3,) true pose in the anchor frame.
        ceiling: the best accuracy that the words allow.
        reading: what a perfect reader makes of them.
    """

    text: str
    pose: Array
    ceiling: Ceiling
    reading: Reading


@dataclass(frozen=True, eq=False)
class Clip:
    """A video and all that is true about it.

    Attributes:
        seed: of the scene.
        images: (N, H, W, 3) uint8 RGB.
        anchor_t_camera: (N, 4, 4) true poses with optical axes.
        world_t_anchor: (3,) of the anchor frame, under the first camera.
        patches: (N, P, 2) true places of the patches of each frame, row by row, metres in the anchor frame.
        is_place: (N, P) whether a patch lies in one place.
        situations: described observers.
        questions: about the scene; `situation` counts `situations`.
    """

    seed: int
    images: ImageArray
    anchor_t_camera: Array
    world_t_anchor: Array
    patches: Array
    is_place: npt.NDArray[np.bool_]
    situations: tuple[Described, ...]
    questions: tuple[Question, ...]


def load_clip(seed: int, frames: int, video: VideoSpec) -> Clip:
    """Render a scene of the world as a model wants it.

    Args:
        seed: of the scene.
        frames: length of the video.
        video: what the model's frames are.
    """
    size = video.image_size
    sample = make_sample(seed, frames=frames, width=size, height=size, grid=(video.rows, video.columns))
    # Patches may leave a margin at the right and below, where the picture is no multiple of them.
    height, width = (min(size, round(count * video.pixels_per_patch)) for count in (video.rows, video.columns))
    grid = (video.rows, video.columns)
    depth, things = sample.frames.depth[:, :height, :width], sample.frames.segmentation[:, :height, :width]
    truth = patch_targets(depth, sample.anchor_t_camera, sample.camera_matrix, grid)
    return Clip(
        seed=seed,
        images=sample.frames.rgb,
        anchor_t_camera=sample.anchor_t_camera,
        world_t_anchor=sample.world_t_anchor,
        patches=truth.position.reshape(frames, -1, 2).astype(np.float64),
        is_place=truth.valid.reshape(frames, -1),
        situations=tuple(
            Described(one.text, one.pose, one.ceiling, _reading(sample, one, things, grid)) for one in sample.situations
        ),
        questions=sample.questions,
    )


def _reading(sample: Sample, situation: Situation, things: npt.NDArray[np.int16], grid: tuple[int, int]) -> Reading:
    """Return what a perfect reader makes of a situation; its first two clauses say what is near and what is faced."""
    anchor_t_world = invert2(sample.world_t_anchor)
    names = [clause.furniture for clause in situation.clauses[:2]]
    middles = transform_points2(anchor_t_world, [sample.scene.furniture[name].position for name in names])
    beside, faced = (
        Landmark(middle, shares_of(things, name, grid)) for middle, name in zip(middles, names, strict=True)
    )
    return Reading(compose2(anchor_t_world, best_guess(situation.region)), beside, faced)


def check_seeds(seeds: range, allowed: tuple[Split, ...]) -> Split:
    """Return the split of a range of seeds.

    Raises:
        ConfigError: there are fewer than two, or they are not all of one of the allowed splits.
    """
    if len(seeds) < 2:
        raise ConfigError(
            f"The seeds {seeds.start}:{seeds.stop} are {len(seeds)} scenes: give two or more, as FIRST:END (END is not "
            "in it). The video of one scene is shown with the questions about the next."
        )
    splits = {split_of(seeds[0]), split_of(seeds[-1])}
    wrong = splits - set(allowed)
    may_be = " or ".join(f"{split.value} scenes ({SEED_RANGES[split]})" for split in allowed)
    if wrong:
        names = " and ".join(sorted(split.value for split in wrong))
        raise ConfigError(f"The seeds {seeds.start}:{seeds.stop} hold {names} scenes: use {may_be}.")
    if len(splits) > 1:
        raise ConfigError(f"The seeds {seeds.start}:{seeds.stop} are of two splits: use {may_be}, not both.")
    return splits.pop()


def parse_seeds(text: str) -> range:
    """Return the seeds of "FIRST:END".

    Raises:
        ConfigError: it is no such text.
    """
    first, colon, end = text.partition(":")
    if not (colon and first.isdigit() and end.isdigit()):
        raise ConfigError(f"{text!r} is no range of seeds: write FIRST:END, such as 1100000:1100200.")
    return range(int(first), int(end))
