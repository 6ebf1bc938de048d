"""Lessons of a language model that learns from nothing: what it is taught besides the paper's objective.

Where tokens are to look is in `train.grounding`. What they are to know is said in the words and by the heads that the
model has, so that the network which runs on the robot is the same without the lessons.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from loc3r_ros.model.language import Cache, LanguageModel, cache_length
from loc3r_ros.model.loc3r import Loc3R
from loc3r_ros.model.losses import LossWeights, language_loss, masked_mean
from loc3r_ros.train.grounding import Inputs, Passes, Taught, attention_of, columns_of, log_look, look_loss
from loc3r_ros.train.packing import JointBatch, Shown, Texts
from loc3r_ros.train.references import (
    PoseNames,
    Referred,
    answer_references,
    asked_amounts,
    chosen_names,
    named_amounts,
    pose_names,
    pose_references,
    poses_apart,
    refer_loss,
    seen_from,
    towards,
)

LOOKS = (
    "look",
    "refer",
    "relate",
    "flank",
    "ask",
    "stand",
    "choose",
    "tint",
    "surface",
    "front",
    "apart",
    "amount",
    "asked",
    "aside",
    "towards",
)
"""Lessons that count as much as `joint.grounding` says."""
PLACES = ("early", "named", "posed")
"""Lessons of the layout head, which count as L_BEV does."""
UNIT = 3.0
"""Of what is said of a surface that all of a patch, or of a named thing, faces one way."""
APART = 4.0
"""Weight of how far apart poses say that they are: where the observer stands from a thing follows it."""
SEEN = 5
"""Numbers that `seen_from` returns of an answer."""
SHARPNESS = 4.0
"""Of the look at which names read where things lie: what only may show a thing is not to draw its place away."""
READ = 2.0
"""Cosines for one unit of the last norm's output."""


class Watched(NamedTuple):
    """What the passes over videos and texts leave for the lessons.

    Attributes:
        passes: what `watching` has kept of both.
        cache: of the videos' P tokens and the texts' S.
    """

    passes: Passes
    cache: Cache

    def video(self, layer: int) -> Tensor:
        """Return the (B, P, width) hidden states of the videos that enter a taught layer."""
        return self.passes[layer][0]["hidden_states"]

    def texts(self, layer: int) -> Inputs:
        """Return the inputs of the attention of a taught layer over the texts."""
        return self.passes[layer][1]

    def said(self, layer: int, columns: Tensor) -> Tensor:
        """Return the (B, M, width) hidden states of the texts that enter a taught layer at columns (B, M)."""
        return columns_of(self.texts(layer)["hidden_states"], columns)


class Lessons(nn.Module):
    """The lessons. They have no parameters: what is said is read in fixed directions, which nothing else reads.

    With fixed ones there is no head to learn, to keep and to drop.

    Args:
        width: of hidden states.
        weights: of the objective, for how errors of places count.
    """

    seen: Tensor
    side: Tensor
    amount: Tensor
    front: Tensor
    apart: Tensor

    def __init__(self, width: int, weights: LossWeights) -> None:
        super().__init__()
        self.weights = weights
        for name, directions in readings(width)._asdict().items():
            self.register_buffer(name, directions, persistent=False)

    def forward(self, model: Loc3R, batch: JointBatch, text: Tensor, watched: Watched) -> dict[str, Tensor]:
        """Return how wrong tokens look, and how wrong it is what they say of what they name.

        Args:
            model: whose language model has seen the batch.
            batch: with what is shown of what the texts name.
            text: (B, S, width) hidden states of the texts after the last norm.
            watched: of that pass.
        """
        language, texts, named = model.language, batch.texts, columns_of(text, batch.texts.named)
        shown = cast(Shown, batch.shown)
        known = shown.where, shown.known
        poses = pose_names(texts, *known)
        return {
            "look": _looks(language, batch, shown.share.flatten(2), watched),
            **_references(language, texts, poses, watched),
            **self._answers(language, texts, known, (text, watched)),
            **self._places(model, batch, known, (text, watched)),
            **self._fronts(language, batch, shown, watched),
            "apart": self._poses(language, texts, (poses, shown.where), watched),
            **self._amounts(language, texts, watched),
            "tint": language_loss(language, named, shown.tint),
        }

    def _answers(
        self, language: LanguageModel, texts: Texts, places: tuple[Tensor, Tensor], passed: tuple[Tensor, Watched]
    ) -> dict[str, Tensor]:
        """Return how wrong it is what answers say: before the last layer where things lie, after it at which side."""
        text, watched = passed
        seen, known = seen_from(texts, *places)
        early = watched.said(Taught.of(language).choices, texts.before).float()
        late = READ * columns_of(text, texts.before).float() @ self.side
        return {
            "aside": _apart(early @ self.seen, seen, known),
            "towards": _apart(late, towards(texts, seen), known[..., 0]),
        }

    def _places(
        self, model: Loc3R, batch: JointBatch, known: tuple[Tensor, Tensor], passed: tuple[Tensor, Watched]
    ) -> dict[str, Tensor]:
        """Return how wrong it is where patches and names say that they lie, and poses.

        Patches are asked where names look at them, and names where poses do: what is known later is of no use.
        """
        (text, watched), texts, taught = passed, batch.texts, Taught.of(model.language)
        columns, lie, posed = poses_in_places(texts)
        patches = watched.video(taught.words[-1]).index_select(1, batch.patches.flatten())
        names = watched.said(taught.poses, texts.named)
        asked = {
            "early": (model.language.norm(patches.unflatten(1, batch.patches.shape)), batch.layout, batch.layout_valid),
            "named": (model.language.norm(names), *known),
            "posed": (columns_of(text, columns), lie, posed),
        }
        return {
            name: self.weights.place(model.heads.layout_of(hidden), where, valid)
            for name, (hidden, where, valid) in asked.items()
        }

    def _fronts(self, language: LanguageModel, batch: JointBatch, shown: Shown, watched: Watched) -> dict[str, Tensor]:
        """Return how wrong it is which way patches say that they face, where names look, then names, where poses do."""
        taught, facing = Taught.of(language), shown.facing.flatten(1, 2)
        everywhere = torch.ones_like(facing[..., 0], dtype=torch.bool)
        patches = watched.video(taught.words[-1]).index_select(1, batch.patches.flatten()).float() @ self.front
        names = watched.said(taught.poses, batch.texts.named).float() @ self.front
        return {
            "surface": _apart(patches, UNIT * facing, everywhere[..., None]),
            "front": _apart(names, UNIT * shown.front, shown.known[..., None]),
        }

    def _poses(
        self, language: LanguageModel, texts: Texts, names: tuple[PoseNames, Tensor], watched: Watched
    ) -> Tensor:
        """Return how wrong it is how far poses say that they are from what they refer to, before the last layer."""
        apart, known = poses_apart(texts, *names)
        said = watched.said(Taught.of(language).choices, names[0].columns).float() @ self.apart
        return APART * _apart(said, apart, known[..., None])

    def _amounts(self, language: LanguageModel, texts: Texts, watched: Watched) -> dict[str, Tensor]:
        """Return how wrong it is how long, or how many, names say that things are, where answers look, then answers."""
        taught = Taught.of(language)
        names = watched.said(taught.answers, texts.named).float()
        answers = watched.said(taught.choices, texts.before).float()
        return {
            "amount": _apart(names @ self.amount, *named_amounts(texts)),
            "asked": _apart(answers @ self.amount, *asked_amounts(texts)),
        }


