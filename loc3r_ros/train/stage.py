"""What the training loop asks of a stage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from loc3r_ros.train.plan import Task


class Stage(ABC):
    """One kind of training.

    Attributes:
        is_static: batches of a phase have one shape, and the module works without looking at numbers: a GPU may replay
            its work as a graph.
        module: what is trained; called with a batch, it returns scalars by name, and "loss" is minimised.
        loader: renders a scene if need be and chooses what is shown of it, in a worker process, ahead of its use; it
            must be picklable and need no torch.
    """

    is_static = False
    module: nn.Module
    loader: Callable[[Task], Any]

    @abstractmethod
    def prepare(self, device: torch.device, bf16: bool) -> None:
        """Get ready for batches on a device."""

    def begin(self) -> None:  # noqa: B027 most stages need nothing
        """Do what training needs before its first step; `loader` may change."""

    @abstractmethod
    def collate(self, items: Sequence[Any], tasks: Sequence[Task]) -> Any:
        """Return the batch, on the stage's device, of what `loader` made of some tasks."""

    @abstractmethod
    def save(self, tensors: Mapping[str, Tensor], folder: Path) -> None:
        """Write the module's tensors into a model's folder.

        Args:
            tensors: the module's state, whole and on the CPU.
            folder: of the model that the stage completes.
        """


def scaled_pixels(rgb: Tensor) -> Tensor:
    """Return float32 (..., 3, H, W) pixels in [-1, 1] of (..., H, W, 3) uint8 pictures."""
    return (rgb.movedim(-1, -3).float() / 255.0 - 0.5) / 0.5
