"""Attention blocks of CUT3R. Attribute names are those of the official checkpoints.

Shapes: tokens are (B, N, dim); heads are contiguous channels; attention is softmax(q k^T / sqrt(head_dim)) v.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from loc3r_ros.model.config import PosePriorConfig
from loc3r_ros.model.cut3r.rope import Rope, rotate

MLP_RATIO = 4
LayerNorm = partial(nn.LayerNorm, eps=1e-6)


def split_heads(x: Tensor, heads: int, table: Rope | None = None) -> Tensor:
    """(B, N, dim) -> (B, heads, N, head_dim), turned by the rotary embedding where there is one."""
    x = x.unflatten(-1, (heads, -1)).transpose(1, 2)
    return x if table is None else rotate(x, table)


def merge_heads(x: Tensor) -> Tensor:
    """(B, heads, N, head_dim) -> (B, N, dim)."""
    return x.transpose(1, 2).flatten(2)


class Mlp(nn.Module):
    """Two linear layers with an exact (erf) GELU between them."""

    def __init__(self, dim: int, out_dim: int | None = None) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, MLP_RATIO * dim)
        self.fc2 = nn.Linear(MLP_RATIO * dim, out_dim or dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) -> (..., out_dim)."""
        return self.fc2(F.gelu(self.fc1(x)))


