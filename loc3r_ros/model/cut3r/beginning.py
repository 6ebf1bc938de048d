"""How a small CUT3R begins when it learns from nothing: attention between frames and state that already compares.

From random weights the state keeps nothing of a frame's layout, so that comparing two frames gives no gradient, so that
the state learns to keep nothing: the network sits on the constant motion for tens of thousands of clips. Two
beginnings of the cross-attention shorten that:

- heads that attend to where they stand: equal biases of queries and keys, under the rotary embedding of positions,
  prefer the nearest token (after d'Ascoli et al., "ConViT", 2021);
- heads that attend to what is like them: equal projections of queries and keys, and values that pass unchanged
  (Trockman & Kolter, "Mimetic Initialization of Self-Attention Layers", 2023).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from loc3r_ros.model.cut3r.layers import CrossAttention, DecoderBlock
from loc3r_ros.model.cut3r.network import Cut3R

NEARNESS = 2.5
"""Bias of queries and keys: with heads of 32 channels about half of the attention falls on the token's own place."""
READ = 0.7
"""Share of what attention reads that is added to a token."""
FAINT = 0.2
"""Weight of the contents in heads that attend to places."""
COPYING_LAYERS = 2
"""First layers of the state stream in which all heads attend to places: they copy the frame's layout."""


@torch.no_grad()
def begin_comparing(network: Cut3R) -> None:
    """Set the cross-attention of both streams of a new network; half of the heads attend to places."""
    for attention in cross_attentions(network.dec_blocks):
        _begin(attention, attention.heads // 2)
    for layer, attention in enumerate(cross_attentions(network.dec_blocks_state)):
        _begin(attention, attention.heads if layer < COPYING_LAYERS else attention.heads // 2)


def cross_attentions(blocks: nn.ModuleList) -> list[CrossAttention]:
    """Return the cross-attention of each of a stream's blocks."""
    return [cast(DecoderBlock, block).cross_attn for block in blocks]


def _begin(attention: CrossAttention, local_heads: int) -> None:
    dim = attention.projq.in_features
    by_place = (torch.arange(dim) < local_heads * (dim // attention.heads)).float()
    compare, carry = _rotation(dim), _rotation(dim)
    for projection in (attention.projq, attention.projk):
        projection.weight.copy_(compare * torch.lerp(torch.ones(dim), torch.full((dim,), FAINT), by_place)[:, None])
        projection.bias.copy_(NEARNESS * by_place)
    attention.projv.weight.copy_(carry)
    attention.proj.weight.copy_(READ * carry.T)
    for projection in (attention.projv, attention.proj):
        nn.init.zeros_(projection.bias)


def _rotation(dim: int) -> Tensor:
    return torch.linalg.qr(torch.randn(dim, dim))[0]
