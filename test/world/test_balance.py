from collections import Counter
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from loc3r_ros.world.balance import Balancer, balanced
from loc3r_ros.world.facts import Cue
from loc3r_ros.world.questions import Question


def question(answer, *cues):
    return Question("is", "Is it?", answer, None, cues)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(("yes", "yes", "yes", "no")))))
def test_two_outcomes_stay_level_for_every_key(stream):
    balancer = Balancer()
    taken = Counter()
    for key, answer in stream:
        taken[key, answer] += balancer.take(question(answer, Cue((key,), answer, 2)))
        assert all(abs(taken[each, "yes"] - taken[each, "no"]) <= 1 for each in "abc")


def test_a_skewed_stream_is_thinned_no_more_than_needed():
    rng = np.random.default_rng(0)
    answers = rng.choice(["yes", "no"], 1000, p=[0.3, 0.7])
    balancer = Balancer()
    taken = sum(balancer.take(question(answer, Cue(("k",), answer, 2))) for answer in answers)
    assert taken > 0.85 * 2 * (answers == "yes").sum()


def test_a_question_counts_for_all_its_cues_or_none():
    balancer = Balancer()
    common = Cue(("a",), "yes", 2)
    assert balancer.take(question("yes", common))
    assert not balancer.take(question("yes", common, Cue(("b",), "yes", 2)))
    assert balancer.take(question("yes", Cue(("b",), "yes", 2)))


def test_with_tolerance_an_outcome_that_never_comes_does_not_stop_the_others():
    balancer = Balancer()
    taken = Counter(
        outcome for outcome in "abcd" * 200 if balancer.take(question(outcome, Cue(("k",), outcome, 5, 0.3)))
    )
    assert min(taken[outcome] for outcome in "abcd") > 150
    assert max(taken.values()) <= 1.3 * sum(taken.values()) / 5 + 2


def test_questions_without_cues_are_all_kept():
    balancer = Balancer()
    assert all(balancer.take(question("red")) for _ in range(10))


def test_a_stream_of_samples_is_thinned_and_else_unchanged(samples):
    thinned = list(balanced(samples))
    for before, after in zip(samples, thinned, strict=True):
        assert set(after.questions) <= set(before.questions)
        assert replace(after, questions=before.questions).scene is before.scene
    yes = Counter(one.answer for sample in thinned for one in sample.questions if one.type == "can")
    assert 0 < len([one for sample in thinned for one in sample.questions]) < sum(len(one.questions) for one in samples)
    assert yes["yes"] > 0
    assert yes["no"] > 0
