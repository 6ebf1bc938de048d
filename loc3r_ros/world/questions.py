"""Questions about a scene and their answers, of the twelve types that SQA3D, ScanQA and VSI-Bench ask.

A question that is asked from a situation has the same answer from (nearly) every pose that the situation allows.
Only furniture that the video shows is named, and in such a question none that the situation itself names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loc3r_ros.world import questions_scene, questions_situated
from loc3r_ros.world.draw import Draw
from loc3r_ros.world.facts import Cue, Fact, Stage
from loc3r_ros.world.language import put
from loc3r_ros.world.situations import Situation, name_of

PER_SITUATION = 2
PER_SCENE = 3
PAIRED = ("closer", "order")
"""Types whose answer is one of two names in the question, which stand in random order."""


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        type: one of `language.QUESTIONS`.
        text: the question.
        answer: the one right answer.
        situation: index of the situation that it is asked from, None where it needs none.
        cues: what must not betray the answer.
    """

    type: str
    text: str
    answer: str
    situation: int | None
    cues: tuple[Cue, ...]


def make_questions(stage: Stage, situations: Sequence[Situation], draw: Draw) -> list[Question]:
    """Ask up to PER_SCENE questions of each type about a scene, and up to PER_SITUATION from each situation.

    Within a type the answer is drawn first, then a question that has it: no answer is common because furniture is.

    Args:
        stage: the scene and what the video shows of it.
        situations: poses in the world.
        draw: draws questions and words.
    """
    asked = [_ask(fact, None, stage, draw) for fact in _select(questions_scene.facts(stage, draw), PER_SCENE, draw)]
    for number, view in enumerate(questions_situated.views(stage, situations, draw)):
        asked += [
            _ask(fact, number, stage, draw) for fact in _select(questions_situated.facts(view), PER_SITUATION, draw)
        ]
    return asked


def _select(facts: Iterable[Fact], count: int, draw: Draw) -> list[Fact]:
    """Return up to `count` facts of each type, their answers as different as can be."""
    table: dict[str, dict[str, list[Fact]]] = defaultdict(lambda: defaultdict(list))
    for fact in facts:
        table[fact.type][fact.group].append(fact)
    drawn = []
    for groups in table.values():
        shuffled = [draw.shuffled(group)[:count] for group in groups.values()]
        order = draw.shuffled(shuffled)
        rounds = [group[turn] for turn in range(count) for group in order if turn < len(group)]
        drawn += rounds[:count]
    return drawn


def _ask(fact: Fact, situation: int | None, stage: Stage, draw: Draw) -> Question:
    """Put a fact in words."""
    names = {slot: name_of(stage.furniture[slot], stage, draw) for slot in fact.slots if isinstance(slot, int)}
    phrases = [names[slot] if isinstance(slot, int) else slot for slot in fact.slots]
    if fact.type in PAIRED:
        phrases = draw.shuffled(phrases)
    answer = names[fact.answer].removeprefix("the ") if isinstance(fact.answer, int) else fact.answer
    text = put(fact.type, draw, **dict(zip("xyz", phrases, strict=False)))
    return Question(fact.type, text, answer, situation, fact.cues)
