"""Lessons of a language model that learns from nothing: what it is taught besides the paper's objective.

Where tokens are to look is in `train.grounding`. What they are to know is said in the words and by the heads that the
model has, so that the network which runs on the robot is the same without the lessons.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from loc3r_ros.model.language import Cache, LanguageModel, cache_length
from loc3r_ros.model.loc3r import Loc3R
from loc3r_ros.model.losses import gaussian_nll, language_loss, masked_mean
from loc3r_ros.train.grounding import (
    Inputs,
    Referred,
    Taught,
    answer_references,
    attention_of,
    columns_of,
    log_look,
    look_loss,
    places,
    pose_references,
    refer_loss,
    seen_from,
)
from loc3r_ros.train.packing import JointBatch, Texts

LOOKS = ("look", "refer", "ask", "stand", "tint", "aside")
"""Lessons that count as much as `joint.grounding` says."""
PLACES = ("named", "posed")
"""Lessons of the layout head, which count as L_BEV does."""
SEEN = 5
"""Numbers that `seen_from` returns of an answer."""
READ = 4.0
"""Metres for one unit of the last norm's output."""


class Watched(NamedTuple):
    """What a pass leaves for the lessons.

    Attributes:
        inputs: of the attention of the taught layers over the texts.
        cache: of the videos' P tokens and the texts' S.
    """

    inputs: dict[int, Inputs]
    cache: Cache


class Lessons(nn.Module):
    """The lessons. They have no parameters.

    Args:
        width: of hidden states.
    """

    reading: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("reading", fixed_reading(width), persistent=False)

    def forward(self, model: Loc3R, batch: JointBatch, text: Tensor, watched: Watched) -> dict[str, Tensor]:
        """Return how wrong tokens look, and how wrong it is what they say of what they name.

        Args:
            model: whose language model has seen the batch.
            batch: with what is shown of what the texts name.
            text: (B, S, width) hidden states of the texts after the last norm.
            watched: of that pass.
        """
        shown, texts, layout_of = batch.shown.flatten(2), batch.texts, model.heads.layout_of  # type: ignore[union-attr]
        where, known = places(shown, batch.layout.flatten(1, 2), batch.layout_valid.flatten(1, 2))
        columns, lie, posed = poses_in_places(texts)
        aside, asked = seen_from(texts, where, known)
        read = columns_of(text, texts.before).float() @ self.reading
        named = columns_of(text, texts.named)
        return {
            "look": _looks(model.language, batch, shown, watched),
            **_references(model.language, texts, (where, known), watched),
            "tint": language_loss(model.language, named, batch.tint),  # type: ignore[arg-type]
            "named": gaussian_nll(layout_of(named), where, known),
            "posed": gaussian_nll(layout_of(columns_of(text, columns)), lie, posed),
            "aside": masked_mean(F.smooth_l1_loss(read, aside, reduction="none"), asked),
        }


def total(lessons: Mapping[str, Tensor], names: Iterable[str]) -> Tensor:
    """Return the sum of some lessons."""
    return torch.stack([lessons[name] for name in names]).sum()


def fixed_reading(width: int) -> Tensor:
    """Return the (width, 5) directions in which an answer's token says what `seen_from` returns.

    Nothing else reads them: with fixed ones there is no head to learn, to keep and to drop.
    """
    directions = torch.randn(max(width, SEEN), SEEN, generator=torch.Generator().manual_seed(0))
    return torch.linalg.qr(directions)[0][:width] * READ


def poses_in_places(texts: Texts) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the layout head is to say of poses: `<Pos>` where one stands, `<Ori>` what is a metre ahead.

    So a heading is a place like others: what lies where, seen from a pose, is products of places.

    Returns:
        (B, 2 K) columns, (B, 2 K, 2) places in metres, and (B, 2 K) bool whether they are known.
    """
    here, heading = texts.pose[..., :2], texts.pose[..., 2]
    ahead = here + torch.stack((heading.cos(), heading.sin()), dim=-1)
    columns = torch.cat((texts.position, texts.orientation), dim=1)
    return columns, torch.cat((here, ahead), dim=1), torch.cat((texts.posed, texts.posed), dim=1)


def _looks(language: LanguageModel, batch: JointBatch, shown: Tensor, watched: Watched) -> Tensor:
    """Return how wrong names look at patches, the mean over the layers that are taught it."""
    before = cache_length(watched.cache) - batch.texts.ids.shape[1]
    patches, losses = batch.patches.flatten(), []
    for layer in Taught.of(language).words:
        keys = watched.cache[layer].keys[:, :, :before]
        look = log_look(attention_of(language, layer), watched.inputs[layer], keys, batch.texts.named)
        losses.append(look_loss(look.index_select(-1, patches), shown[:, None]))
    return torch.stack(losses).mean()


def _references(
    language: LanguageModel, texts: Texts, places: tuple[Tensor, Tensor], watched: Watched
) -> dict[str, Tensor]:
    """Return how wrong poses look at names, and answers at names and poses."""

    def refer(layer: int, to: Referred, later: bool = True) -> Tensor:
        attention, keys = attention_of(language, layer), watched.cache[layer].keys
        return refer_loss(attention, watched.inputs[layer], keys, texts, to, later)

    taught, (names, poses) = Taught.of(language), answer_references(texts)
    return {
        "refer": refer(taught.poses, pose_references(texts, *places)),
        "ask": refer(taught.answers, names),
        "stand": refer(taught.answers, poses, later=False),
    }
