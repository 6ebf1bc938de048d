import math
from collections import Counter

import numpy as np
import pytest

from loc3r_ros.data.suffixes import (
    LOCATE,
    POSE_QUESTION,
    UNSUPERVISED,
    SuffixMaker,
    amount_of,
    draw_suffixes,
    pose_text,
)
from loc3r_ros.prompt.template import PSEUDO_SITUATION, PromptTemplate
from loc3r_ros.prompt.tokenizer import MESSAGE_END, ORIENTATION, POSITION
from loc3r_ros.prompt.training import train_tokenizer
from loc3r_ros.world.draw import Draw


@pytest.fixture(scope="module")
def template():
    return PromptTemplate(train_tokenizer([], 300))


def supervised(template, suffix):
    return template.tokenizer.decode([int(token) for token in suffix.labels if token != UNSUPERVISED])


def test_a_question_is_the_robots_prompt_with_its_answer(truth, template):
    maker = SuffixMaker(template)
    end = template.tokenizer.special(MESSAGE_END)
    for question in truth.questions:
        suffix = maker.ask(question, truth)
        situation = None if question.situation is None else truth.situations[question.situation]
        prompt = template.ask(question.text, situation.text if situation else "")
        np.testing.assert_array_equal(suffix.ids[: len(prompt.ids)], prompt.ids)
        assert (suffix.labels[: len(prompt.ids)] == UNSUPERVISED).all() and suffix.ids[-1] == suffix.labels[-1] == end
        assert (supervised(template, suffix), suffix.type) == (question.answer, question.type)
        assert suffix.ids[suffix.position] == template.tokenizer.special(POSITION)
        assert suffix.ids[suffix.orientation] == template.tokenizer.special(ORIENTATION)
        assert suffix.pose == (situation.pose if situation else None)
        assert suffix.amount == amount_of(question.type, question.answer)
        assert (PSEUDO_SITUATION in template.tokenizer.decode(suffix.ids.tolist())) == (situation is None)


def test_a_situation_alone_supervises_the_pose_only(truth, template):
    situation = truth.situations[0]
    suffix = SuffixMaker(template).locate(situation)
    np.testing.assert_array_equal(suffix.ids, template.locate(situation.text).ids)
    assert (suffix.labels == UNSUPERVISED).all() and suffix.pose == situation.pose


def test_pose_in_words(truth, template):
    maker = SuffixMaker(template, pose_as_text=True)
    situation = truth.situations[0]
    suffix = maker.locate(situation)
    text = template.tokenizer.decode(suffix.ids.tolist())
    assert situation.text + POSE_QUESTION in text and supervised(template, suffix) == pose_text(situation.pose)
    special = {template.tokenizer.special(token) for token in (POSITION, ORIENTATION)}
    for one in (suffix, maker.ask(truth.questions[-1], truth)):
        assert not special & set(one.ids.tolist())
        assert (one.position, one.orientation) == (-1, -1)
    assert pose_text((1.26, -0.5, math.pi / 2)) == "1.3 -0.5 90"


@pytest.mark.parametrize("pose_as_text", [False, True])
@pytest.mark.parametrize("count", [2, 8, 1000])
def test_every_situation_comes_and_no_question_twice(truth, template, count, pose_as_text):
    maker = SuffixMaker(template, pose_as_text)
    suffixes = draw_suffixes(maker, truth, truth.questions, count, Draw(0, "test"))
    silent = len(truth.situations) - len({one.situation for one in truth.questions} - {None})
    located = len(truth.situations) if pose_as_text else silent
    assert len(suffixes) == min(max(count, len(truth.situations)), len(truth.questions) + located)
    assert {one.pose for one in suffixes if one.pose} == {one.pose for one in truth.situations}
    assert len({one.ids.tobytes() for one in suffixes}) == len(suffixes)
    assert sum(one.type == LOCATE for one in suffixes) == located > 0


def test_a_situation_without_a_question_is_still_located(truth, template):
    suffixes = draw_suffixes(SuffixMaker(template), truth, [], 8, Draw(0, "test"))
    assert [one.type for one in suffixes] == [LOCATE] * len(truth.situations)


def test_other_draws_ask_other_questions(truth, template):
    maker = SuffixMaker(template)
    first, again, other = (draw_suffixes(maker, truth, truth.questions, 8, Draw(seed, "test")) for seed in (0, 0, 1))
    ids = [[one.ids.tobytes() for one in suffixes] for suffixes in (first, again, other)]
    assert ids[0] == ids[1] != ids[2]


def test_lengths_and_numbers_are_amounts():
    assert (amount_of("size", "140"), amount_of("count", "three"), amount_of("colour", "red")) == (1.4, 1.5, 0.0)


def test_types_are_asked_alike(truth, template):
    available = Counter(question.type for question in truth.questions)
    count = len(truth.situations) + len(available)
    asked = Counter(
        one.type for one in draw_suffixes(SuffixMaker(template), truth, truth.questions, count, Draw(0, ""))
    )
    assert set(available) <= set(asked)
    unsituated = {one.type for one in truth.questions if one.situation is None}
    fair = max(asked[kind] for kind in unsituated)
    assert all(asked[kind] >= min(fair - 1, available[kind]) for kind in available)
