"""What the demonstration asks can be known from what was seen, and its marks are those of the evaluation."""

import math
import re

import numpy as np
import pytest

from loc3r_ros.demo.exam import Examiner, Marks, PlaceMark, mark_answer, mark_place
from loc3r_ros.world.camera import look
from loc3r_ros.world.generate import make_scene
from loc3r_ros.world.language import QUESTIONS
from loc3r_ros.world.questions import Question
from loc3r_ros.world.render import Renderer
from loc3r_ros.world.sight import sightings
from loc3r_ros.world.walk import make_walk

SEED = 1_100_001


@pytest.fixture(scope="module")
def scene():
    return make_scene(SEED)


@pytest.fixture(scope="module")
def cameras(scene):
    return make_walk(scene, Renderer(scene), 24).world_t_camera


def test_it_asks_about_what_was_seen_alone(scene, cameras):
    renderer = Renderer(scene)
    pictures = renderer.render(cameras, 128, 96, 64 / math.tan(math.radians(40)), antialias=False)
    seen = sightings(pictures.segmentation, len(scene.furniture)).seen
    examiner = Examiner(scene)
    for _ in range(3):
        asked = examiner.set_round(cameras)
        assert asked.situation.mentioned <= seen
        assert examiner._viewpoints.holds(asked.situation.clauses[0], asked.situation.pose)


def test_no_two_rounds_ask_the_same_types(scene, cameras):
    examiner = Examiner(scene)
    rounds = [examiner.set_round(cameras) for _ in range(4)]
    types = [one.type for asked in rounds for one in (asked.from_there, asked.about_scene)]
    assert set(types) <= set(QUESTIONS)
    assert len(set(types)) == len(types)
    assert len({asked.situation.text for asked in rounds}) == len(rounds)


def test_the_same_rounds_follow_from_the_same_scene(scene, cameras):
    one, other = (Examiner(scene).set_round(cameras) for _ in range(2))
    assert (one.situation.text, one.about_scene) == (other.situation.text, other.about_scene)


def test_who_has_seen_nothing_is_asked_nothing(scene):
    into_the_floor = look(*scene.rooms[0].centre, 1.2, 0.0, math.pi / 2)[None]
    asked = Examiner(scene).set_round(into_the_floor)
    assert asked.situation is None
    assert asked.from_there is None


def test_a_place_is_marked_by_distance_and_heading():
    mark = mark_place(np.array([3.0, 4.0, 3.1]), np.array([0.0, 0.0, -3.1]), 0.25, np.array([1.0, 0.0]))
    assert mark.metres == pytest.approx(5.0)
    assert mark.degrees == pytest.approx(math.degrees(2 * math.pi - 6.2))
    assert (mark.confidence, mark.guess) == (0.25, 1.0)


@pytest.mark.parametrize(
    ("kind", "truth", "reply", "mark"),
    [
        ("is", "yes", "Yes.", 1.0),
        ("is", "yes", "no", 0.0),
        ("what", "lamp", "the lamp", 1.0),
        ("what", "lamp", "", 0.0),
        ("distance", "2.0", "2.0 metres", 1.0),
        ("distance", "2.0", "far", 0.0),
        ("distance", "2.0", "2.5", 0.5),
    ],
)
def test_answers_are_marked_as_in_the_evaluation(kind, truth, reply, mark):
    assert mark_answer(reply, Question(kind, "?", truth, None, ())) == pytest.approx(mark)


def test_the_summary_counts_everything_and_compares_with_ignorance():
    far, near = PlaceMark(3.0, 90.0, 0.5, 2.0), PlaceMark(0.5, 10.0, 0.9, 4.0)
    marks = Marks(own=[near], described=[far, near, near], answers=[1.0, 0.0, 0.5], seconds=[0.1, 0.3])
    text = "\n".join(marks.summary())
    assert re.search(r"own place: 1, median 0\.50 m and 10 deg off .* 1 of 1 within 1 m", text)
    assert re.search(r"in words: 3, median 0\.50 m .*\(.*4\.00 m off\); 2 of 3 within 1 m, .* 77 % sure", text)
    assert "3 answered, 1.5 right" in text
    assert "median 0.20 s, longest 0.30 s" in text
    assert Marks().summary() == ["Nothing was answered."]
