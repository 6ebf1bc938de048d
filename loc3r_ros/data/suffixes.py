"""From a scene's truth to what stands behind its video: situations and questions as ids, with what is supervised."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loc3r_ros.data.scenes import SceneTruth, Situation
from loc3r_ros.prompt.template import PromptIds, PromptTemplate
from loc3r_ros.world.draw import Draw
from loc3r_ros.world.language import NUMBERS
from loc3r_ros.world.questions import Question

UNSUPERVISED = -100
POSE_QUESTION = "Where am I and which way do I face?"
"""Asks for the pose in words, where the model has no `<Pos>` and `<Ori>`."""
LOCATE = "locate"
"""Type of a suffix that only localizes."""


@dataclass(frozen=True, eq=False)
class Suffix:
    """What one question adds behind the video.

    Attributes:
        type: type of the question, or LOCATE.
        ids: (S,) int64 prompt and answer.
        labels: (S,) int64 the ids that are supervised (the answer and its end), UNSUPERVISED elsewhere.
        position: index of `<Pos>`, -1 without one.
        orientation: index of `<Ori>`, -1 without one.
        pose: true x, y and heading in the anchor frame, None where the situation is a pseudo-situation.
        amount: what is asked for, if that is how long something is (metres) or how many there are (half their number,
            so that both are of one size); 0 where something else is asked.
    """

    type: str
    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    position: int
    orientation: int
    pose: tuple[float, float, float] | None
    amount: float = 0.0


class SuffixMaker:
    """Writes suffixes.

    Args:
        template: of the model.
        pose_as_text: leave `<Pos>` and `<Ori>` out and ask for the pose in words (an ablation).
    """

    def __init__(self, template: PromptTemplate, pose_as_text: bool = False) -> None:
        self.template = template
        self.pose_as_text = pose_as_text

    def ask(self, question: Question, truth: SceneTruth) -> Suffix:
        """Return the suffix of a question with its answer."""
        situation = None if question.situation is None else truth.situations[question.situation]
        prompt = self.template.ask(question.text, situation.text if situation else "")
        return self._suffix(question.type, prompt, question.answer, situation)

    def locate(self, situation: Situation) -> Suffix:
        """Return the suffix that localizes a situation, in words where the model has no tokens for it."""
        if self.pose_as_text:
            prompt = self.template.ask(POSE_QUESTION, situation.text)
            return self._suffix(LOCATE, prompt, pose_text(situation.pose), situation)
        return self._suffix(LOCATE, self.template.locate(situation.text), "", situation)

    def _suffix(self, kind: str, prompt: PromptIds, answer: str, situation: Situation | None) -> Suffix:
        asked = np.delete(prompt.ids, [prompt.position, prompt.orientation]) if self.pose_as_text else prompt.ids
        answered = self.template.answer(answer) if answer else np.empty(0, np.int64)
        return Suffix(
            type=kind,
            ids=np.concatenate((asked, answered)),
            labels=np.concatenate((np.full_like(asked, UNSUPERVISED), answered)),
            position=-1 if self.pose_as_text else prompt.position,
            orientation=-1 if self.pose_as_text else prompt.orientation,
            pose=situation.pose if situation else None,
            amount=amount_of(kind, answer),
        )


def amount_of(kind: str, answer: str) -> float:
    """Return the amount that a question of a type asks for (see `Suffix`), from its answer."""
    if kind == "size":
        return float(answer) / 100
    return NUMBERS.index(answer) / 2 if kind == "count" else 0.0


def pose_text(pose: tuple[float, float, float]) -> str:
    """Return a pose in words: metres to one decimal, whole degrees."""
    x, y, heading = pose
    return f"{x:.1f} {y:.1f} {math.degrees(heading):.0f}"


def draw_suffixes(
    maker: SuffixMaker, truth: SceneTruth, questions: Sequence[Question], count: int, draw: Draw
) -> list[Suffix]:
    """Return up to `count` suffixes of a scene: every situation once, then more questions, of all types alike.

    Args:
        maker: writes them.
        truth: of the scene.
        questions: those of the scene that may be asked.
        count: the most suffixes; never fewer than there are situations.
        draw: chooses among the questions.
    """
    asked: defaultdict[int | None, list[Question]] = defaultdict(list)
    for question in draw.shuffled(questions):
        asked[question.situation].append(question)
    uses: Counter[str] = Counter()
    suffixes = [
        maker.ask(_rarest(asked[number], uses), truth)
        if asked[number] and not maker.pose_as_text
        else maker.locate(situation)
        for number, situation in enumerate(truth.situations)
    ]
    rest = draw.shuffled([question for group in asked.values() for question in group])
    more = min(len(rest), max(0, count - len(suffixes)))
    return suffixes + [maker.ask(_rarest(rest, uses), truth) for _ in range(more)]


def _rarest(questions: list[Question], uses: Counter[str]) -> Question:
    """Take out, and return, the first question of the type that was asked least: some types have far fewer to ask."""
    question = min(questions, key=lambda one: uses[one.type])
    questions.remove(question)
    uses[question.type] += 1
    return question
