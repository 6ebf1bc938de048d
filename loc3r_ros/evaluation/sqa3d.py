"""SQA3D (Ma et al., ICLR 2023): its annotations, its localization metric, and its exact match with LEO's rules.

Places are in the dataset's frame of each scene: metres, x and y from the middle of the scan's bounding box, z up. The
official scoring has quirks that are put right here: quaternions are read by their keys, and results are plain numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loc3r_ros.errors import ConfigError
from loc3r_ros.evaluation.poses import ACCURACIES, accuracies
from loc3r_ros.evaluation.statistics import Estimate, measured
from loc3r_ros.geometry import Array, angle_difference, wrap_angle

MAX_GUESSES = 3
TYPES = ("what", "is", "how", "can", "which")
"""First words of questions that are told apart; all else is "others"."""


@dataclass(frozen=True, eq=False)
class SituatedQuestion:
    """One question of the dataset.

    Attributes:
        scene: ScanNet id.
        question_id: of the question.
        situation: text of the situation that evaluations use.
        question: text.
        answer: the right answer.
        pose: (3,) x, y and the yaw that is stored; the observer faces the opposite way (see `facing`).
    """

    scene: str
    question_id: int
    situation: str
    question: str
    answer: str
    pose: Array

    @property
    def type(self) -> str:
        """The question's type, by its first word."""
        return question_type(self.question)


def load_questions(questions: Path, annotations: Path) -> list[SituatedQuestion]:
    """Read the two official files of a split, joined on `question_id`.

    Args:
        questions: `v1_balanced_questions_{split}_scannetv2.json`.
        annotations: `v1_balanced_sqa_annotations_{split}_scannetv2.json`.

    Raises:
        ConfigError: a file is missing or not of this format, or a question has no annotation.
    """
    try:
        by_id = {one["question_id"]: one for one in _read(annotations)["annotations"]}
        return [_join(one, by_id[one["question_id"]]) for one in _read(questions)["questions"]]
    except (KeyError, TypeError, IndexError) as error:
        raise ConfigError(f"{questions} and {annotations} are not SQA3D's files of one split: {error!r}.") from error


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as JSON: {error}.") from error


def _join(question: dict[str, Any], annotation: dict[str, Any]) -> SituatedQuestion:
    position = annotation["position"]
    return SituatedQuestion(
        scene=question["scene_id"],
        question_id=question["question_id"],
        situation=question["situation"],
        question=question["question"],
        answer=annotation["answers"][0]["answer"],
        pose=np.array([position["x"], position["y"], stored_yaw(annotation["rotation"])]),
    )


def stored_yaw(rotation: dict[str, float]) -> float:
    """Return the yaw of a stored quaternion about z, in [-pi, pi); `_w` may be negative."""
    return float(wrap_angle(2.0 * np.arctan2(rotation["_z"], rotation["_w"])))


def facing(yaw: float) -> float:
    """Return where an observer with a stored yaw looks: the official viewer's arrow points to -x."""
    return float(wrap_angle(yaw + np.pi))


def situations(questions: Sequence[SituatedQuestion]) -> list[SituatedQuestion]:
    """Return one question of each scene and situation: the localization set."""
    return list({(one.scene, one.situation): one for one in reversed(questions)}.values())[::-1]


def score_localization(asked: Sequence[SituatedQuestion], guesses: Array) -> dict[str, Estimate]:
    """Return the share, 0..1, of each of `poses.ACCURACIES`, with intervals over scenes.

    The best position and the best heading count, each by itself, and a limit itself is too far.

    Args:
        asked: N situations.
        guesses: (N, K, 3) x, y and stored yaw, K <= 3; the paper makes one guess, the official script three.

    Raises:
        ConfigError: more guesses than the dataset allows.
    """
    if guesses.shape[1] > MAX_GUESSES:
        raise ConfigError(f"SQA3D allows {MAX_GUESSES} guesses, not {guesses.shape[1]}.")
    true = np.array([one.pose for one in asked])[:, None]
    metres = np.hypot(*np.moveaxis(guesses[..., :2] - true[..., :2], -1, 0)).min(axis=1)
    degrees = np.degrees(np.abs(angle_difference(guesses[..., 2], true[..., 2]))).min(axis=1)
    right = accuracies(metres, degrees)
    scenes = np.array([one.scene for one in asked])
    return {
        name: measured([right[name][scenes == scene].astype(np.float64) for scene in np.unique(scenes)]).mean()
        for name in ACCURACIES
    }


def random_guesses(count: int, guesses: int, seed: int = 0) -> Array:
    """Return (count, guesses, 3) guesses as the official script draws them: x and y even in 0..1, any yaw.

    Its accuracy is the row "random" of the paper's table.
    """
    draw = np.random.default_rng(seed)
    return draw.uniform((0.0, 0.0, -np.pi), (1.0, 1.0, np.pi), (count, guesses, 3))


def question_type(question: str) -> str:
    """Return the type of a question by its first word, "others" where it is none of `TYPES`."""
    lower = question.strip().lower()
    return next((kind for kind in TYPES if lower.startswith(kind)), "others")


_NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
_WORDS = {
    "letf": "left",
    "let": "left",
    "tehre": "there",
    "rigth": "right",
    "rght": "right",
    "behine": "behind",
    "tv": "TV",
    "chai": "chair",
    "wasing": "washing",
    "waslked": "walked",
    "oclock": "o'clock",
}
_COUNTS = {"none": "zero", "23": "twenty-three"} | {str(number): word for number, word in enumerate(_NUMBERS)}
_CLEANING: tuple[tuple[str, str], ...] = (
    (r"\.[ ]{2,}", ". "),
    (r"[^a-zA-Z0-9,'\s\-:]", ""),
    *((rf"\b{wrong}\b", right) for wrong, right in _WORDS.items()),
    (r"\bo'? +clock\b", "o'clock"),
    *((rf"\b{number}\b", word) for number, word in _COUNTS.items()),
    (r"\b([a-zA-Z]+)([0-9])\b", r"\1"),
    *((rf"\b{article}\b ([a-zA-Z]+)", r"\1") for article in ("a", "an", "the")),
    ("backwards", "backward"),
)


def clean_answer(text: str) -> str:
    """Return an answer as LEO cleans it (Huang et al., ICML 2024), the rules in its order."""
    cleaned = re.sub(" +", " ", text.lower().strip(" "))
    for pattern, replacement in _CLEANING:
        cleaned = re.sub(pattern, replacement, cleaned)
    return cleaned


def match(reply: str, answers: Sequence[str]) -> tuple[bool, bool]:
    """Return exact match (EM) and refined match (EM-R) of a reply with any of the right answers.

    Refined: one contains the other, blanks left out. An empty reply matches nothing.
    """
    cleaned, right = clean_answer(reply), [clean_answer(answer) for answer in answers]
    if not cleaned:
        return False, False
    tight = "".join(cleaned.split())
    tights = ["".join(answer.split()) for answer in right]
    exact = cleaned in right
    return exact, exact or any(tight in answer or (answer != "" and answer in tight) for answer in tights)
