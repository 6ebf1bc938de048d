"""Every question is read as text and answered again from the scene, by other code than that which asked it."""

import itertools
import math
import re
from dataclasses import replace

import numpy as np
import pytest

from loc3r_ros.geometry import compose2
from loc3r_ros.world.camera import focal_length, look
from loc3r_ros.world.facts import is_held_out
from loc3r_ros.world.furniture import CATEGORIES
from loc3r_ros.world.generate import make_scene
from loc3r_ros.world.language import NUMBERS, QUESTIONS, plural, rooms_phrase
from loc3r_ros.world.materials import COLOURS
from loc3r_ros.world.render import render
from loc3r_ros.world.sight import CLEAR_SHARE
from loc3r_ros.world.splits import Split, split_of

SIDE_DEG = {"in front of me": 0, "on my left": 90, "behind me": 180, "on my right": -90}
DIRECTION_DEG = {"forward": 0, "left": 90, "backward": 180, "right": -90}
TURN_DEG = {"go straight": 0, "turn left": 90, "turn back": 180, "turn right": -90}
SITUATED = {"what", "is", "can", "direction", "closer"}
NAME = f"the (?:(?:{'|'.join(COLOURS)}) )?(?:{'|'.join(CATEGORIES)})"
PHRASE = "|".join((NAME, *SIDE_DEG, *map(plural, CATEGORIES), rooms_phrase(1), rooms_phrase(2)))


def read(question):
    """Return what fills {x}, {y} and {z} of the wording that a question has."""
    for wording in QUESTIONS[question.type]:
        pattern = re.sub(r"\\\{(\w)\\\}", rf"(?P<\1>{PHRASE})", re.escape(wording))
        match = re.fullmatch(pattern, question.text)
        if match:
            return match.groupdict()
    raise AssertionError(f"no wording fits: {question.text}")


def find(scene, phrase):
    """Return the only piece of furniture that a phrase fits."""
    name = phrase.removeprefix("the ")
    fitting = [item for item in scene.furniture if name in (item.category, item.name)]
    assert len(fitting) == 1, f"{phrase} fits {len(fitting)} things"
    return fitting[0]


def off_deg(degrees, middle):
    return abs((degrees - middle + 180) % 360 - 180)


def bearing_deg(pose, item):
    dx, dy = np.array(item.position) - pose[:2]
    return math.degrees(math.atan2(dy, dx) - pose[2])


def gap(pose, item):
    """Return the distance from the observer to the outline of a footprint."""
    corners = np.vstack([item.footprint, item.footprint[:1]])
    along = np.linspace(0, 1, 300)[:, None]
    outline = np.concatenate([a + along * (b - a) for a, b in itertools.pairwise(corners)])
    return float(np.hypot(*(outline - pose[:2]).T).min())


def room_of(scene, pose):
    return 0 if scene.doorway is None else int(pose[0] > scene.doorway.x)


def check_what(sample, pose, parts, answer):
    """A thing counts as at a side when its middle is within 45 degrees of it."""
    here = [
        item for item in sample.scene.furniture if item.category != "rug" and item.room == room_of(sample.scene, pose)
    ]
    there = [item for item in here if off_deg(bearing_deg(pose, item), SIDE_DEG[parts["x"]]) < 45]
    assert min(there, key=lambda item: gap(pose, item)).category == answer


def check_is(sample, pose, parts, answer):
    off = off_deg(bearing_deg(pose, find(sample.scene, parts["x"])), SIDE_DEG[parts["y"]])
    assert off < 31 if answer == "yes" else off > 54


def check_count(sample, pose, parts, answer):
    every = [item for item in sample.scene.furniture if plural(item.category) == parts["x"]]
    assert NUMBERS[len(every)] == answer
    assert {item.id for item in every} <= sample.sightings.seen


def check_direction(sample, pose, parts, answer):
    assert off_deg(bearing_deg(pose, find(sample.scene, parts["x"])), DIRECTION_DEG[answer]) < 31


def check_colour(sample, pose, parts, answer):
    assert find(sample.scene, parts["x"]).colour == answer


def check_closer(sample, pose, parts, answer):
    nearer = min((parts["x"], parts["y"]), key=lambda phrase: gap(pose, find(sample.scene, phrase)))
    assert nearer == f"the {answer}"


