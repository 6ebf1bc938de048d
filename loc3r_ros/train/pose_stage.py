"""The pose prior learns camera motion and point maps from walks, as CUT3R does: metric, recurrent, ever longer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from loc3r_ros.data.clips import Clip, ClipCutter
from loc3r_ros.model.checkpoint import save_pose_prior
from loc3r_ros.model.config import Loc3RConfig
from loc3r_ros.model.cut3r import Cut3R
from loc3r_ros.model.cut3r.heads import sampled
from loc3r_ros.model.cut3r.losses import Targets, cut3r_loss, make_targets
from loc3r_ros.train.config import PoseConfig, TrainConfig
from loc3r_ros.train.matching import check_matching, matching_loss, watching
from loc3r_ros.train.plan import Task
from loc3r_ros.train.stage import Stage, scaled_pixels
from loc3r_ros.world.draw import Draw


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
    """Makes the clips of a run.

    Attributes:
        cutter: makes walks and cuts clips from them.
        seed: of the run.
    """

    cutter: ClipCutter
    seed: int

    def __call__(self, task: Task) -> Clip:
        """Return the clip of a task."""
        return self.cutter.clip(task.seed, task.frames, Draw(self.seed, f"clip at {task.position}"))


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
        with watching(self.network) if self.config.matching else nullcontext([]) as looks:
            predictions = self.network(batch.images, stride=self.config.stride)
        losses = cut3r_loss(predictions, batch.truth)
        parts = losses._asdict()
        if self.config.matching:
            parts["matching"] = matching_loss(looks[0], batch.truth, batch.matrix)
        pose = torch.stack([prediction.pose for prediction in predictions], dim=1).detach()
        moved, turned = pose_errors(pose, batch.truth.pose)
        return {"loss": self._objective(parts), **parts, "translation_m": moved, "rotation_deg": turned}

    def _objective(self, parts: Mapping[str, Tensor]) -> Tensor:
        weights = {"pose": self.config.weight, "matching": self.config.matching}
        return torch.stack([weights.get(name, 1.0) * part for name, part in parts.items()]).sum()


def pose_errors(pose: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean error of translations, metres, and of rotations, degrees, of (..., 7) poses after the first."""
    pose, truth = pose[:, 1:], truth[:, 1:]
    moved = (pose[..., :3] - truth[..., :3]).norm(dim=-1).mean()
    cosine = (pose[..., 3:] * truth[..., 3:]).sum(-1).abs().clamp(max=1.0)
    return moved, (2 * cosine.acos()).mean() * 180 / math.pi


class PoseStage(Stage):
    """Trains the pose prior of a model."""

    def __init__(self, network: Cut3R, model: Loc3RConfig, config: TrainConfig) -> None:
        self.size = model.pose_prior.image_size
        pose = config.pose
        self.stride = pose.stride
        self.module = PosePriorTrainer(network, pose)
        cutter = ClipCutter.open(model.vision.image_size, pose.walk_frames, pose.max_step, config.data.cache)
        self.loader = ClipLoader(cutter, config.seed)

    def collate(self, items: Sequence[Clip], tasks: Sequence[Task], state: None, device: torch.device) -> PosedVideos:
        """Join walks of the same length, at the pose prior's size, and make their truth."""
        rgb, depth, pose, matrix = (
            torch.from_numpy(np.stack(parts)).to(device)
            for parts in zip(
                *((one.rgb, one.depth, one.world_t_camera, one.camera_matrix) for one in items), strict=True
            )
        )
        images, depth, matrix = resized(scaled_pixels(rgb), depth.float(), matrix.float(), self.size)
        seen, depth, matrix = thinned(images, depth, matrix, self.stride)
        return PosedVideos(images, make_targets(seen, depth, matrix, pose.float()), matrix)

    def save(self, tensors: Mapping[str, Tensor], folder: Path) -> None:
        """Write the pose prior."""
        self.module.load_state_dict(tensors)
        save_pose_prior(self.module.network, folder)  # type: ignore[arg-type]


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
    scale = torch.tensor([size[1] / side, size[0] / side, 1.0], device=matrix.device)
    half = torch.tensor([0.5, 0.5, 0.0], device=matrix.device)
    matrix = matrix * scale[:, None]
    matrix[:, :, 2] += half * (scale - 1)
    return images, depth, matrix


def thinned(images: Tensor, depth: Tensor, matrix: Tensor, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the pixels of pictures, depths and pinhole matrices that point maps of a stride answer for."""
    offset = torch.tensor([stride // 2, stride // 2, 0.0], device=matrix.device)
    scale = torch.tensor([stride, stride, 1.0], device=matrix.device)
    matrix = matrix / scale[:, None]
    matrix[:, :, 2] -= offset / scale
    return sampled(images, stride), sampled(depth, stride), matrix
