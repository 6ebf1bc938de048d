"""From the widths of the vision tower and the pose prior to that of the language model."""

from __future__ import annotations

from torch import nn


def two_layer_mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Return Linear, exact GELU, Linear: LLaVA's `mlp2x_gelu` projector and the paper's camera and head MLPs."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))
