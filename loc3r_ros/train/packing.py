"""Many questions behind one video: texts stand side by side in one row, and none sees another.

The video's keys and values are computed once for a scene; each token of a text sees all of them and what stands before
it in its own text, at the positions that it would have alone. This equals separate passes and costs a fraction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loc3r_ros.data.mentions import ANY_COLOUR, NOTHING, Names
from loc3r_ros.data.suffixes import UNSUPERVISED, Suffix

PADDING = -1
NOWHERE = (0.0, 0.0, 0.0)


class Texts(NamedTuple):
    """The packed texts of B scenes: S tokens each, of at most K texts.

    Attributes:
        ids: (B, S), 0 where padding.
        text: (B, S) index of the text that a token belongs to, PADDING behind the last.
        place: (B, S) index of the token in its text.
        position: (B, K) column of each text's `<Pos>`; 0 where it has none.
        orientation: (B, K) the same for `<Ori>`.
        pose: (B, K, 3) true x, y and heading in the anchor frame.
        posed: (B, K) whether there is such a pose, and tokens to read it from.
        amount: (B, K) how long or how many that is which is asked for (see `Suffix`); 0 where something else is asked.
        before: (B, A) columns of the tokens that an answer's tokens follow; 0 where padding.
        answer: (B, A) the ids that are to follow them, UNSUPERVISED where padding.
        named: (B, M) columns of the tokens that name a piece of furniture or a side; 0 where padding.
        category: (B, M) what they name (see `Mentions`), NOTHING where padding.
        colour: (B, M) its colour.
    """

    ids: Tensor
    text: Tensor
    place: Tensor
    position: Tensor
    orientation: Tensor
    pose: Tensor
    posed: Tensor
    amount: Tensor
    before: Tensor
    answer: Tensor
    named: Tensor
    category: Tensor
    colour: Tensor


class Shown(NamedTuple):
    """What B videos of F frames show of the M things that their texts name.

    Attributes:
        share: (B, M, F, patches) share of each patch in what is seen of it, 1 in sum; 0 where nothing is.
        where: (B, M, 2) x, y in the anchor frame, metres, the mean over all that is seen of it.
        front: (B, M, 2) which way that faces, on average (see `train.surfaces`).
        known: (B, M) bool whether any of it is seen.
        tint: (B, M) id of the word for its colour, UNSUPERVISED where unknown.
        facing: (B, F, patches, 2) which way all that a patch shows faces.
    """

    share: Tensor
    where: Tensor
    front: Tensor
    known: Tensor
    tint: Tensor
    facing: Tensor


class JointBatch(NamedTuple):
    """B scenes of F frames with their texts.

    Attributes:
        prefix: (P,) ids before the video.
        vision: (B, F, grid * grid, width) features of the vision tower.
        camera: (B, F, camera_dim) camera tokens.
        layout: (B, F, patches, 2) x, y of the patches in the anchor frame, metres.
        layout_valid: (B, F, patches) bool.
        patches: (F, patches) places of the patches' tokens in prefix and video.
        shown: what the lessons ask for, None without them.
        texts: what stands behind the videos.
    """

    prefix: Tensor
    vision: Tensor
    camera: Tensor
    layout: Tensor
    layout_valid: Tensor
    patches: Tensor
    shown: Shown | None
    texts: Texts


class TextRow(NamedTuple):
    """The texts of one scene side by side: S tokens of K texts, without padding; see `Texts`."""

    ids: NDArray[np.int64]
    text: NDArray[np.int64]
    place: NDArray[np.int64]
    position: NDArray[np.int64]
    orientation: NDArray[np.int64]
    pose: NDArray[np.float32]
    posed: NDArray[np.bool_]
    amount: NDArray[np.float32]
    before: NDArray[np.int64]
    answer: NDArray[np.int64]
    named: NDArray[np.int64]
    category: NDArray[np.int64]
    colour: NDArray[np.int64]


class Room(NamedTuple):
    """What the texts of a scene may take, so that all batches have one shape.

    Attributes:
        tokens: of all texts together.
        texts: their number.
    """

    tokens: int
    texts: int

    @property
    def answers(self) -> int:
        """Tokens of all answers together: a quarter."""
        return self.tokens // 4

    @property
    def mentions(self) -> int:
        """Furniture and sides that are named: a fifth of the tokens, more than the world's texts name."""
        return self.tokens // 5

    def choose(self, suffixes: Sequence[Suffix]) -> list[Suffix]:
        """Return the suffixes that there is room for, the first ones first."""
        chosen: list[Suffix] = []
        tokens = answers = 0
        for one in suffixes[: self.texts]:
            supervised = int((one.labels != UNSUPERVISED).sum())
            if tokens + len(one.ids) <= self.tokens and answers + supervised <= self.answers:
                chosen.append(one)
                tokens, answers = tokens + len(one.ids), answers + supervised
        return chosen


