"""What the language model learns from a scene: situations, questions and the bird's-eye view of the patches."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loc3r_ros.world.facts import Cue
from loc3r_ros.world.questions import Question
from loc3r_ros.world.sample import Sample

SIDE = re.compile(r"\b(?:left|right)\b(?! in front| beside)")
_OTHER = {"left": "right", "right": "left"}


@dataclass(frozen=True)
class Situation:
    """A described observer.

    Attributes:
        text: the description.
        pose: x, y and heading in the anchor frame, metres and radians.
    """

    text: str
    pose: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class SceneTruth:
    """All that is true of a scene, without its pictures.

    Attributes:
        seed: of the scene that was made.
        situations: described observers.
        questions: not balanced (see `world.balance`).
        layout: (N, rows, cols, 2) float32 x, y of each patch in the anchor frame, metres.
        layout_valid: (N, rows, cols) bool.
    """

    seed: int
    situations: tuple[Situation, ...]
    questions: tuple[Question, ...]
    layout: NDArray[np.float32]
    layout_valid: NDArray[np.bool_]

    def text_to_json(self) -> str:
        """Return seed, situations and questions as JSON."""
        return json.dumps(
            {
                "seed": self.seed,
                "situations": [asdict(one) for one in self.situations],
                "questions": [asdict(one) for one in self.questions],
            }
        )

    @classmethod
    def from_parts(cls, text: str, layout: NDArray[np.float32], layout_valid: NDArray[np.bool_]) -> SceneTruth:
        """Return what `text_to_json` and the arrays describe."""
        values = json.loads(text)
        situations = tuple(Situation(one["text"], tuple(one["pose"])) for one in values["situations"])
        questions = tuple(_question(one) for one in values["questions"])
        return cls(values["seed"], situations, questions, layout, layout_valid)


def make_truth(sample: Sample) -> SceneTruth:
    """Return what is true of a sample."""
    situations = tuple(Situation(one.text, _pose(one.pose)) for one in sample.situations)
    return SceneTruth(sample.scene.seed, situations, sample.questions, sample.layout.position, sample.layout.valid)


def mirrored(truth: SceneTruth) -> SceneTruth:
    """Return what is true of the scene in a mirror that swaps left and right of the first camera."""
    situations = tuple(
        Situation(swap_sides(one.text), (one.pose[0], -one.pose[1], -one.pose[2])) for one in truth.situations
    )
    questions = tuple(replace(one, text=swap_sides(one.text), answer=swap_sides(one.answer)) for one in truth.questions)
    layout = truth.layout[:, :, ::-1] * np.array([1, -1], np.float32)
    return SceneTruth(truth.seed, situations, questions, layout, truth.layout_valid[:, :, ::-1])


def swap_sides(text: str) -> str:
    """Return a text of the world with left and right swapped; "right in front of" is no side."""
    return SIDE.sub(lambda found: _OTHER[found[0]], text)


def _pose(pose: NDArray[np.floating]) -> tuple[float, float, float]:
    x, y, heading = (float(value) for value in pose)
    return x, y, heading


def _question(values: dict[str, Any]) -> Question:
    cues = tuple(Cue(**{**cue, "key": tuple(cue["key"])}) for cue in values["cues"])
    return Question(**{**values, "cues": cues})
