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

from loc3r_ros.data.cache import SceneFeatures
from loc3r_ros.data.suffixes import UNSUPERVISED, Suffix

PADDING = -1
NOWHERE = (0.0, 0.0, 0.0)


class Texts(NamedTuple):
    """The packed texts of B scenes: S tokens each, of at most K texts.

    Attributes:
        ids: (B, S), 0 where padding.
        labels: (B, S), UNSUPERVISED where nothing is to be learned.
        text: (B, S) index of the text that a token belongs to, PADDING behind the last.
        place: (B, S) index of the token in its text.
        position: (B, K) column of each text's `<Pos>`; 0 where it has none.
        orientation: (B, K) the same for `<Ori>`.
        pose: (B, K, 3) true x, y and heading in the anchor frame.
        posed: (B, K) whether there is such a pose, and tokens to read it from.
    """

    ids: Tensor
    labels: Tensor
    text: Tensor
    place: Tensor
    position: Tensor
    orientation: Tensor
    pose: Tensor
    posed: Tensor


class JointBatch(NamedTuple):
    """B scenes of F frames with their texts.

    Attributes:
        prefix: (P,) ids before the video.
        vision: (B, F, grid * grid, width) features of the vision tower.
        camera: (B, F, camera_dim) camera tokens.
        layout: (B, F, patches, 2) x, y of the patches in the anchor frame, metres.
        layout_valid: (B, F, patches) bool.
        texts: what stands behind the videos.
    """

    prefix: Tensor
    vision: Tensor
    camera: Tensor
    layout: Tensor
    layout_valid: Tensor
    texts: Texts


def pack_texts(scenes: Sequence[Sequence[Suffix]], device: torch.device) -> Texts:
    """Pack the texts of B scenes."""
    length = max(1, *(sum(len(one.ids) for one in suffixes) for suffixes in scenes))
    count = max(1, *(len(suffixes) for suffixes in scenes))
    rows = [_row(suffixes, length, count) for suffixes in scenes]
    return Texts(*(torch.from_numpy(np.stack(parts)).to(device) for parts in zip(*rows, strict=True)))


def _row(suffixes: Sequence[Suffix], length: int, count: int) -> tuple[NDArray, ...]:
    lengths = [len(one.ids) for one in suffixes]
    starts = np.cumsum([0, *lengths])[: len(lengths)]
    unused = count - len(suffixes)
    posed = [one.position >= 0 and one.pose is not None for one in suffixes]
    return (
        _padded([one.ids for one in suffixes], length, 0),
        _padded([one.labels for one in suffixes], length, UNSUPERVISED),
        _padded([np.full(size, number) for number, size in enumerate(lengths)], length, PADDING),
        _padded([np.arange(size) for size in lengths], length, 0),
        _padded([starts + np.array([max(one.position, 0) for one in suffixes], np.int64)], count, 0),
        _padded([starts + np.array([max(one.orientation, 0) for one in suffixes], np.int64)], count, 0),
        np.array([one.pose or NOWHERE for one in suffixes] + [NOWHERE] * unused, np.float32),
        np.array(posed + [False] * unused),
    )


def _padded(parts: Sequence[NDArray], length: int, value: int) -> NDArray[np.int64]:
    joined = np.concatenate([np.empty(0, np.int64), *parts]).astype(np.int64)
    return np.pad(joined, (0, length - len(joined)), constant_values=value)


def pack_scenes(
    prefix: NDArray[np.int64],
    features: Sequence[SceneFeatures],
    suffixes: Sequence[Sequence[Suffix]],
    frames: int,
    device: torch.device,
) -> JointBatch:
    """Join scenes; of each walk's frames, `frames` are taken evenly, the first and the last among them."""
    kept = even_frames(len(features[0].vision), frames)
    layout = np.stack([one.truth.layout[kept] for one in features])
    valid = np.stack([one.truth.layout_valid[kept] for one in features])
    return JointBatch(
        prefix=torch.from_numpy(prefix).to(device),
        vision=torch.from_numpy(np.stack([one.vision[kept] for one in features])).to(device),
        camera=torch.from_numpy(np.stack([one.camera[kept] for one in features])).to(device),
        layout=torch.from_numpy(layout).flatten(2, 3).to(device),
        layout_valid=torch.from_numpy(valid).flatten(2, 3).to(device),
        texts=pack_texts(suffixes, device),
    )


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