class Readings(NamedTuple):
    """Directions in which tokens say what they know: orthogonal, and 1 long.

    Attributes:
        seen: (width, 5) in which an answer says what `seen_from` returns.
        side: (width,) in which it says what `towards` returns.
        amount: (width,) in which a name, and an answer, says how long a thing is, or how many there are.
        front: (width, 2) in which a patch, and a name, says which way what it shows faces, in the anchor frame.
        apart: (width, 2) in which a pose says what `poses_apart` returns.
    """

    seen: Tensor
    side: Tensor
    amount: Tensor
    front: Tensor
    apart: Tensor


def readings(width: int) -> Readings:
    """Return the directions for a width: the same ones each time."""
    random = torch.Generator().manual_seed(0)
    counts = (SEEN, 1, 1, 2, 2)
    drawn = [torch.randn(max(width, sum(counts)), count, generator=random) for count in counts]
    parts = torch.linalg.qr(torch.cat(drawn, dim=1))[0][:width].split(counts, dim=1)
    seen, side, amount, front, apart = (part.contiguous() for part in parts)
    return Readings(seen, side[:, 0], amount[:, 0], front, apart)


def _apart(said: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Return how far apart what is said and the truth are, the mean over what is known."""
    return masked_mean(F.smooth_l1_loss(said, truth, reduction="none"), known.expand_as(said))


def total(lessons: Mapping[str, Tensor], names: Iterable[str]) -> Tensor:
    """Return the sum of some lessons."""
    return torch.stack([lessons[name] for name in names]).sum()


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
    words = Taught.of(language).words
    for layer in words:
        keys = watched.cache[layer].keys[:, :, :before]
        sharpness = SHARPNESS if layer == words[-1] else 1.0
        look = log_look(
            attention_of(language, layer), watched.texts(layer), keys, batch.texts.named, sharpness=sharpness
        )
        # Gradients of what is looked at so softly are that much smaller.
        losses.append(sharpness * look_loss(look.index_select(-1, patches), shown[:, None]))
    return torch.stack(losses).mean()


def _references(language: LanguageModel, texts: Texts, named: PoseNames, watched: Watched) -> dict[str, Tensor]:
    """Return how wrong poses look at names, and answers at names and poses."""

    def refer(layer: int, to: Referred, later: bool = True) -> Tensor:
        attention, keys = attention_of(language, layer), watched.cache[layer].keys
        return refer_loss(attention, watched.texts(layer), keys, texts, to, later)

    taught, (names, poses) = Taught.of(language), answer_references(texts)
    first, then, besides = pose_references(texts, named)
    return {
        "refer": refer(taught.poses, first),
        "relate": refer(taught.relations, then),
        "flank": refer(taught.relations, besides, later=False),
        "ask": refer(taught.answers, names),
        "stand": refer(taught.answers, poses, later=False),
        "choose": refer(taught.choices, chosen_names(texts)),
    }
