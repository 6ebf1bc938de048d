"""Positions of tokens, and the rotary embedding of rows and columns (RoPE 2D, base 100).

The tables are constants of a resolution. They are made once, outside the graph: an exported engine sees plain
multiplications, and the pose token's position (-1, -1) needs no special case.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

BASE = 100.0
POSE_TOKEN_POSITION = (-1.0, -1.0)


class Rope(NamedTuple):
    """What turns the channels of N tokens, each (N, head_dim).

    Attributes:
        cos: cosine of the angle of each channel.
        sin: sine likewise, negative for the first channel of each pair.
    """

    cos: Tensor
    sin: Tensor

    def tokens(self, start: int, stop: int | None) -> Rope:
        """Return the table of some of the tokens."""
        return Rope(self.cos[start:stop], self.sin[start:stop])


class RopeTables(NamedTuple):
    """The tables of one resolution: one for each kind of token and head width.

    Attributes:
        rows: rows of patches.
        encoder: patches, in the encoder.
        image: pose token and patches, in the image stream.
        state: state tokens, in the state stream.
        state_of_image: state tokens, as the image stream reads them.
        image_of_state: pose token and patches, as the state stream reads them.
    """

    rows: int
    encoder: Rope
    image: Rope
    state: Rope
    state_of_image: Rope
    image_of_state: Rope


def grid_positions(rows: int, columns: int) -> Tensor:
    """Return the (rows * columns, 2) row and column of each patch, row by row."""
    row = torch.arange(rows, dtype=torch.float64).repeat_interleave(columns)
    column = torch.arange(columns, dtype=torch.float64).repeat(rows)
    return torch.stack([row, column], dim=-1)


def image_positions(rows: int, columns: int) -> Tensor:
    """Return the (1 + rows * columns, 2) positions of the pose token and the patches."""
    pose_token = torch.tensor([POSE_TOKEN_POSITION], dtype=torch.float64)
    return torch.cat([pose_token, grid_positions(rows, columns)])


def state_positions(count: int) -> Tensor:
    """Return the (count, 2) positions of the state tokens on a grid whose width is even."""
    width = math.isqrt(count)
    width += width % 2
    return grid_positions(-(-count // width), width)[:count]


def rope(positions: Tensor, head_dim: int, device: torch.device | None = None) -> Rope:
    """Return the table, on a device, of (N, 2) positions for heads of `head_dim` channels.

    The first half of a head turns with the row, the second with the column; inside a half of 2 Q channels, channel d
    pairs with channel d + Q at the angle position * 100^(-d / Q).
    """
    quarter = head_dim // 4
    frequencies = BASE ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    angles = positions[:, :, None] * frequencies
    cos = torch.cat([angles.cos(), angles.cos()], dim=-1).flatten(1)
    sin = torch.cat([-angles.sin(), angles.sin()], dim=-1).flatten(1)
    return Rope(cos.float().to(device), sin.float().to(device))


def rotate(x: Tensor, table: Rope) -> Tensor:
    """Turn (..., N, head_dim) queries or keys by the angles of their positions."""
    row_u, row_v, column_u, column_v = x.chunk(4, dim=-1)
    partners = torch.cat([row_v, row_u, column_v, column_u], dim=-1)
    return x * table.cos.to(x.dtype) + partners * table.sin.to(x.dtype)
