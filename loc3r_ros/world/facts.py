"""What questions are made of before they are put in words."""

from __future__ import annotations

from dataclasses import dataclass

from loc3r_ros.world.furniture import CATEGORIES
from loc3r_ros.world.materials import COLOURS
from loc3r_ros.world.render import Renderer
from loc3r_ros.world.scene import Furniture
from loc3r_ros.world.sight import Sightings
from loc3r_ros.world.splits import Split, split_of
from loc3r_ros.world.viewpoints import Viewpoints

Slot = int | str
"""A piece of furniture by id, or a phrase."""


@dataclass(frozen=True)
class Cue:
    """Something in a question's words that could betray its answer.

    Attributes:
        key: the words, as few as may betray it.
        outcome: what they would betray.
        outcomes: how many outcomes there are.
        tolerance: how much more frequent than the others an outcome may become, as a share; 0 keeps them level.
    """

    key: tuple[str, ...]
    outcome: str
    outcomes: int
    tolerance: float = 0.0


@dataclass(frozen=True)
class Fact:
    """A question without its words.

    Attributes:
        type: one of `language.QUESTIONS`.
        slots: what stands for {x}, {y} and {z}.
        answer: the answer, or the piece of furniture whose name it is.
        cues: what must not betray it.
        group: what answers the drawing of questions should make equally likely.
    """

    type: str
    slots: tuple[Slot, ...]
    answer: Slot
    cues: tuple[Cue, ...] = ()
    group: str = ""


@dataclass(frozen=True, eq=False)
class Stage:
    """A scene and what a video of it shows."""

    viewpoints: Viewpoints
    sightings: Sightings
    renderer: Renderer

    @property
    def furniture(self) -> tuple[Furniture, ...]:
        """All furniture of the scene."""
        return self.viewpoints.scene.furniture

    @property
    def named(self) -> list[Furniture]:
        """The furniture that language may name: seen, and told from all other by category or colour.

        In training scenes, nothing of a held-out kind.
        """
        known = self.sightings.seen & self.viewpoints.referable
        training = split_of(self.viewpoints.scene.seed) is Split.TRAIN
        return [item for item in self.furniture if item.id in known and not (training and is_held_out(item))]


def is_held_out(item: Furniture) -> bool:
    """Say whether language names things of this colour and category in validation and test only (one pair in eight)."""
    return (5 * CATEGORIES.index(item.category) + list(COLOURS).index(item.colour)) % 8 == 0
