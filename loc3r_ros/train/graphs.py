"""A module's forward and backward pass as CUDA graphs: a recurrent network of small layers is all launches without."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten


class _Flat(nn.Module):
    """A module that takes the leaves of its batch and returns the values of its scalars.

    Args:
        module: what runs.
        spec: how the leaves make a batch.
    """

    def __init__(self, module: nn.Module, spec: TreeSpec) -> None:
        super().__init__()
        self.module, self.spec = module, spec
        self.names: list[str] = []

    def forward(self, *leaves: Tensor) -> tuple[Tensor, ...]:
        """Return the scalars."""
        scalars = self.module(tree_unflatten(leaves, self.spec))
        self.names = list(scalars)
        return tuple(scalars.values())


def graphed(module: nn.Module) -> Callable[[Any], dict[str, Tensor]]:
    """Return a function that runs a module on a GPU, and replays its work as long as batches keep their shape.

    Args:
        module: takes a batch, a tree of tensors, and returns scalars by name. Graphs hold the addresses of its
            parameters and their gradients' buffers, so that they must stay where they are.
    """
    last: dict[Any, tuple[_Flat, Callable[..., Any]]] = {}

    def run(batch: Any) -> dict[str, Tensor]:
        leaves, spec = tree_flatten(batch)
        key = tuple(leaf.shape for leaf in leaves)
        if key not in last:
            last.clear()
            gc.collect()  # a graph holds all activations of its shape, and refers to itself
            torch.cuda.empty_cache()
            flat = _Flat(module, spec)
            samples = tuple(leaf.clone() for leaf in leaves)
            last[key] = flat, torch.cuda.make_graphed_callables(flat, samples, allow_unused_input=True)
        flat, replay = last[key]
        return {name: value.clone() for name, value in zip(flat.names, replay(*leaves), strict=True)}

    return run
