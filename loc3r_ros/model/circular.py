"""Headings as distributions over uniform bins: bin i of n covers [-pi + i w, -pi + (i + 1) w), w = 2 pi / n."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_TURNS = 3
"""Turns on each side that a wrapped Gaussian sums over: enough up to a sigma of a whole turn."""


def bin_centres(bins: int, device: torch.device | None = None) -> Tensor:
    """Return the (bins,) centre angles, radians."""
    width = 2 * math.pi / bins
    return -math.pi + (torch.arange(bins, device=device, dtype=torch.float32) + 0.5) * width


def wrapped_gaussian(heading: Tensor, sigma: float, bins: int) -> Tensor:
    """Return the (..., bins) probabilities of a Gaussian wrapped around the circle, centred on each heading.

    Args:
        heading: (...) radians, any turn.
        sigma: standard deviation, radians.
        bins: number of uniform bins.
    """
    offset = bin_centres(bins, heading.device).to(heading.dtype) - heading[..., None]
    offset = torch.remainder(offset + math.pi, 2 * math.pi) - math.pi
    turns = 2 * math.pi * torch.arange(-_TURNS, _TURNS + 1, device=heading.device, dtype=heading.dtype)
    exponent = -0.5 * ((offset[..., None] + turns) / sigma) ** 2
    return torch.softmax(torch.logsumexp(exponent, dim=-1), dim=-1)


def _resultant(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    centres = bin_centres(probabilities.shape[-1], probabilities.device).to(probabilities.dtype)
    return (probabilities * centres.cos()).sum(-1), (probabilities * centres.sin()).sum(-1)


def circular_mean(probabilities: Tensor) -> Tensor:
    """Return the heading (...) in (-pi, pi] of (..., bins) probabilities: the paper's circular soft-argmax."""
    x, y = _resultant(probabilities)
    return torch.atan2(y, x)


def circular_std(probabilities: Tensor) -> Tensor:
    """Return the circular standard deviation (...), radians, of (..., bins) probabilities: sqrt(-2 log R)."""
    x, y = _resultant(probabilities)
    length = torch.hypot(x, y).clamp(1e-6, 1.0)
    return torch.sqrt(-2 * torch.log(length))
