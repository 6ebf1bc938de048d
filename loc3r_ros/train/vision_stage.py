"""The vision tower learns to see: from its features, a linear head tells what each part of a picture shows.

Category, colour, depth and normal, at 2 x 2 places in each patch. The head is dropped afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from loc3r_ros.data.clips import Clip
from loc3r_ros.data.dense import CLASSES, COLOUR_NAMES, UNKNOWN
from loc3r_ros.data.store import SceneStore
from loc3r_ros.model.checkpoint import save_vision
from loc3r_ros.model.config import Loc3RConfig, VisionConfig
from loc3r_ros.model.losses import masked_mean
from loc3r_ros.model.vision import VisionTower
from loc3r_ros.train.config import TrainConfig
from loc3r_ros.train.plan import Task
from loc3r_ros.train.scenes import CELLS, open_store
from loc3r_ros.train.shelf import Shelf
from loc3r_ros.train.stage import Stage, scaled_pixels
from loc3r_ros.world.draw import Draw

FIELDS = ("rgb", "category", "colour", "cell_depth", "normal")


class DensePictures(NamedTuple):
    """P pictures and their truth (see `DenseTargets`)."""

    rgb: Tensor
    category: Tensor
    colour: Tensor
    depth: Tensor
    normal: Tensor


@dataclass(frozen=True)
class PictureLoader:
    """Chooses pictures of a scene."""

    store: SceneStore
    seed: int

    def __call__(self, task: Task) -> Clip:
        """Return some pictures of a task's walk; a mirror shows half of them."""
        self.store.keep(task.seed)
        draw = Draw(self.seed, f"pictures at {task.position}")
        places = draw.shuffled(list(range(self.store.form.frames)))
        return Clip(np.array(places[: task.frames]), draw.chance(0.5))


class DenseVision(nn.Module):
    """A vision tower with a linear head for dense truth."""

    def __init__(self, tower: VisionTower, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.tower = tower
        self.sizes = (len(CLASSES), len(COLOUR_NAMES), 1, 3)
        self.head = nn.Linear(config.hidden_size, CELLS**2 * sum(self.sizes))

    def forward(self, batch: DensePictures) -> dict[str, Tensor]:
        """Return the loss and its parts, and how right the answers are."""
        category, colour, log_depth, normal = self.answers(batch.rgb)
        known, coloured = batch.category != UNKNOWN, batch.colour != UNKNOWN
        has_depth, has_normal = batch.depth > 0, (batch.normal != 0).any(-1)
        furniture = batch.category < len(CLASSES) - 3
        depth_error = (log_depth[..., 0] - batch.depth.clamp_min(0.1).log()).abs()
        cosine = F.cosine_similarity(normal, batch.normal, dim=-1)
        parts = {
            "category": _cross_entropy(category, batch.category, known),
            "colour": _cross_entropy(colour, batch.colour, coloured),
            "depth": masked_mean(depth_error, has_depth),
            "normal": masked_mean(1 - cosine, has_normal),
        }
        right = (category.argmax(-1) == batch.category).float()
        return {
            "loss": torch.stack(list(parts.values())).sum(),
            **parts,
            "category_accuracy": masked_mean(right, known),
            "furniture_accuracy": masked_mean(right, known & furniture),
            "colour_accuracy": masked_mean((colour.argmax(-1) == batch.colour).float(), coloured),
        }

    def answers(self, rgb: Tensor) -> tuple[Tensor, ...]:
        """Return (P, R, R, n) class logits, colour logits, log depths and normals for (P, S, S, 3) uint8 pictures."""
        grid = self.config.grid
        values = self.head(self.tower(scaled_pixels(rgb))).float()
        maps = F.pixel_shuffle(values.transpose(1, 2).unflatten(2, (grid, grid)), CELLS)
        return maps.movedim(1, -1).split(self.sizes, dim=-1)


def _cross_entropy(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    losses = F.cross_entropy(logits.movedim(-1, 1), target, ignore_index=UNKNOWN, reduction="none")
    return masked_mean(losses, known)


class VisionStage(Stage):
    """Trains the vision tower of a model."""

    module: DenseVision

    def __init__(self, tower: VisionTower, model: Loc3RConfig, config: TrainConfig) -> None:
        self.module = DenseVision(tower, model.vision)
        self.capacity = config.data.all_scenes
        self.store = open_store(model, config.data)
        self.extent = round(self.store.form.cells * self.store.form.cell_pixels)
        self.loader = PictureLoader(self.store, config.seed)

    def prepare(self, device: torch.device, bf16: bool) -> None:
        """Make room for the scenes."""
        del bf16
        self.shelf = Shelf(self.store, FIELDS, self.capacity, device)

    def collate(self, items: Sequence[Clip], tasks: Sequence[Task]) -> DensePictures:
        """Join the pictures of all scenes."""
        taken = self.shelf.take([task.seed for task in tasks], np.stack([clip.frames for clip in items]))
        rgb, category, colour, depth, normal = (taken[name].flatten(0, 1) for name in FIELDS)
        pictures = DensePictures(rgb, category.long(), colour.long(), depth.float(), normal.float())
        chosen = torch.tensor([clip.mirrored for clip in items]).repeat_interleave(len(items[0].frames))
        return mirrored(pictures, chosen.to(rgb.device, non_blocking=True), self.extent)

    def save(self, tensors: Mapping[str, Tensor], folder: Path) -> None:
        """Write the trained tower; its head is not needed any more."""
        self.module.load_state_dict(tensors)
        save_vision(self.module.tower, folder)


def mirrored(pictures: DensePictures, chosen: Tensor, extent: int) -> DensePictures:
    """Return pictures, those of (P,) bool `chosen` as a mirror shows them; columns from `extent` on are not seen."""
    flip = torch.tensor([-1.0, 1.0, 1.0]).to(chosen.device, non_blocking=True)
    seen, rest = pictures.rgb.split((extent, pictures.rgb.shape[2] - extent), dim=2)
    rgb = torch.cat((seen.flip(2), rest), dim=2)
    others = (
        pictures.category.flip(2),
        pictures.colour.flip(2),
        pictures.depth.flip(2),
        pictures.normal.flip(2) * flip,
    )
    parts = zip(pictures, (rgb, *others), strict=True)
    return DensePictures(*(torch.where(chosen.view(-1, *[1] * (one.dim() - 1)), other, one) for one, other in parts))