def check_distance(sample, pose, parts, answer):
    one, other = (np.array(find(sample.scene, parts[name]).position) for name in "xy")
    assert float(answer) == pytest.approx(np.hypot(*(one - other)), abs=0.051)


def check_size(sample, pose, parts, answer):
    assert float(answer) == pytest.approx(100 * max(find(sample.scene, parts["x"]).size), abs=5.01)


def check_room(sample, pose, parts, answer):
    area = sum((room.x1 - room.x0) * (room.y1 - room.y0) for room in sample.scene.rooms)
    assert float(answer) == pytest.approx(area, abs=0.51)


def check_route(sample, pose, parts, answer):
    start, via, goal = (complex(*find(sample.scene, parts[name]).position) for name in "xyz")
    turn = np.degrees(np.angle((goal - via) / (via - start)))
    assert off_deg(turn, TURN_DEG[answer]) < 36


def check_order(sample, pose, parts, answer):
    shown = {}
    for phrase in (parts["x"], parts["y"]):
        pixels = (sample.frames.segmentation == find(sample.scene, phrase).id).mean(axis=(1, 2))
        shown[phrase] = (np.flatnonzero(pixels >= CLEAR_SHARE)[0], np.flatnonzero(pixels > 0.001)[0])
    other = parts["y"] if parts["x"] == f"the {answer}" else parts["x"]
    assert shown[f"the {answer}"][0] < shown[other][1]


def check_can(sample, pose, parts, answer):
    """Look with a camera that is 70 degrees wide where the answer is yes, and 84 where it is no, without tilt."""
    item, wide = find(sample.scene, parts["x"]), math.radians(72 if answer == "yes" else 84)
    camera = look(pose[0], pose[1], 1.3, pose[2])
    width = 96
    frames = render(sample.scene, camera[None], width, 2 * width, focal_length(width, wide), antialias=False)
    pixels = int((frames.segmentation == item.id).sum())
    assert pixels > 20 if answer == "yes" else pixels < 40, pixels


CHECKS = {name.removeprefix("check_"): check for name, check in globals().items() if name.startswith("check_")}


def test_every_type_has_an_oracle_and_is_asked(samples):
    asked = {question.type for sample in samples for question in sample.questions}
    assert asked == set(QUESTIONS) == set(CHECKS)


@pytest.mark.parametrize("kind", QUESTIONS)
def test_answers_are_right(samples, kind):
    checked = 0
    for sample in samples:
        for question in sample.questions:
            if question.type == kind:
                pose = None
                if question.situation is not None:
                    pose = compose2(sample.world_t_anchor, sample.situations[question.situation].pose)
                assert (pose is not None) == (kind in SITUATED)
                try:
                    CHECKS[kind](sample, pose, read(question), question.answer)
                except AssertionError as error:
                    raise AssertionError(f"seed {sample.scene.seed}: {question.text} {question.answer}") from error
                checked += 1
    assert checked >= 5


def names_in(sample, question):
    phrases = [part for part in read(question).values() if part and part.startswith("the ")]
    return [find(sample.scene, phrase) for phrase in phrases if phrase != "the two rooms together"]


def test_only_seen_furniture_is_asked_about_and_none_that_the_situation_names(samples):
    for sample in samples:
        for question in sample.questions:
            named = {item.id for item in names_in(sample, question)}
            assert named <= sample.sightings.seen
            if question.situation is not None:
                assert not named & sample.situations[question.situation].mentioned


def test_held_out_kinds_are_named_outside_of_training_only(samples):
    for sample in samples:
        named = [item for question in sample.questions for item in names_in(sample, question)]
        named += [sample.scene.furniture[i] for situation in sample.situations for i in situation.mentioned]
        if split_of(sample.scene.seed) is Split.TRAIN:
            assert not any(map(is_held_out, named)), sample.scene.seed


def test_every_colour_and_category_has_held_out_pairs_but_most_are_not():
    item = make_scene(1).furniture[0]
    held = [(a, b) for a in CATEGORIES for b in COLOURS if is_held_out(replace(item, category=a, colour=b))]
    assert {category for category, _ in held} == set(CATEGORIES)
    assert {colour for _, colour in held} == set(COLOURS)
    assert 0.1 < len(held) / (len(CATEGORIES) * len(COLOURS)) < 0.15
