"""Poses refer to what the situation names, answers to what the question asks."""

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loc3r_ros.data.mentions import FIRST_SIDE, NOTHING
from loc3r_ros.data.suffixes import UNSUPERVISED
from loc3r_ros.train.grounding import Taught, attention_of, columns_of, watching
from loc3r_ros.train.references import (
    answer_references,
    asked_amounts,
    chosen_names,
    named_amounts,
    pose_names,
    pose_references,
    poses_apart,
    question_names,
    refer_loss,
    seen_from,
    towards,
)


def test_a_pose_refers_to_what_is_near_and_to_what_is_in_front(lesson):
    texts = lesson[1].texts
    named = torch.tensor([[1, 3, 5, 8, 12]])
    texts = texts._replace(
        ids=torch.zeros(1, 14, dtype=torch.long),
        text=torch.tensor([[0] * 8 + [1] * 6]),
        named=named,
        position=torch.tensor([[6, 10]]),
        orientation=torch.tensor([[7, 11]]),
        pose=torch.tensor([[[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]),
        posed=torch.tensor([[True, True]]),
    )
    # beside it, far ahead, near and unknown; of the other text one before `<Pos>` and one in the question
    where = torch.tensor([[[1.0, 0.6], [5.0, 0.1], [1.1, 0.0], [3.0, 3.0], [0.1, 0.0]]])
    names = pose_names(texts, where, torch.tensor([[True, True, False, True, True]]))
    for to, named_by in zip(pose_references(texts, names)[:2], ([1, 8, 3, 8], [3, 8, 1, 8]), strict=True):
        assert to.columns.tolist() == [[6, 10, 7, 11]]
        assert to.share[:, 0].nonzero()[:, 2].tolist() == named_by and to.share.sum(dim=-1).eq(1).all()
    apart, told = poses_apart(texts, names, where)
    assert told.all()
    expected = torch.tensor([[0.0, -0.6], [-3.0, -3.0], [4.0, 0.1], [3.0, 3.0]])  # from the near, and to the faced
    torch.testing.assert_close(apart[0], expected)
    nowhere = pose_names(texts, where, torch.zeros(1, 5, dtype=torch.bool))
    assert not any(to.share.any() for to in pose_references(texts, nowhere))
    assert not poses_apart(texts, nowhere, where)[1].any()


def described(lesson, *places):
    """Return texts of one pose, in the origin and looking along x, by names at some places; and the places."""
    count = len(places)
    texts = lesson[1].texts._replace(
        ids=torch.zeros(1, count + 2, dtype=torch.long),
        text=torch.zeros(1, count + 2, dtype=torch.long),
        named=torch.arange(count)[None],
        position=torch.tensor([[count]]),
        orientation=torch.tensor([[count + 1]]),
        pose=torch.zeros(1, 1, 3),
        posed=torch.ones(1, 1, dtype=torch.bool),
    )
    return texts, torch.tensor([places])


NEAR, FACED, LEFT, LEFT_TOO, RIGHT, BEHIND = (0.2, -0.1), (4.0, 0.1), (0.5, 3.0), (-1.0, 2.0), (0.3, -2.0), (-3.0, 1.0)


@pytest.mark.parametrize(
    ("places", "left", "right"),
    [
        ((NEAR, FACED), {}, {}),
        ((NEAR, FACED, LEFT, RIGHT), {2: 1.0}, {3: 1.0}),
        ((LEFT, FACED, LEFT_TOO, NEAR), {0: 0.5, 2: 0.5}, {}),
        ((NEAR, BEHIND, RIGHT, FACED), {1: 1.0}, {2: 1.0}),
        ((NEAR, BEHIND, FACED), {1: 1.0}, {1: 1.0}),
    ],
)
def test_a_pose_refers_to_what_is_at_its_sides_too(lesson, places, left, right):
    texts, where = described(lesson, *places)
    _, _, to = pose_references(texts, pose_names(texts, where, torch.ones(1, len(places), dtype=torch.bool)))
    assert to.columns.tolist() == [[len(places), len(places) + 1]]
    for group, side in enumerate((left, right)):
        for pose in range(2):
            assert {int(at): float(to.share[0, group, pose, at]) for at in to.share[0, group, pose].nonzero()} == side


def test_an_answer_refers_to_the_names_in_its_question_and_to_where_it_is_asked_from(lesson):
    texts = lesson[1].texts._replace(
        ids=torch.zeros(1, 20, dtype=torch.long),
        text=torch.tensor([[0] * 11 + [1] * 7 + [-1] * 2]),
        named=torch.tensor([[1, 4, 6, 9, 13, 16, 0]]),  # in the situation, twice in the question, in the answer; ...
        position=torch.tensor([[2, 11]]),
        orientation=torch.tensor([[3, 12]]),
        posed=torch.tensor([[True, False]]),
        before=torch.tensor([[8, 9, 15, 0]]),
        answer=torch.tensor([[5, 6, 7, UNSUPERVISED]]),
    )
    first, last = question_names(texts)
    assert [one[0].nonzero().tolist() for one in (first, last)] == [[[0, 1], [1, 1], [2, 4]], [[0, 2], [1, 3], [2, 4]]]
    names, poses = answer_references(texts)
    assert names.share[0].nonzero().tolist() == [[0, 0, 4], [0, 1, 4], [0, 2, 13], [1, 0, 6], [1, 1, 9], [1, 2, 13]]
    assert poses.share[0].nonzero().tolist() == [[0, 0, 2], [0, 1, 2], [1, 0, 3], [1, 1, 3]]
    for to in (names, poses):
        assert torch.equal(to.columns, texts.before) and to.share.max() == 1


def test_what_is_asked_about_lies_where_it_is_seen_from_the_pose(lesson):
    texts = lesson[1].texts._replace(
        ids=torch.zeros(1, 20, dtype=torch.long),
        text=torch.tensor([[0] * 11 + [1] * 7 + [-1] * 2]),
        named=torch.tensor([[1, 4, 6, 13, 15]]),  # in the situation, twice in the question; twice in the other question
        position=torch.tensor([[2, 11]]),
        orientation=torch.tensor([[3, 12]]),
        pose=torch.tensor([[[1.0, 1.0, np.pi / 2], [0.0, 0.0, 0.0]]]),
        posed=torch.tensor([[True, False]]),
        before=torch.tensor([[8, 16, 0]]),
        answer=torch.tensor([[5, 7, UNSUPERVISED]]),
    )
    where = torch.tensor([[[9.0, 9.0], [1.0, 3.0], [4.0, 1.0], [0.0, 0.0], [3.0, 4.0]]])
    metres, known = seen_from(texts, where, torch.tensor([[True, True, True, True, False]]))
    assert known[0].tolist() == [[True] * 5, [False] * 5, [False] * 5]
    # two metres in front, three to the right; from one to the other
    torch.testing.assert_close(metres[0, 0], torch.tensor([2.0, 0.0, 0.0, -3.0, 13**0.5]))
    everything, known = seen_from(texts, where, torch.ones(1, 5, dtype=torch.bool))
    assert known[0, 1].tolist() == [False] * 4 + [True] and float(everything[0, 1, 4]) == 5.0


def test_an_answer_that_is_one_of_two_names_refers_to_it(lesson):
    texts = lesson[1].texts._replace(
        ids=torch.zeros(1, 20, dtype=torch.long),
        text=torch.tensor([[0] * 11 + [1] * 7 + [-1] * 2]),
        # in the situation, two in the question, the second again in the answer; then in another question and its answer
        named=torch.tensor([[1, 4, 6, 9, 13, 16, 0]]),
        category=torch.tensor([[7, 5, 7, 7, 5, 9, NOTHING]]),
        position=torch.tensor([[2, 11]]),
        orientation=torch.tensor([[3, 12]]),
        before=torch.tensor([[8, 9, 15, 16, 0]]),
        answer=torch.tensor([[5, 6, 7, 8, UNSUPERVISED]]),
    )
    to = chosen_names(texts)
    assert torch.equal(to.columns, texts.before)
    assert to.share[0].nonzero().tolist() == [[0, 0, 6], [0, 1, 6]] and to.share.max() == 1


def asked(lesson, category):
    """Return texts of one question from a situation, asked about one name and then another of a category."""
    return lesson[1].texts._replace(
        ids=torch.zeros(1, 9, dtype=torch.long),
        text=torch.zeros(1, 9, dtype=torch.long),
        named=torch.tensor([[3, 5, 0]]),
        category=torch.tensor([[2, category, NOTHING]]),
        position=torch.tensor([[0]]),
        orientation=torch.tensor([[1]]),
        pose=torch.zeros(1, 1, 3),
        posed=torch.ones(1, 1, dtype=torch.bool),
        amount=torch.tensor([[1.4]]),
        before=torch.tensor([[7]]),
        answer=torch.tensor([[4]]),
    )


@given(st.integers(0, 3), st.floats(-math.pi, math.pi), st.floats(0.5, 5.0))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_how_much_it_lies_at_the_side_is_the_cosine_of_the_angle_between_both(lesson, side, bearing, metres):
    texts = asked(lesson, FIRST_SIDE + side)
    where = torch.tensor([[[metres * math.cos(bearing), metres * math.sin(bearing)], [0.0, 0.0], [0.0, 0.0]]])
    seen, known = seen_from(texts, where, torch.tensor([[True, False, False]]))
    assert known[0, 0].tolist() == [True, True, False, False, False]
    assert float(towards(texts, seen)) == pytest.approx(math.cos(bearing - side * math.pi / 2), abs=1e-5)


def test_where_no_side_is_asked_for_it_is_the_front(lesson):
    texts = asked(lesson, 3)
    seen, _ = seen_from(
        texts, torch.tensor([[[-2.0, 0.0], [1.0, 0.0], [0.0, 0.0]]]), torch.ones(1, 3, dtype=torch.bool)
    )
    assert float(towards(texts, seen)) == -1.0


def test_answers_are_asked_for_the_size_that_their_question_is_about(lesson):
    texts = asked(lesson, 3)._replace(before=torch.tensor([[7, 8, 0]]), answer=torch.tensor([[4, 5, UNSUPERVISED]]))
    amount, known = asked_amounts(texts)
    assert known.tolist() == [[True, True, False]] and float(amount[0, 1]) == pytest.approx(1.4)
    assert not asked_amounts(texts._replace(amount=torch.zeros(1, 1)))[1].any()


def test_sizes_are_those_of_what_is_named(lesson):
    texts = asked(lesson, 3)
    amount, known = named_amounts(texts)
    assert known.tolist() == [[True, True, False]] and float(amount[0, 0]) == pytest.approx(1.4)
    assert not named_amounts(texts._replace(amount=torch.zeros(1, 1)))[1].any()


@torch.no_grad()
def test_the_loss_of_what_a_pose_refers_to_is_of_the_attention_that_the_layer_pays(lesson, payments):
    stage, batch = lesson
    module, language, texts = stage.module.eval(), stage.module.model.language, batch.texts
    layer = Taught.of(language).poses
    attention, paid = attention_of(language, layer), payments(language, layer)
    with watching(language) as passes:
        _, text, cache = module.hidden(batch)
    known = torch.ones(texts.named.shape, dtype=torch.bool)
    to, *_ = pose_references(texts, pose_names(texts, torch.zeros(*texts.named.shape, 2), known))
    taught = to.share[:, 0].sum(dim=-1) > 0
    assert taught.any()
    before = cache[layer].keys.shape[2] - text.shape[1]
    weights = paid[-1][:, paid[-1].shape[1] // 2 :]
    rows = torch.stack([columns_of(weights[:, head], to.columns) for head in range(weights.shape[1])], dim=1)
    paid_to = (rows[..., before:] * to.share).sum(dim=-1)
    expected = -paid_to.log().mean(dim=1)[taught].mean()
    loss = refer_loss(attention, passes[layer][-1], cache[layer].keys, texts, to)
    torch.testing.assert_close(loss, expected)
