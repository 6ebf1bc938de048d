"""The pose prior learns camera motion and point maps from walks, as CUT3R does: metric, recurrent, ever longer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from loc3r_ros.data.clips import Clip, cut
from loc3r_ros.data.store import SceneStore
from loc3r_ros.model.checkpoint import save_pose_prior
from loc3r_ros.model.config import Loc3RConfig
from loc3r_ros.model.cut3r import Cut3R
from loc3r_ros.model.cut3r.heads import sampled
from loc3r_ros.model.cut3r.losses import Targets, cut3r_loss, make_targets, mean_distance, motion_loss
from loc3r_ros.train.config import PoseConfig, TrainConfig
from loc3r_ros.train.matching import check_matching, matching_loss, watching
from loc3r_ros.train.plan import Task
from loc3r_ros.train.scenes import open_store
from loc3r_ros.train.shelf import Shelf
from loc3r_ros.train.stage import Stage, scaled_pixels
from loc3r_ros.world.draw import Draw
from loc3r_ros.world.sample import camera_matrix

FIELDS = ("rgb", "depth", "pose")


class PosedVideos(NamedTuple):
    """Clips.

    Attributes:
        images: (B, T, 3, H, W) in [-1, 1].
        truth: at every stride-th pixel.
        matrix: (B, 3, 3) pinhole matrix of those pixels.
    """

    images: Tensor
    truth: Targets
    matrix: Tensor


@dataclass(frozen=True)
class ClipLoader:
    """Chooses the clips of a run.

    Attributes:
        store: of the walks.
        max_step: of the clips (see `cut`).
        backwards: of the clips.
        seed: of the run.
    """

    store: SceneStore
    max_step: int
    backwards: bool
    seed: int

    def __call__(self, task: Task) -> Clip:
        """Return the clip of a task."""
        self.store.keep(task.seed)
        draw = Draw(self.seed, f"clip at {task.position}")
        return cut(self.store.form.frames, task.frames, self.max_step, draw, self.backwards)


class PosePriorTrainer(nn.Module):
    """A pose prior with CUT3R's objective, and with lessons in matching if the recipe has them."""

    def __init__(self, network: Cut3R, config: PoseConfig) -> None:
        super().__init__()
        if config.matching:
            check_matching(network.config)
        self.network = network
        self.config = config

    def forward(self, batch: PosedVideos) -> dict[str, Tensor]:
        """Return the loss and its parts, and the mean errors of the poses."""
        with ExitStack() as stack:
            looks = stack.enter_context(watching(self.network)) if self.config.matching else []
            predictions = self.network(batch.images, stride=self.config.stride, every=self.config.every)
        losses = cut3r_loss(predictions, batch.truth)
        parts = losses._asdict()
        if self.config.matching:
            parts["matching"] = matching_loss(torch.stack(looks, dim=1), batch.truth, batch.matrix)
        pose = torch.stack([prediction.pose for prediction in predictions], dim=1)
        if self.config.motion:
            scale = mean_distance(batch.truth.points_world, batch.truth.valid)
            parts["motion"] = motion_loss(pose, batch.truth.pose, scale)
        moved, turned = pose_errors(pose.detach(), batch.truth.pose)
        return {"loss": self._objective(parts), **parts, "translation_m": moved, "rotation_deg": turned}

    def _objective(self, parts: Mapping[str, Tensor]) -> Tensor:
        weights = {"pose": self.config.weight, "motion": self.config.motion, "matching": self.config.matching}
        return torch.stack([weights.get(name, 1.0) * part for name, part in parts.items()]).sum()


