"""What Loc3R-VLM reads from the language model's last hidden states, besides words (arXiv 2603.18002, section 3)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from loc3r_ros.model.projector import two_layer_mlp

MIN_LOG_VARIANCE = 2 * math.log(0.01)
MAX_LOG_VARIANCE = 2 * math.log(100.0)
"""Standard deviations stay between 1 cm and 100 m."""


class Gaussian(NamedTuple):
    """Independent Gaussians over bird's-eye-view x and y.

    Attributes:
        mean: (..., 2) metres in the anchor frame.
        log_variance: (..., 2) natural logarithm of the variance in m^2, softly bounded.
    """

    mean: Tensor
    log_variance: Tensor

    @property
    def sigma(self) -> Tensor:
        """Standard deviations, (..., 2) metres."""
        return (0.5 * self.log_variance).exp()


def bound_log_variance(raw: Tensor) -> Tensor:
    """Bend `raw` softly into [MIN_LOG_VARIANCE, MAX_LOG_VARIANCE]: the identity inside, and a gradient everywhere."""
    upper = MAX_LOG_VARIANCE - F.softplus(MAX_LOG_VARIANCE - raw)
    return MIN_LOG_VARIANCE + F.softplus(upper - MIN_LOG_VARIANCE)


def as_gaussian(raw: Tensor) -> Gaussian:
    """Read (..., 4) head outputs as (x, y, log variance of x, log variance of y), in float32."""
    raw = raw.float()
    return Gaussian(raw[..., :2], bound_log_variance(raw[..., 2:]))


class Heads(nn.Module):
    """Layout head on vision patch tokens, position head on `<Pos>`, orientation head on `<Ori>`."""

    def __init__(self, width: int, hidden: int, heading_bins: int) -> None:
        super().__init__()
        self.layout = nn.Linear(width, 4)
        self.position = two_layer_mlp(width, hidden, 4)
        self.orientation = two_layer_mlp(width, hidden, heading_bins)

    def layout_of(self, hidden: Tensor) -> Gaussian:
        """Return where the patches lie, from their hidden states (..., hidden_size)."""
        return as_gaussian(self.layout(hidden))

    def position_of(self, hidden: Tensor) -> Gaussian:
        """Return where the observer stands, from the hidden state of `<Pos>` (..., hidden_size)."""
        return as_gaussian(self.position(hidden))

    def heading_logits(self, hidden: Tensor) -> Tensor:
        """Return (..., heading_bins) float32 logits of the heading, from the hidden state of `<Ori>`."""
        return self.orientation(hidden).float()
