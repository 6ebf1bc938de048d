"""The pose prior learns camera motion and point maps from walks, as CUT3R does: metric, recurrent, ever longer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from loc3r_ros.data.seeds import with_room
from loc3r_ros.data.videos import Video, make_video
from loc3r_ros.model.checkpoint import save_pose_prior
from loc3r_ros.model.config import Loc3RConfig
from loc3r_ros.model.cut3r import Cut3R
from loc3r_ros.model.cut3r.losses import Targets, cut3r_loss, make_targets
from loc3r_ros.train.plan import Task
from loc3r_ros.train.stage import Stage, scaled_pixels


class PosedVideos(NamedTuple):
    """(B, T, 3, H, W) pictures in [-1, 1] and their truth."""

    images: Tensor
    truth: Targets


@dataclass(frozen=True)
class VideoLoader:
    """Renders walks at a size."""

    size: int

    def __call__(self, task: Task) -> Video:
        """Render one walk."""
        return with_room(task.seed, lambda seed: make_video(seed, task.frames, self.size))


class PosePriorTrainer(nn.Module):
    """A pose prior with CUT3R's objective."""

    def __init__(self, network: Cut3R) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: PosedVideos) -> dict[str, Tensor]:
        """Return the loss and its parts, and the mean errors of the poses."""
        predictions = self.network(batch.images)
        losses = cut3r_loss(predictions, batch.truth)
        pose = torch.stack([prediction.pose for prediction in predictions], dim=1).detach()
        moved, turned = pose_errors(pose, batch.truth.pose)
        return {"loss": losses.total(), **losses._asdict(), "translation_m": moved, "rotation_deg": turned}


def pose_errors(pose: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean error of translations, metres, and of rotations, degrees, of (..., 7) poses after the first."""
    pose, truth = pose[:, 1:], truth[:, 1:]
    moved = (pose[..., :3] - truth[..., :3]).norm(dim=-1).mean()
    cosine = (pose[..., 3:] * truth[..., 3:]).sum(-1).abs().clamp(max=1.0)
    return moved, (2 * cosine.acos()).mean() * 180 / math.pi


class PoseStage(Stage):
    """Trains the pose prior of a model."""

    def __init__(self, network: Cut3R, config: Loc3RConfig) -> None:
        self.config = config
        self.module = PosePriorTrainer(network)
        self.loader = VideoLoader(config.vision.image_size)

    def collate(self, items: Sequence[Video], tasks: Sequence[Task], state: None, device: torch.device) -> PosedVideos:
        """Join walks of the same length, at the pose prior's size, and make their truth."""
        rgb, depth, pose, matrix = (
            torch.stack([torch.as_tensor(part) for part in parts]).to(device)
            for parts in zip(
                *((one.rgb, one.frames.depth, one.world_t_camera, one.camera_matrix) for one in items), strict=True
            )
        )
        images, depth, matrix = resized(scaled_pixels(rgb), depth, matrix.float(), self.config.pose_prior.image_size)
        return PosedVideos(images, make_targets(images, depth, matrix, pose.float()))

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
