"""AdamW, and Muon for the layers' matrices of a network that learns from nothing."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from loc3r_ros.train.config import OptimiserConfig

_NEWTON = (3.4445, -4.7750, 2.0315)
"""Coefficients of a quintic that draws singular values from (0, 1] to about 1 (Jordan et al., "Muon", 2024)."""
_ITERATIONS = 5
_LAYERS = ("layers.", "blocks", "final_transform.")
"""What the names of parameters in layers hold, in a language model and in CUT3R."""
_LIKE_ADAM = 0.2
"""Root mean square of an AdamW step, in learning rates (Liu et al., arXiv 2502.16982): one rate serves both."""


def make_optimisers(module: nn.Module, config: OptimiserConfig) -> list[torch.optim.Optimizer]:
    """Return AdamW over what is trained, or with `config.muon` Muon over the layers' matrices before it.

    Only matrices decay.
    """
    trained = {name: one for name, one in module.named_parameters() if one.requires_grad}
    layered = [one for name, one in trained.items() if one.dim() == 2 and any(part in name for part in _LAYERS)]
    orthogonal = layered if config.muon else []
    taken = {id(one) for one in orthogonal}
    rest = [one for one in trained.values() if id(one) not in taken]
    groups = [
        {"params": [one for one in rest if one.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [one for one in rest if one.dim() < 2], "weight_decay": 0.0},
    ]
    on_gpu = all(one.is_cuda for one in rest)
    adam = torch.optim.AdamW(groups, lr=config.rate, betas=(0.9, config.beta2), fused=on_gpu)
    return [Muon(orthogonal, config.rate, config.muon_decay), adam] if orthogonal else [adam]


class Muon(torch.optim.Optimizer):
    """Momentum whose steps are made orthogonal (Jordan et al., 2024).

    Unlike `torch.optim.Muon` it takes matrices of one shape together, which a GPU needs, and computes in their type,
    since a CPU only emulates bfloat16.

    Args:
        matrices: parameters of two dimensions.
        rate: the learning rate, on AdamW's scale.
        decay: decoupled weight decay.
        momentum: of the gradient, Nesterov's.
    """

    def __init__(self, matrices: Iterable[Tensor], rate: float, decay: float, momentum: float = 0.95) -> None:
        super().__init__(matrices, {"lr": rate, "weight_decay": decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Do a step; a closure is not asked for."""
        for group in self.param_groups:
            alike: defaultdict[torch.Size, list[Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    alike[matrix.shape].append(matrix)
            for matrices in alike.values():
                self._move(matrices, group)

    def _move(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        steps = orthogonalised(torch.stack([self._momentum(one, group["momentum"]) for one in matrices]))
        scale = _LIKE_ADAM * math.sqrt(max(matrices[0].shape)) * group["lr"]
        for matrix, step in zip(matrices, steps, strict=True):
            matrix.mul_(1 - group["lr"] * group["weight_decay"]).sub_(step, alpha=scale)

    def _momentum(self, matrix: Tensor, momentum: float) -> Tensor:
        mean = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
        mean.lerp_(matrix.grad, 1 - momentum)
        return matrix.grad.lerp(mean, momentum)  # type: ignore[union-attr]


def orthogonalised(matrices: Tensor) -> Tensor:
    """Return (B, M, N) matrices with about the singular vectors of those given, and singular values near 1."""
    turned = matrices.mT if matrices.shape[1] > matrices.shape[2] else matrices
    values = turned / turned.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    first, third, fifth = _NEWTON
    for _ in range(_ITERATIONS):
        gram = values @ values.mT
        values = first * values + (third * gram + fifth * gram @ gram) @ values
    return values.mT if turned is not matrices else values