class SelfAttention(nn.Module):
    """Self-attention with one projection for q, k and v."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, table: Rope | None, keep: int | None = None) -> Tensor:
        """Attend among all tokens; `keep` computes the result of the first tokens only."""
        if x.shape[1] == 1:  # the softmax over one key is 1: only the value counts
            return self.proj(self._project(x, 2, 3))
        if keep is None:
            q, k, v = self.qkv(x).chunk(3, dim=-1)
        else:
            q = self._project(x[:, :keep], 0, 1)
            k, v = self._project(x, 1, 3).chunk(2, dim=-1)
        q_table = table if table is None or keep is None else table.tokens(0, keep)
        q, k, v = split_heads(q, self.heads, q_table), split_heads(k, self.heads, table), split_heads(v, self.heads)
        return self.proj(merge_heads(F.scaled_dot_product_attention(q, k, v)))

    def _project(self, x: Tensor, first: int, last: int) -> Tensor:
        """Apply the parts first..last-1 of the projection, in the order q, k, v."""
        rows = slice(first * x.shape[-1], last * x.shape[-1])
        return F.linear(x, self.qkv.weight[rows], self.qkv.bias[rows])


class CrossAttention(nn.Module):
    """Attention of the tokens of one stream to those of the other."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.projq = nn.Linear(dim, dim)
        self.projk = nn.Linear(dim, dim)
        self.projv = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(
        self, x: Tensor, y: Tensor, x_table: Rope | None, y_table: Rope | None, need_affinity: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from x to y; also return the (B, N) affinity of each token of x where it is asked for."""
        if y.shape[1] == 1 and not need_affinity:  # the softmax over one key is 1: only the value counts
            return self.proj(self.projv(y)).expand_as(x), None
        q = split_heads(self.projq(x), self.heads, x_table)
        k = split_heads(self.projk(y), self.heads, y_table)
        v = split_heads(self.projv(y), self.heads)
        out = self.proj(merge_heads(F.scaled_dot_product_attention(q, k, v)))
        return out, mean_logit(q, k) if need_affinity else None


def mean_logit(q: Tensor, k: Tensor) -> Tensor:
    """Return the (B, N) mean over heads and keys of the attention's scaled logits.

    The mean over keys is linear, so the mean key gives it without the matrix of logits.
    """
    return (q * k.mean(dim=2, keepdim=True)).sum(dim=-1).mean(dim=1) * q.shape[-1] ** -0.5


class EncoderBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = LayerNorm(dim)
        self.attn = SelfAttention(dim, heads)
        self.norm2 = LayerNorm(dim)
        self.mlp = Mlp(dim)

    def forward(self, x: Tensor, table: Rope) -> Tensor:
        """(B, N, dim) -> (B, N, dim)."""
        x = x + self.attn(self.norm1(x), table)
        return x + self.mlp(self.norm2(x))


class DecoderBlock(nn.Module):
    """Self-attention in one stream, then cross-attention to the other, then an MLP."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = LayerNorm(dim)
        self.attn = SelfAttention(dim, heads)
        self.cross_attn = CrossAttention(dim, heads)
        self.norm2 = LayerNorm(dim)
        self.norm3 = LayerNorm(dim)
        self.mlp = Mlp(dim)
        self.norm_y = LayerNorm(dim)

    def forward(
        self,
        x: Tensor,
        y: Tensor,
        x_table: Rope | None = None,
        y_table: Rope | None = None,
        keep: int | None = None,
        need_affinity: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Update the tokens x, which read the tokens y.

        Args:
            x: (B, N, dim).
            y: (B, M, dim).
            x_table: rotary embedding of x at this block's head width, or None for none.
            y_table: rotary embedding of y likewise.
            keep: compute the first tokens of x only.
            need_affinity: also return the affinity of each token of x to y.

        Returns:
            (B, keep or N, dim) tokens, and the (B, keep or N) affinity or None.
        """
        x = x[:, :keep] + self.attn(self.norm1(x), x_table, keep)
        kept_table = x_table if x_table is None or keep is None else x_table.tokens(0, keep)
        read, affinity = self.cross_attn(self.norm2(x), self.norm_y(y), kept_table, y_table, need_affinity)
        x = x + read
        return x + self.mlp(self.norm3(x)), affinity


class ModulatedNorm(nn.Module):
    """LayerNorm whose shift and scale follow from a condition."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = LayerNorm(dim)
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(dim, 2 * dim))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Normalise (B, N, dim) under the (B, 1, dim) condition."""
        shift, scale = self.mlp(condition).chunk(2, dim=-1)
        return self.norm(x) * (1 + scale) + shift


class ModulatedBlock(nn.Module):
    """Transformer block under a condition."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = ModulatedNorm(dim)
        self.attn = SelfAttention(dim, heads)
        self.norm2 = ModulatedNorm(dim)
        self.mlp = Mlp(dim)

    def forward(self, x: Tensor, condition: Tensor, table: Rope) -> Tensor:
        """(B, N, dim) under the (B, 1, dim) condition -> (B, N, dim)."""
        x = x + self.attn(self.norm1(x, condition), table)
        return x + self.mlp(self.norm2(x, condition))


class PatchEmbed(nn.Module):
    """Linear embedding of square patches."""

    def __init__(self, patch_size: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, rows * columns, dim), row by row."""
        return self.proj(image).flatten(2).transpose(1, 2)


class PoseMemory(nn.Module):
    """The pose memory: slots of key and value that predict the pose token of a new frame (no rotary embedding)."""

    def __init__(self, config: PosePriorConfig) -> None:
        super().__init__()
        dim, heads, layers = config.decoder_dim, config.memory_heads, config.memory_layers
        self.proj_q = nn.Linear(config.encoder_dim, dim)
        self.masked_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.mem = nn.Parameter(torch.randn(1, config.memory_slots, 2 * dim) * 0.02)
        write_blocks = [DecoderBlock(2 * dim, heads) for _ in range(layers)]
        for block in write_blocks:  # slots attend to one entry: queries and keys never count, and get no gradient
            for part in (block.norm2, block.cross_attn.projq, block.cross_attn.projk):
                part.requires_grad_(False)
        self.write_blocks = nn.ModuleList(write_blocks)
        self.read_blocks = nn.ModuleList(DecoderBlock(2 * dim, heads) for _ in range(layers))

    def key(self, features: Tensor) -> Tensor:
        """Return the (B, 1, dim) key of a frame from its (B, N, encoder_dim) features."""
        return self.proj_q(features.mean(dim=1, keepdim=True))

    def inquire(self, memory: Tensor, key: Tensor) -> Tensor:
        """Return the (B, 1, dim) pose token that the (B, slots, 2 dim) memory predicts for a key."""
        query = torch.cat([key, self.masked_token.expand_as(key)], dim=-1)
        for block in self.read_blocks:
            query, _ = block(query, memory)
        return query.chunk(2, dim=-1)[1]

    def write(self, memory: Tensor, key: Tensor, camera_token: Tensor) -> Tensor:
        """Return the memory after it has seen a (B, 1, dim) key and its camera token."""
        entry = torch.cat([key, camera_token], dim=-1)
        for block in self.write_blocks:
            memory, _ = block(memory, entry)
        return memory
