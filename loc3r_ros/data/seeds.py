"""Which scene comes when: a function of the position in the stream alone, so that a run resumes exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from loc3r_ros.errors import ConfigError
from loc3r_ros.world.draw import Draw
from loc3r_ros.world.splits import Split, require_split
from loc3r_ros.world.walk import WalkError

T = TypeVar("T")
TRIES = 10
"""Scenes that are tried where one has no room to walk in."""


@dataclass(frozen=True)
class SeedStream:
    """Scene seeds `first` .. `first + scenes - 1`, again and again, each time in another order.

    Attributes:
        split: what the seeds must belong to.
        first: the first seed.
        scenes: how many scenes there are.
        seed: of the orders.
    """

    split: Split
    first: int
    scenes: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.scenes < 1:
            raise ConfigError(f"A stream of {self.scenes} scenes is empty: ask for 1 or more.")
        for seed in (self.first, self.first + self.scenes - 1 + TRIES):
            require_split(seed, self.split)

    def at(self, position: int) -> int:
        """Return the scene seed at a position, 0 or more."""
        epoch, place = divmod(position, self.scenes)
        draw = Draw(self.seed, f"order of epoch {epoch}")
        stride = 1 + draw.integer(self.scenes)
        while math.gcd(stride, self.scenes) != 1:
            stride += 1
        return self.first + (stride * place + draw.integer(self.scenes)) % self.scenes


def with_room(seed: int, make: Callable[[int], T]) -> T:
    """Return what `make` makes of a seed, or of the next one that leaves room to walk in.

    Raises:
        WalkError: if none of TRIES seeds does.
    """
    for candidate in range(seed, seed + TRIES - 1):
        try:
            return make(candidate)
        except WalkError:
            continue
    return make(seed + TRIES - 1)
