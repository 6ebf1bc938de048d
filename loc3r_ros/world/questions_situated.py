"""Questions that an observer asks: what, is, can, direction and closer.

Each answer is that of the true pose, and it holds for at least CERTAINTY of the poses that the situation allows.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loc3r_ros.geometry import Array, wrap_angle
from loc3r_ros.world.draw import Draw
from loc3r_ros.world.facts import Cue, Fact, Stage
from loc3r_ros.world.furniture import CATEGORIES
from loc3r_ros.world.language import DIRECTIONS, SIDES
from loc3r_ros.world.questions_scene import LOOSE, contest
from loc3r_ros.world.scene import Furniture, Mount
from loc3r_ros.world.sight import panoramas
from loc3r_ros.world.situations import Situation

EYE_HEIGHT = 1.3
CERTAINTY = 0.95
SURELY = math.radians(30.0)
"""The true bearing of what lies at a side is within this of its middle ..."""
MAYBE = math.radians(45.0)
"""... that from other poses within this; what does not lie there is further off than this, from the truth by more."""
SURELY_NOT = math.radians(55.0)
REACH = 3.5
"""Things further away than this, metres, are not what is at one's side."""
LEAD = 0.4
"""Metres by which the nearest of things must be nearer than the next."""
AT_HAND = 0.4
"""Metres within which a bearing says little."""
IN_VIEW, OUT_OF_VIEW = math.radians(35.0), math.radians(50.0)
MANY = 0.3
"""Tolerance for answers that are of too many kinds to have all equally often."""
SHOWS, HIDDEN = 8, 1
"""Pixels of a panorama from which a thing is surely seen, and up to which it is surely hidden."""


@dataclass(frozen=True, eq=False)
class View:
    """The furniture from a situation's R poses, of which the first is the true one.

    Attributes:
        stage: the scene.
        situation: what is described; pose in the world.
        bearing: (F, R) bearing of the middle from the observer's heading, radians.
        distance: (F, R) to the footprint, metres.
        in_view: (E, F) pixels that each of E eyes has of each thing within IN_VIEW of straight ahead.
        at_all: (E, F) the same within OUT_OF_VIEW.
        around: (E, F) the same all around.
    """

    stage: Stage
    situation: Situation
    bearing: Array
    distance: Array
    in_view: npt.NDArray[np.int64]
    at_all: npt.NDArray[np.int64]
    around: npt.NDArray[np.int64]

    @property
    def subjects(self) -> list[Furniture]:
        """What may be asked about: known, not named by the situation, not at hand."""
        away = self.distance[:, 0] > AT_HAND
        return [item for item in self.stage.named if item.id not in self.situation.mentioned and away[item.id]]

    @property
    def room(self) -> int:
        """The observer's room."""
        return self.stage.furniture[self.situation.clauses[0].furniture].room

    @property
    def present(self) -> list[Furniture]:
        """The subjects in the observer's room."""
        return [item for item in self.subjects if item.room == self.room]

    @property
    def faced(self) -> str:
        """Category of what the observer faces."""
        return self.stage.furniture[self.situation.clauses[1].furniture].category

    @functools.cached_property
    def off(self) -> Array:
        """(4, F, R) how far the bearing of each thing is from the middle of each of `language.SIDES`, radians."""
        middles = np.arange(4) * math.pi / 2
        return np.abs(wrap_angle(self.bearing - middles[:, None, None]))

    @functools.cached_property
    def surely_at(self) -> npt.NDArray[np.bool_]:
        """(4, F) whether each thing surely lies at each side."""
        return (self.off[:, :, 0] < SURELY) & ((self.off < MAYBE).mean(axis=2) >= CERTAINTY)

    @functools.cached_property
    def surely_not_at(self) -> npt.NDArray[np.bool_]:
        """(4, F) whether each thing surely lies elsewhere."""
        return (self.off[:, :, 0] > SURELY_NOT) & ((self.off > MAYBE).mean(axis=2) >= CERTAINTY)


