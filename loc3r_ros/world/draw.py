"""Random draws that are the same for a seed in every Python and on every machine.

Only `random.Random.random` is used: Python promises that its sequence never changes; numpy does not promise that for
its distributions.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Draw:
    """A stream of random draws.

    Args:
        seed: of the scene.
        stream: name of the use, so that draws for one thing do not shift those for another.
    """

    def __init__(self, seed: int, stream: str) -> None:
        self._random = random.Random(f"{stream} {seed}").random

    def uniform(self, low: float, high: float) -> float:
        """Draw uniformly between two bounds."""
        return low + (high - low) * self._random()

    def log_uniform(self, low: float, high: float) -> float:
        """Draw so that every factor between two positive bounds is equally likely."""
        return low * math.exp(math.log(high / low) * self._random())

    def integer(self, count: int) -> int:
        """Draw one of 0 .. count - 1."""
        return int(count * self._random())

    def choice(self, items: Sequence[T]) -> T:
        """Draw one item."""
        return items[self.integer(len(items))]

    def chance(self, probability: float) -> bool:
        """Say yes with a probability."""
        return self._random() < probability

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return the items in a random order."""
        return sorted(items, key=lambda _: self._random())
