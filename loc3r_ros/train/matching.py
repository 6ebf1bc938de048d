"""Where a frame of a clip should look in the state: at the places of the frame before it that show the same.

After a frame the state's tokens lie over that frame's patches. Depth and poses tell which place of the frame before
each patch shows; half of the heads of one cross-attention are taught to look there. Without this lesson the pose prior
finds no motion for tens of thousands of clips (docs/nano.md); with it, for a few thousand.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from loc3r_ros.errors import ConfigError
from loc3r_ros.model.config import PosePriorConfig
from loc3r_ros.model.cut3r import Cut3R
from loc3r_ros.model.cut3r.beginning import cross_attentions
from loc3r_ros.model.cut3r.heads import rotation_matrix
from loc3r_ros.model.cut3r.layers import CrossAttention, split_heads
from loc3r_ros.model.cut3r.losses import Targets
from loc3r_ros.model.cut3r.rope import Rope
from loc3r_ros.model.losses import masked_mean

LAYER = 1
"""Of the image stream: the first layer reads what lies at a patch's own place, the second compares."""
MIN_DEPTH = 0.1
"""Metres; nearer points have no useful projection."""


def check_matching(config: PosePriorConfig) -> None:
    """Raise ConfigError unless the state's tokens lie over the patches, and there is a layer to teach."""
    rows, columns = config.grid
    if rows != columns or rows % 2 or config.state_tokens != rows * columns or config.decoder_layers <= LAYER:
        raise ConfigError(
            f"pose.matching needs an even number of patches a side, as many state tokens as patches and {LAYER + 1} "
            f"decoder layers; the pose prior has {rows} x {columns} patches, {config.state_tokens} state tokens and "
            f"{config.decoder_layers} layers: set pose.matching to 0."
        )


@contextmanager
def watching(network: Cut3R) -> Iterator[list[Tensor]]:
    """Collect the `log_look` of all frames but the first that a pose prior sees."""
    looks: list[Tensor] = []
    frames = itertools.count()

    def watch(attention: CrossAttention, inputs: tuple[Any, ...], _: object) -> None:
        if next(frames):
            looks.append(log_look(attention, *inputs[:4]))

    handle = cross_attentions(network.dec_blocks)[LAYER].register_forward_hook(watch)
    try:
        yield looks
    finally:
        handle.remove()


def log_look(attention: CrossAttention, x: Tensor, y: Tensor, x_table: Rope, y_table: Rope) -> Tensor:
    """Return the (B, heads / 2, N, M) log attention of N patches to M tokens of the state, in the later heads.

    Args:
        attention: of the image stream.
        x: (B, 1 + N, dim) pose token and patches.
        y: (B, M, dim) state.
        x_table: rotary embedding of x.
        y_table: rotary embedding of y.
    """
    half = attention.heads // 2
    q = split_heads(attention.projq(x), attention.heads, x_table)[:, half:, 1:]
    k = split_heads(attention.projk(y), attention.heads, y_table)[:, half:]
    return ((q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5).float().log_softmax(dim=-1)


def matching_loss(log_look: Tensor, truth: Targets, matrix: Tensor) -> Tensor:
    """Return the cross-entropy between where frames looked and the four patches around the truth in the frame before.

    Args:
        log_look: (B, T - 1, heads, N, N), of all frames but the first.
        truth: of the clip, at some pixels.
        matrix: (B, 3, 3) pinhole matrix of those pixels.
    """
    grid = math.isqrt(log_look.shape[-1])
    at, known = true_places(truth, matrix, grid)
    entropy = -(around(at, grid)[:, :, None] * log_look).sum(dim=-1).mean(dim=2)
    return masked_mean(entropy, known)


def true_places(truth: Targets, matrix: Tensor, grid: int) -> tuple[Tensor, Tensor]:
    """Return where frames show what the patches of the frames behind them show.

    Args:
        truth: of the clip; one pixel near the middle speaks for its patch.
        matrix: (B, 3, 3) pinhole matrix of its pixels.
        grid: patches a side.

    Returns:
        (B, T - 1, N, 2) column and row in the grid, fractions between the patches' places, and (B, T - 1, N) bool,
        False where the frame before does not show it (something may still stand before it).
    """
    pixels = truth.valid.shape[-1] // grid
    middle = slice(pixels // 2, None, pixels)
    before = truth.pose[:, :-1]
    points = truth.points_world[:, 1:, middle, middle] - before[..., None, None, :3]
    points = torch.einsum("btji,bthwj->bthwi", rotation_matrix(before[..., 3:]), points)
    pixel = torch.einsum("bij,bthwj->bthwi", matrix, points / points[..., 2:].clamp_min(MIN_DEPTH))[..., :2]
    at = (pixel - pixels // 2) / pixels
    inside = ((at > -0.5) & (at < grid - 0.5)).all(dim=-1)
    known = truth.valid[:, 1:, middle, middle] & inside & (points[..., 2] > MIN_DEPTH)
    return at.flatten(2, 3), known.flatten(2)


def around(at: Tensor, grid: int) -> Tensor:
    """Return (..., N, grid * grid) weights of the patches around (..., N, 2) places, bilinear, 1 in sum."""
    row, column = torch.meshgrid(*2 * [torch.arange(grid, device=at.device)], indexing="ij")
    patches = torch.stack([column, row], dim=-1).flatten(0, 1)
    distance = (at.clamp(0, grid - 1)[..., None, :] - patches).abs()
    return (1 - distance).clamp_min(0).prod(dim=-1)
