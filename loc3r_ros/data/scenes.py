"""What the language model learns from a scene: situations, questions and the bird's-eye view of the patches."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loc3r_ros.world.bev import patch_targets
from loc3r_ros.world.facts import Cue
from loc3r_ros.world.questions import Question
from loc3r_ros.world.sample import Sample


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


def make_truth(sample: Sample, extent: int | None = None) -> SceneTruth:
    """Return what is true of a sample.

    Args:
        sample: of the world.
        extent: side of the square of pixels that patches see; pixels beyond it belong to none. All pixels where None.
    """
    layout = sample.layout
    if extent is not None and extent != sample.frames.depth.shape[-1]:
        depth = sample.frames.depth[:, :extent, :extent]
        layout = patch_targets(depth, sample.anchor_t_camera, sample.camera_matrix, layout.valid.shape[1:])
    situations = tuple(Situation(one.text, _pose(one.pose)) for one in sample.situations)
    return SceneTruth(sample.scene.seed, situations, sample.questions, layout.position, layout.valid)


def _pose(pose: NDArray[np.floating]) -> tuple[float, float, float]:
    x, y, heading = (float(value) for value in pose)
    return x, y, heading


def _question(values: dict[str, Any]) -> Question:
    cues = tuple(Cue(**{**cue, "key": tuple(cue["key"])}) for cue in values["cues"])
    return Question(**{**values, "cues": cues})
