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
        module: what is trained; called with a batch, it returns scalars by name, and "loss" is minimised.
        loader: makes one scene, in a worker process; it must be picklable and need no torch.
    """

    module: nn.Module
    loader: Callable[[Task], Any]

    def new_state(self) -> Any:
        """Return what is remembered from batch to batch; it is pickled into checkpoints."""
        return None

    def prepare(self, device: torch.device, bf16: bool) -> None:
        """Get ready to train on a device."""
        del device, bf16

    @abstractmethod
    def collate(self, items: Sequence[Any], tasks: Sequence[Task], state: Any, device: torch.device) -> Any:
        """Return the batch of what `loader` made of some tasks."""

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
