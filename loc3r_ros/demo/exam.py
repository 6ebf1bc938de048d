"""Questions about a scene that somebody has seen from known places, and marks for the answers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from loc3r_ros.evaluation.answers import is_exact, relative_accuracy
from loc3r_ros.evaluation.poses import heading_error, position_error
from loc3r_ros.geometry import Array
from loc3r_ros.world.blind import NUMERIC
from loc3r_ros.world.camera import focal_length
from loc3r_ros.world.draw import Draw
from loc3r_ros.world.facts import Stage
from loc3r_ros.world.questions import Question, make_questions
from loc3r_ros.world.render import Renderer
from loc3r_ros.world.sample import FIELD_OF_VIEW
from loc3r_ros.world.scene import Scene
from loc3r_ros.world.sight import sightings
from loc3r_ros.world.situations import Situation, make_situations
from loc3r_ros.world.viewpoints import Viewpoints

WIDTH, HEIGHT = 128, 96
"""Pixels of the pictures that tell what a camera has seen; the simulated robot's are larger and have the same shape."""
NEAR = 1.0
"""Metres within which a place counts as found."""


@dataclass(frozen=True)
class Round:
    """What is asked at once.

    Attributes:
        situation: a described place with its pose in the world; None where too little has been seen to describe one.
        from_there: a question that is asked from there, if any.
        about_scene: a question about the scene, if any.
    """

    situation: Situation | None
    from_there: Question | None
    about_scene: Question | None


class Examiner:
    """Asks about what has been seen, each time something else; the same for the same scene and cameras."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._renderer = Renderer(scene)
        self._viewpoints = Viewpoints(scene)
        self._draw = Draw(scene.seed, "demo")
        self._asked: set[str] = set()

    @property
    def middle(self) -> Array:
        """(2,) middle of the floor: where somebody would point who knows nothing, metres in the world."""
        corners = np.array([[(room.x0, room.y0), (room.x1, room.y1)] for room in self._scene.rooms])
        return 0.5 * (corners[:, 0].min(axis=0) + corners[:, 1].max(axis=0))

    def set_round(self, world_t_cameras: Array) -> Round:
        """Return what to ask of somebody who remembers pictures of (N, 4, 4) true cameras with optical axes."""
        focal = focal_length(WIDTH, FIELD_OF_VIEW)
        pictures = self._renderer.render(world_t_cameras, WIDTH, HEIGHT, focal, antialias=False)
        shown = sightings(pictures.segmentation, len(self._scene.furniture))
        stage = Stage(self._viewpoints, shown, self._renderer)
        situations = make_situations(stage, 1, self._draw)
        questions = self._draw.shuffled(make_questions(stage, situations, self._draw))
        return Round(
            situations[0] if situations else None,
            self._take([one for one in questions if one.situation is not None]),
            self._take([one for one in questions if one.situation is None]),
        )

    def _take(self, questions: list[Question]) -> Question | None:
        """Return a question of a type that has not been asked before, if there is one."""
        new = [one for one in questions if one.type not in self._asked] or questions
        if not new:
            return None
        self._asked.add(new[0].type)
        return new[0]


@dataclass(frozen=True)
class PlaceMark:
    """How far a place is from the truth.

    Attributes:
        metres: distance.
        degrees: difference of the headings.
        confidence: the probability, as the node says, that the distance is at most 1 m.
        guess: distance of the middle of the floor from the truth, metres.
    """

    metres: float
    degrees: float
    confidence: float
    guess: float


def mark_place(pose: Array, truth: Array, confidence: float, middle: Array) -> PlaceMark:
    """Compare a (3,) pose x, y, heading with the true one; `middle` is the (2,) guess of the ignorant."""
    metres = float(position_error(pose[None], truth[None])[0])
    degrees = float(heading_error(pose[None], truth[None])[0])
    return PlaceMark(metres, degrees, confidence, float(math.dist(middle, truth[:2])))


def mark_answer(reply: str, question: Question) -> float:
    """Return how right an answer is, 0..1: exact or not, and for a number the mean relative accuracy (VSI-Bench)."""
    is_number = question.type in NUMERIC
    return relative_accuracy(reply, question.answer) if is_number else float(is_exact(reply, question.answer))


@dataclass
class Marks:
    """All marks of a demonstration."""

    own: list[PlaceMark] = field(default_factory=list)
    described: list[PlaceMark] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def summary(self) -> list[str]:
        """Return the closing sentences, medians and shares."""
        if not (self.own or self.described or self.answers):
            return ["Nothing was answered."]
        lines = [
            _tell_places("The robot's own place", self.own),
            _tell_places("Places described in words", self.described),
        ]
        if self.answers:
            right = sum(self.answers)
            lines.append(
                f"Questions: {len(self.answers)} answered, {right:.1f} right (numbers count by their accuracy)."
            )
        lines.append(f"From call to reply: median {np.median(self.seconds):.2f} s, longest {max(self.seconds):.2f} s.")
        return [line for line in lines if line]


def _tell_places(what: str, marks: list[PlaceMark]) -> str:
    if not marks:
        return ""
    metres, degrees, guess = (
        np.median([getattr(one, name) for one in marks]) for name in ("metres", "degrees", "guess")
    )
    near = sum(one.metres <= NEAR for one in marks)
    sure = 100.0 * np.mean([one.confidence for one in marks])
    return (
        f"{what}: {len(marks)}, median {metres:.2f} m and {degrees:.0f} deg off (the middle of the floor would be "
        f"{guess:.2f} m off); {near} of {len(marks)} within {NEAR:g} m, where the node was {sure:.0f} % sure of it."
    )