def join_texts(suffixes: Sequence[Suffix], names: Names | None = None) -> TextRow:
    """Put the texts of a scene side by side; with `names` it is known where they name furniture."""
    lengths = [len(one.ids) for one in suffixes]
    starts = np.cumsum([0, *lengths])[: len(lengths)]
    posed = [one.position >= 0 and one.pose is not None for one in suffixes]
    labels = _joined([one.labels for one in suffixes])
    answered = np.flatnonzero(labels != UNSUPERVISED)
    ids = _joined([one.ids for one in suffixes])
    mentions = (names or Names({}, {})).find(ids)
    return TextRow(
        ids=ids,
        text=np.repeat(np.arange(len(lengths)), lengths),
        place=_joined([np.arange(size) for size in lengths]),
        position=starts + np.array([max(one.position, 0) for one in suffixes], np.int64),
        orientation=starts + np.array([max(one.orientation, 0) for one in suffixes], np.int64),
        pose=np.array([one.pose or NOWHERE for one in suffixes], np.float32).reshape(-1, 3),
        posed=np.array(posed, np.bool_),
        amount=np.array([one.amount for one in suffixes], np.float32),
        before=answered - 1,
        answer=labels[answered],
        named=mentions.column,
        category=mentions.category,
        colour=mentions.colour,
    )


def pack_texts(rows: Sequence[TextRow], device: torch.device, room: Room | None = None) -> Texts:
    """Pack the texts of B scenes, padded to the longest, or to what there is room for."""
    longest = [max(1, *(len(part) for part in parts)) for parts in zip(*rows, strict=True)]
    sizes = [room.tokens] * 3 + [room.texts] * 5 + [room.answers] * 2 + [room.mentions] * 3 if room else longest
    values = [0, PADDING, 0, 0, 0, 0, 0, 0, 0, UNSUPERVISED, 0, NOTHING, ANY_COLOUR]
    parts = [_padded(*one) for one in zip(zip(*rows, strict=True), sizes, values, strict=True)]
    return Texts(*(torch.from_numpy(part).to(device, non_blocking=True) for part in parts))


def _joined(parts: Sequence[NDArray]) -> NDArray[np.int64]:
    return np.concatenate([np.empty(0, np.int64), *parts]).astype(np.int64)


def _padded(arrays: Sequence[NDArray], size: int, value: int) -> NDArray:
    padded = np.full((len(arrays), size, *arrays[0].shape[1:]), value, arrays[0].dtype)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return padded


def even_frames(walk: int, frames: int) -> NDArray[np.intp]:
    """Return the indices of `frames` of a walk's frames, evenly spread from the first to the last."""
    return np.linspace(0, walk - 1, min(frames, walk)).round().astype(np.intp)


def visible(text: Tensor, before: int) -> Tensor:
    """Return (B, S, before + S) bool: what the tokens of packed texts may see, besides that nobody sees what follows.

    Args:
        text: (B, S) index of the text that each token belongs to.
        before: tokens before the texts, which all see.
    """
    same = text[:, :, None] == text[:, None, :]
    return torch.cat((same.new_ones(*text.shape, before), same), dim=-1)
