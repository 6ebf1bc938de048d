"""The joint objective: L = L_CE + 0.05 L_BEV + 0.075 (L_pos + 3.5 L_ori) (arXiv 2603.18002, section 3).

Every loss takes a mask of what is supervised. Targets outside it may hold anything, NaN included, and neither they nor
an empty mask make a loss or a gradient NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from loc3r_ros.model.circular import wrapped_gaussian
from loc3r_ros.model.config import require
from loc3r_ros.model.heads import Gaussian
from loc3r_ros.model.language import LanguageModel

IGNORED = -100
"""Label of a token that teaches nothing."""


@dataclass(frozen=True)
class LossWeights:
    """Weights of the paper, and how errors count.

    Attributes:
        layout: of L_BEV.
        situation: of L_pos + orientation * L_ori.
        orientation: of L_ori.
        heading_sigma: two of the paper's 36 bins (its sigma of 2 has no unit), radians.
        tails: degrees of freedom of the Student t distribution that errors of places are drawn from: the fewer, the
            less a place counts that is far from where it was thought to be. 0 is the paper's Gaussian.
        even: how far places of all sigmas are weighed alike, 0 to 1; see `place_nll`.
    """

    layout: float = 0.05
    situation: float = 0.075
    orientation: float = 3.5
    heading_sigma: float = math.radians(20)
    tails: float = 0.0
    even: float = 0.0

    def __post_init__(self) -> None:
        require(self.tails >= 0, f"objective.tails must be at least 0, not {self.tails}.")
        require(0 <= self.even <= 1, f"objective.even must be between 0 and 1, not {self.even}.")

    def place(self, predicted: Gaussian, target: Tensor, mask: Tensor) -> Tensor:
        """Return how wrong places are, by these weights: see `place_nll`."""
        return place_nll(predicted, target, mask, self.tails, self.even)


@dataclass(frozen=True)
class Losses:
    """The parts of the objective, scalars, and their weighted sum."""

    language: Tensor
    layout: Tensor
    position: Tensor
    orientation: Tensor

    def total(self, weights: LossWeights) -> Tensor:
        """Return the paper's weighted sum."""
        situation = self.position + weights.orientation * self.orientation
        return self.language + weights.layout * self.layout + weights.situation * situation


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of values where the mask holds; 0, with zero gradients, where it holds nowhere."""
    return torch.where(mask, values, torch.zeros_like(values)).sum() / mask.sum().clamp_min(1)


def place_nll(predicted: Gaussian, target: Tensor, mask: Tensor, tails: float = 0.0, even: float = 0.0) -> Tensor:
    """Return the mean of 1/2 sum over x, y of (error^2 / sigma^2 + log sigma^2), L_BEV and L_pos.

    An error counts by the inverse square of its sigma there, so that a step follows the few places that were thought to
    be known best and are elsewhere. With `tails` the Gaussian is a Student t distribution, whose gradient is bounded.
    With `even` each place counts sigma^(2 even) times, a factor without a gradient (beta-NLL, arXiv 2203.09168).

    Args:
        predicted: (..., 2); with `tails`, sigma is the scale of that distribution.
        target: (..., 2) metres.
        mask: (...) bool, True where the target is real.
        tails: degrees of freedom; 0 is the Gaussian.
        even: 0 is the likelihood; 1 gives means the gradient of a squared error.
    """
    target = torch.where(mask[..., None], target.float(), torch.zeros_like(predicted.mean))
    squared = ((predicted.mean - target).square() * torch.exp(-predicted.log_variance)).sum(dim=-1)
    volume = 0.5 * predicted.log_variance.sum(dim=-1)
    far = 0.5 * (tails + 2) * torch.log1p(squared / tails) if tails else 0.5 * squared
    return masked_mean((far + volume) * (even * volume.detach()).exp(), mask)


def heading_divergence(logits: Tensor, heading: Tensor, mask: Tensor, sigma: float) -> Tensor:
    """Return the mean KL divergence from the predicted heading to a Gaussian wrapped around the true one, L_ori.

    Args:
        logits: (..., bins).
        heading: (...) radians, any turn.
        mask: (...) bool, True where the heading is real.
        sigma: standard deviation of the target, radians.
    """
    heading = torch.where(mask, heading.float(), torch.zeros_like(logits[..., 0]))
    target = wrapped_gaussian(heading, sigma, logits.shape[-1])
    divergence = torch.xlogy(target, target) - target * F.log_softmax(logits, dim=-1)
    return masked_mean(divergence.sum(dim=-1), mask)


def language_loss(model: LanguageModel, hidden: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of the next token, L_CE; logits cost much: pass only hidden states with a label.

    Args:
        model: whose vocabulary the labels are.
        hidden: (..., hidden_size) hidden states.
        labels: (...) ids of the tokens that follow, IGNORED where nothing is to be learned.
    """
    logits = model.logits(hidden).float().flatten(0, -2)
    loss = F.cross_entropy(logits, labels.flatten(), ignore_index=IGNORED, reduction="sum")
    return loss / (labels != IGNORED).sum().clamp_min(1)
