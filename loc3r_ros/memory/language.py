"""One run of the language graph: which tokens, on which past, and what is wanted of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loc3r_ros.engines import EngineSet
from loc3r_ros.engines.protocol import Array, Value
from loc3r_ros.memory.cache import Cache, CacheView

NO_ROWS: tuple[int, ...] = ()


@dataclass(frozen=True)
class Heads:
    """What was asked for, one row for each row asked.

    Attributes:
        layout: (A, 4) x, y in metres and log variances, of patch tokens.
        position: (B, 4) the same of `<Pos>`.
        orientation: (C, 36) logits of the heading.
        logits: (D, vocabulary) logits of the next token.
    """

    layout: Array
    position: Array
    orientation: Array
    logits: Array


def append_tokens(
    engines: EngineSet,
    embeddings: Array,
    start: int,
    prefix: CacheView,
    suffix: CacheView,
    into: Cache,
    *,
    layout_rows: Sequence[int] | Array = NO_ROWS,
    position_rows: Sequence[int] = NO_ROWS,
    orientation_rows: Sequence[int] = NO_ROWS,
    logit_rows: Sequence[int] = NO_ROWS,
) -> Heads:
    """Run tokens on the cached past and append their cache rows to `into`.

    Args:
        engines: the model.
        embeddings: (T, width).
        start: position id of the first token.
        prefix: cache of the tokens that come first.
        suffix: cache of those between them and the new ones; it may be empty.
        into: receives the new rows: the cache that `prefix` (frames) or `suffix` (a question) is a view of.
        layout_rows: rows of `embeddings` that are patches.
        position_rows: rows of `<Pos>`.
        orientation_rows: rows of `<Ori>`.
        logit_rows: rows whose next token is asked for.
    """
    rows = {
        "layout_rows": layout_rows,
        "position_rows": position_rows,
        "orientation_rows": orientation_rows,
        "logit_rows": logit_rows,
    }
    inputs: dict[str, Value] = {
        "embeddings": embeddings,
        "start": np.array([start]),
        **{name: np.asarray(indices, dtype=np.int64) for name, indices in rows.items()},
        **prefix.inputs("prefix", engines.prefix_rows),
        **suffix.inputs("suffix", engines.suffix_rows),
    }
    outputs = engines.language.run(inputs, into=into.tail(len(embeddings)))
    into.advance(len(embeddings))
    return Heads(**outputs)
