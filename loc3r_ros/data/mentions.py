"""Where a text names a piece of furniture or a side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from loc3r_ros.data.dense import CLASSES, COLOUR_NAMES
from loc3r_ros.data.suffixes import UNSUPERVISED
from loc3r_ros.prompt.tokenizer import TextTokenizer
from loc3r_ros.world.furniture import CATEGORIES
from loc3r_ros.world.language import plural

ANY_COLOUR = -1
NOTHING = -1
"""A category that no cell shows."""
SIDE_WORDS = ("front", "left", "behind", "right")
"""What tells `world.language.SIDES` apart."""
FIRST_SIDE = len(CLASSES)
"""Category of the first side, behind those that cells show."""
MOST_PIECES = 4
"""Ids of a word: "TV" is no word in lower case, and " TVs" may be four."""
_WORD_TOKENS = 32


class Mentions(NamedTuple):
    """M mentions in a text.

    Attributes:
        column: (M,) int64 of the token that ends each: that of the category, since the colour stands before it.
        category: (M,) int64 index into `dense.CLASSES`, behind them FIRST_SIDE and an index into SIDE_WORDS.
        colour: (M,) int64 index into `dense.COLOUR_NAMES`, ANY_COLOUR where none is named.
    """

    column: NDArray[np.int64]
    category: NDArray[np.int64]
    colour: NDArray[np.int64]


Words = Mapping[tuple[int, ...], int]
"""Ids of a word -> what it means."""


@dataclass(frozen=True)
class Names:
    """What ids name, where the tokenizer keeps words together.

    Attributes:
        category: furniture, one or many, and sides -> category (see `Mentions`).
        colour: colours -> index into `dense.COLOUR_NAMES`.
        answers: by such an index, the id that is the colour at the beginning of an answer; UNSUPERVISED where a
            tokenizer has none. Empty where no colours are asked for.
    """

    category: Words
    colour: Words
    answers: tuple[int, ...] = ()

    @classmethod
    def of(cls, tokenizer: TextTokenizer) -> Names:
        """Return the names of a tokenizer; one that cuts a word into many pieces has none for it."""
        furniture = {form: CLASSES.index(name) for name in CATEGORIES for form in (name, plural(name))}
        sides = {word: FIRST_SIDE + number for number, word in enumerate(SIDE_WORDS)}
        return cls(
            category=_ids(tokenizer, furniture | sides),
            colour=_ids(tokenizer, {name: number for number, name in enumerate(COLOUR_NAMES)}),
            answers=tuple(only_id(tokenizer, name) for name in COLOUR_NAMES),
        )

    def find(self, ids: NDArray[np.int64]) -> Mentions:
        """Return the mentions in (S,) ids."""
        text = tuple(ids.tolist())
        found: list[tuple[int, int, int]] = []
        for end in range(1, len(text) + 1):
            category, start = _word_before(self.category, text, end)
            if category is not None:
                if found and start <= found[-1][0]:
                    found.pop()  # "TV" within "TVs"
                colour, _ = _word_before(self.colour, text, start)
                found.append((end - 1, category, ANY_COLOUR if colour is None else colour))
        return Mentions(*np.array(found, np.int64).reshape(-1, 3).T)


def _word_before(words: Words, text: tuple[int, ...], end: int) -> tuple[int | None, int]:
    """Return what the word means that ends before a place, None where none does, and where it begins."""
    for size in range(MOST_PIECES, 0, -1):  # of " TV" the space, too, since the colour stands before it
        if end >= size and (meaning := words.get(text[end - size : end])) is not None:
            return meaning, end - size
    return None, end


def _ids(tokenizer: TextTokenizer, words: Mapping[str, int]) -> dict[tuple[int, ...], int]:
    found = {}
    for word, meaning in words.items():
        for form in {word, word[0].upper() + word[1:]}:
            for text in (form, f" {form}"):
                ids = tokenizer.encode(text, _WORD_TOKENS)
                if len(ids) <= MOST_PIECES:
                    found[tuple(ids)] = meaning
    return found


def only_id(tokenizer: TextTokenizer, word: str) -> int:
    """Return the id that is a word at the beginning of an answer; UNSUPERVISED where a tokenizer has none."""
    ids = tokenizer.encode(word, _WORD_TOKENS)
    return ids[0] if len(ids) == 1 else UNSUPERVISED
