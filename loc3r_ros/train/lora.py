"""Low-rank adapters of the language model (Hu et al., "LoRA", 2021), merged into the weights when a model is saved."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

BASE, DOWN, UP = ".base.weight", ".down", ".up"


class LoraLinear(nn.Module):
    """A frozen linear layer W with a trained low-rank term: x -> W x + scale * up (down x), zero at first.

    Args:
        base: the layer; it is frozen.
        rank: of the term.
        scale: its factor, alpha / rank.
    """

    def __init__(self, base: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(torch.empty(rank, base.in_features))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))
        self.scale = scale
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return self.base(x) + self.scale * F.linear(F.linear(x, self.down), self.up)


def add_lora(module: nn.Module, rank: int, alpha: float) -> None:
    """Freeze a module, and give every linear layer within it a low-rank term."""
    module.requires_grad_(False)
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear) and not isinstance(parent, LoraLinear):
                setattr(parent, name, LoraLinear(child, rank, alpha / rank))


def merge_lora(tensors: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Return a module's tensors with every low-rank term added to its layer, under the names from before `add_lora`."""
    merged = {}
    for name, tensor in tensors.items():
        if name.endswith(BASE):
            root = name.removesuffix(BASE)
            term = tensors[root + UP].float() @ tensors[root + DOWN].float()
            merged[root + ".weight"] = (tensor.float() + scale * term).to(tensor.dtype)
        elif name.endswith(".base.bias"):
            merged[name.removesuffix(".base.bias") + ".bias"] = tensor
        elif not (name.endswith((UP, DOWN)) and name.rpartition(".")[0] + BASE in tensors):
            merged[name] = tensor
    return merged