def pose_errors(pose: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean error of translations, metres, and of rotations, degrees, of (..., 7) poses after the first."""
    pose, truth = pose[:, 1:], truth[:, 1:]
    moved = (pose[..., :3] - truth[..., :3]).norm(dim=-1).mean()
    cosine = (pose[..., 3:] * truth[..., 3:]).sum(-1).abs().clamp(max=1.0)
    return moved, (2 * cosine.acos()).mean() * 180 / math.pi


class PoseStage(Stage):
    """Trains the pose prior of a model."""

    is_static = True

    def __init__(self, network: Cut3R, model: Loc3RConfig, config: TrainConfig) -> None:
        self.size = model.pose_prior.image_size
        self.stride = config.pose.stride
        self.capacity = config.data.all_scenes
        self.module = PosePriorTrainer(network, config.pose)
        self.store = open_store(model, config.data)
        self.loader = ClipLoader(self.store, config.pose.max_step, config.pose.backwards, config.seed)

    def prepare(self, device: torch.device, bf16: bool) -> None:
        """Make room for the walks."""
        del bf16
        self.shelf = Shelf(self.store, FIELDS, self.capacity, device)
        side = self.store.form.size
        self.matrix = torch.from_numpy(camera_matrix(side, side)).float().to(device)

    def collate(self, items: Sequence[Clip], tasks: Sequence[Task]) -> PosedVideos:
        """Join clips of the same length, at the pose prior's size, and make their truth."""
        taken = self.shelf.take([task.seed for task in tasks], np.stack([clip.frames for clip in items]))
        is_mirrored = torch.tensor([clip.mirrored for clip in items]).to(self.matrix.device, non_blocking=True)
        rgb, depth, pose = mirrored(taken["rgb"], taken["depth"].float(), taken["pose"], is_mirrored)
        matrix = self.matrix.expand(len(items), 3, 3)
        images, depth, matrix = resized(scaled_pixels(rgb), depth, matrix, self.size)
        seen, depth, matrix = thinned(images, depth, matrix, self.stride)
        return PosedVideos(images, make_targets(seen, depth, matrix, pose.float()), matrix)

    def save(self, tensors: Mapping[str, Tensor], folder: Path) -> None:
        """Write the pose prior."""
        self.module.load_state_dict(tensors)
        save_pose_prior(self.module.network, folder)  # type: ignore[arg-type]


def mirrored(rgb: Tensor, depth: Tensor, pose: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return clips, some of them as a mirror shows them: left is right, in the pictures and in the camera's way.

    Args:
        rgb: (B, T, H, W, 3).
        depth: (B, T, H, W).
        pose: (B, T, 4, 4) camera-to-world, optical axes.
        chosen: (B,) bool, True for the clips that a mirror shows.
    """
    flip = torch.eye(4, dtype=pose.dtype, device=pose.device)
    flip[0, 0] = -1.0
    chosen = chosen[:, None, None, None]
    return (
        torch.where(chosen[..., None], rgb.flip(3), rgb),
        torch.where(chosen, depth.flip(3), depth),
        torch.where(chosen, flip @ pose @ flip, pose),
    )


def resized(images: Tensor, depth: Tensor, matrix: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Return pictures, depths and pinhole matrices at the size that the pose prior sees (route "vlm3r").

    Args:
        images: (B, T, 3, S, S), resized bilinearly without antialiasing as the robot does.
        depth: (B, T, S, S), of which the nearest is taken.
        matrix: (B, 3, 3) for pixel centres at whole numbers.
        size: height and width.
    """
    side = images.shape[-1]
    if size == (side, side):
        return images, depth, matrix
    images = F.interpolate(images.flatten(0, 1), size, mode="bilinear", align_corners=False).unflatten(
        0, images.shape[:2]
    )
    depth = F.interpolate(depth, size, mode="nearest-exact")
    return images, depth, zoomed(matrix, size[1] / side, size[0] / side)


def zoomed(matrix: Tensor, across: float, down: float) -> Tensor:
    """Return (B, 3, 3) pinhole matrices of pictures so many times as wide and high; pixel centres at whole numbers."""
    matrix = matrix.clone()
    for row, scale in enumerate((across, down)):
        matrix[:, row] *= scale
        matrix[:, row, 2] += 0.5 * (scale - 1)
    return matrix


def thinned(images: Tensor, depth: Tensor, matrix: Tensor, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the pixels of pictures, depths and pinhole matrices that point maps of a stride answer for."""
    matrix = matrix.clone()
    matrix[:, :2, 2] -= stride // 2
    matrix[:, :2] /= stride
    return sampled(images, stride), sampled(depth, stride), matrix