def views(stage: Stage, situations: Sequence[Situation], draw: Draw) -> Iterator[View]:
    """Look at the furniture from each situation: from the true pose and from another that the words allow."""
    if not situations:
        return
    poses = [np.vstack([one.pose, one.region.pose]) for one in situations]
    eyes = np.concatenate([pose[[0, draw.integer(len(pose))]] for pose in poses])
    around = panoramas(stage.renderer, np.column_stack([eyes[:, :2], np.full(len(eyes), EYE_HEIGHT)]))
    pixels = around.pixels(len(stage.furniture)).reshape(len(situations), 2, len(stage.furniture), -1)
    ahead = np.abs(wrap_angle(around.bearing - eyes[:, 2:])).reshape(len(situations), 2, 1, -1)
    for situation, pose, seen, off in zip(situations, poses, pixels, ahead, strict=True):
        survey = stage.viewpoints.survey(pose[:, :2])
        within = [(seen * (off < limit)).sum(axis=2) for limit in (IN_VIEW, OUT_OF_VIEW, math.inf)]
        yield View(stage, situation, wrap_angle(survey.bearing - pose[:, 2]), survey.distance, *within)


def facts(view: View) -> Iterator[Fact]:
    """Yield all that an observer can ask."""
    yield from _what(view)
    yield from _is(view)
    yield from _can(view)
    yield from _directions(view)
    yield from _closer(view)


def _what(view: View) -> Iterator[Fact]:
    """The nearest thing at a side, where it is seen, not named, not hidden and clearly the nearest."""
    here = np.array([item.mount is not Mount.FLAT and item.room == view.room for item in view.stage.furniture])
    subjects = {item.id for item in view.present}
    for side, phrase in enumerate(SIDES):
        near = np.where((view.off[side] < MAYBE) & here[:, None], view.distance, REACH)
        first, second = np.argsort(near[:, 0], kind="stable")[:2]
        clear = near[second, 0] - near[first, 0] > LEAD and view.off[side, first, 0] < SURELY
        agree = (np.argmin(near, axis=0) == first).mean() >= CERTAINTY
        if first in subjects and clear and agree and view.around[:, first].min() >= SHOWS:
            category = view.stage.furniture[first].category
            yield Fact("what", (phrase,), category, (Cue(("what", phrase), category, len(CATEGORIES), MANY),), category)


def _is(view: View) -> Iterator[Fact]:
    for item in view.present:
        for side, phrase in enumerate(SIDES):
            if view.surely_at[side, item.id] or view.surely_not_at[side, item.id]:
                answer = "yes" if view.surely_at[side, item.id] else "no"
                cues = (
                    Cue(("is", phrase, item.category), answer, 2),
                    Cue(("is", phrase, "facing", view.faced), answer, 2, LOOSE),
                )
                yield Fact("is", (item.id, phrase), answer, cues, answer)


def _can(view: View) -> Iterator[Fact]:
    for item in view.subjects:
        shows, hidden = view.in_view[:, item.id].min() >= SHOWS, view.at_all[:, item.id].max() <= HIDDEN
        if shows or hidden:
            answer = "yes" if shows else "no"
            cues = (Cue(("can", item.category), answer, 2), Cue(("can", item.category, view.faced), answer, 2))
            yield Fact("can", (item.id,), answer, cues, answer)


def _directions(view: View) -> Iterator[Fact]:
    for item in view.present:
        for side in np.flatnonzero(view.surely_at[:, item.id]):
            cues = (
                Cue(("direction", item.category), DIRECTIONS[side], 4),
                Cue(("direction", "facing", view.faced), DIRECTIONS[side], 4, LOOSE),
            )
            yield Fact("direction", (item.id,), DIRECTIONS[side], cues, DIRECTIONS[side])


def _closer(view: View) -> Iterator[Fact]:
    for one, other in itertools.permutations(view.present, 2):
        lead = view.distance[other.id] - view.distance[one.id]
        if one.category != other.category and lead[0] > LEAD and (lead > 0).mean() >= CERTAINTY:
            yield Fact("closer", (one.id, other.id), one.id, contest("closer", one, other))
