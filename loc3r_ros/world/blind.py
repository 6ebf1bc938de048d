"""The blind check: how many answers can be guessed from the words alone?

A linear probe on single words and pairs of neighbouring words of situation and question, fitted on one stream of scenes
and tested on another, each balanced by itself. What it scores above chance is a cue that the balancing missed. A
language model may find more than it.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from loc3r_ros.world.balance import Balancer
from loc3r_ros.world.language import QUESTIONS, words
from loc3r_ros.world.questions import PAIRED, Question
from loc3r_ros.world.sample import make_text

RIDGE = 3.0
MIN_QUESTIONS = 30
"""Fewer questions of a type are not scored."""
NUMERIC = ("distance", "size", "room")
CHANCE = {"what": 1 / 20, "is": 1 / 2, "can": 1 / 2, "count": 1 / 4, "direction": 1 / 4, "colour": 1 / 12}
CHANCE |= {"closer": 1 / 2, "route": 1 / 4, "order": 1 / 2}
MRA_LIMITS = np.arange(0.5, 1.0, 0.05)
"""Confidences of the mean relative accuracy (VSI-Bench, arXiv 2412.14171)."""


@dataclass(frozen=True)
class Asked:
    """A question as a blind reader gets it."""

    type: str
    text: str
    question: str
    answer: str


@dataclass(frozen=True)
class BlindScore:
    """How a type of question fares without pictures; accuracy, or mean relative accuracy where the answer is a number.

    Attributes:
        fitted: questions that the probe was fitted on.
        tested: questions that it was tested on.
        probe: its score.
        constant: score of always giving the commonest answer (the median of numbers) of those fitted on.
        chance: score of guessing evenly; NaN where the answer is a number.
    """

    fitted: int
    tested: int
    probe: float
    constant: float
    chance: float


def ask_many(seeds: Iterable[int], balance: bool = True) -> list[Asked]:
    """Return the questions of many scenes, thinned to a balance or as they were drawn."""
    balancer = Balancer()
    asked: list[Asked] = []
    for seed in seeds:
        situations, questions = make_text(seed)
        kept = [question for question in questions if not balance or balancer.take(question)]
        texts = ["" if one.situation is None else situations[one.situation].text for one in kept]
        asked += [_asked(one, text) for one, text in zip(kept, texts, strict=True)]
    return asked


def score_blind(train: Sequence[Asked], test: Sequence[Asked]) -> dict[str, BlindScore]:
    """Return the blind score of each type of question that occurs often enough."""
    scores = {}
    for kind in QUESTIONS:
        known, new = ([one for one in asked if one.type == kind] for asked in (train, test))
        if min(len(known), len(new)) >= MIN_QUESTIONS:
            scores[kind] = _score_numbers(known, new) if kind in NUMERIC else _score_words(known, new)
    return scores


def format_scores(scores: dict[str, BlindScore]) -> str:
    """Return a table for people."""
    lines = [f"{'type':10} {'fitted':>6} {'tested':>6} {'blind':>6} {'constant':>8} {'chance':>6}"]
    for kind, score in scores.items():
        chance = "MRA" if math.isnan(score.chance) else f"{score.chance:.3f}"
        lines.append(
            f"{kind:10} {score.fitted:6d} {score.tested:6d} {score.probe:6.3f} {score.constant:8.3f} {chance:>6}"
        )
    return "\n".join(lines)


def mean_relative_accuracy(guess: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Return the share of (guess, limit) pairs whose relative error is under 1 - limit."""
    error = np.abs(np.asarray(guess, float) - truth) / np.asarray(truth, float)
    return float((error[:, None] < 1.0 - MRA_LIMITS).mean())


def _asked(question: Question, situation: str) -> Asked:
    answer = question.answer
    if question.type in PAIRED:  # which of the two names, not which name
        first, second = question.text.rsplit(" or ", 1)
        answer = "first" if first.endswith(answer) and not second.startswith(f"the {answer}?") else "second"
    return Asked(question.type, situation, question.text, answer)


def _features(asked: Sequence[Asked], index: dict[tuple[str, ...], int]) -> sparse.csr_matrix:
    """Return (N, V) counts of the words and bigrams of `index`."""
    places = [(row, index[gram]) for row, one in enumerate(asked) for gram in _grams(one) if gram in index]
    rows, columns = np.array(places).T
    return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(asked), len(index)))


def _grams(one: Asked) -> Iterator[tuple[str, ...]]:
    """Yield words and bigrams; in a choice "x or y" each word also with its side."""
    situation, question = words(one.text), words(one.question)
    yield ("",)
    for part in (["<s>", *situation], ["<q>", *question]):
        yield from ((word,) for word in part)
        yield from itertools.pairwise(part)
    if one.type in PAIRED:
        middle = question.index("or")
        yield from (("before", word) for word in question[:middle])
        yield from (("after", word) for word in question[middle:])


def _predict(train: Sequence[Asked], target: npt.NDArray[np.float64], test: Sequence[Asked]) -> npt.NDArray[np.float64]:
    """Return (M, K) ridge predictions for `test`, fitted on `target` (N, K) of `train`."""
    index = {gram: number for number, gram in enumerate(dict.fromkeys(gram for one in train for gram in _grams(one)))}
    features = _features(train, index)
    system = (features @ features.T).toarray() + RIDGE * np.eye(len(train))  # dual form: fewer questions than bigrams
    return np.asarray(_features(test, index) @ (features.T @ np.linalg.solve(system, target)))


def _score_words(train: Sequence[Asked], test: Sequence[Asked]) -> BlindScore:
    answers = sorted({one.answer for one in train})
    target = np.eye(len(answers))[[answers.index(one.answer) for one in train]]
    guesses = _predict(train, target, test).argmax(axis=1)
    right = [answers[guess] == one.answer for guess, one in zip(guesses, test, strict=True)]
    common = Counter(one.answer for one in train).most_common(1)[0][0]
    constant = [one.answer == common for one in test]
    return BlindScore(len(train), len(test), float(np.mean(right)), float(np.mean(constant)), CHANCE[test[0].type])


def _score_numbers(train: Sequence[Asked], test: Sequence[Asked]) -> BlindScore:
    known, truth = (np.array([float(one.answer) for one in asked]) for asked in (train, test))
    guess = np.exp(_predict(train, np.log(known)[:, None], test)[:, 0])
    probe = mean_relative_accuracy(guess, truth)
    constant = mean_relative_accuracy(np.full(len(truth), np.median(known)), truth)
    return BlindScore(len(train), len(test), probe, constant, math.nan)
