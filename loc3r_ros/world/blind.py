"""The blind check: how many answers can be guessed from the words alone?

A linear probe on single words and pairs of neighbouring words of situation and question, tested on scenes that it was
not fitted on. What it scores above chance is a cue that the balancing missed. A language model may find more than it.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from loc3r_ros.world.balance import Balancer
from loc3r_ros.world.language import QUESTIONS, words
from loc3r_ros.world.questions import PAIRED, Question
from loc3r_ros.world.sample import make_text

FOLDS = 5
RIDGE = 3.0
NUMERIC = ("distance", "size", "room")
CHANCE = {"what": 1 / 20, "is": 1 / 2, "can": 1 / 2, "count": 1 / 4, "direction": 1 / 4, "colour": 1 / 12}
CHANCE |= {"closer": 1 / 2, "route": 1 / 4, "order": 1 / 2}
MRA_LIMITS = np.arange(0.5, 1.0, 0.05)
"""Confidences of the mean relative accuracy (VSI-Bench, arXiv 2412.14171)."""


@dataclass(frozen=True)
class Asked:
    """A question as a blind reader gets it."""

    scene: int
    type: str
    text: str
    question: str
    answer: str


@dataclass(frozen=True)
class BlindScore:
    """How a type of question fares without pictures; accuracy, or mean relative accuracy where the answer is a number.

    Attributes:
        count: questions.
        probe: score of the linear probe on unseen scenes.
        constant: score of always giving the commonest answer (the median of numbers).
        chance: score of guessing evenly; NaN where the answer is a number.
    """

    count: int
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
        asked += [_asked(seed, one, text) for one, text in zip(kept, texts, strict=True)]
    return asked


def score_blind(asked: Sequence[Asked]) -> dict[str, BlindScore]:
    """Return the blind score of each type of question that occurs."""
    scores = {}
    for kind in QUESTIONS:
        of_kind = [one for one in asked if one.type == kind]
        if len(of_kind) >= 10 * FOLDS:
            scores[kind] = _score_numbers(of_kind) if kind in NUMERIC else _score_words(of_kind)
    return scores


def format_scores(scores: dict[str, BlindScore]) -> str:
    """Return a table for people."""
    lines = [f"{'type':10} {'count':>6} {'blind':>6} {'constant':>8} {'chance':>6}"]
    for kind, score in scores.items():
        chance = "MRA" if math.isnan(score.chance) else f"{score.chance:.3f}"
        lines.append(f"{kind:10} {score.count:6d} {score.probe:6.3f} {score.constant:8.3f} {chance:>6}")
    return "\n".join(lines)


def mean_relative_accuracy(guess: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Return the share of (guess, limit) pairs whose relative error is under 1 - limit."""
    error = np.abs(np.asarray(guess, float) - truth) / np.asarray(truth, float)
    return float((error[:, None] < 1.0 - MRA_LIMITS).mean())


def _asked(seed: int, question: Question, situation: str) -> Asked:
    answer = question.answer
    if question.type in PAIRED:  # which of the two names, not which name
        first, second = question.text.rsplit(" or ", 1)
        answer = "first" if first.endswith(answer) and not second.startswith(f"the {answer}?") else "second"
    return Asked(seed, question.type, situation, question.text, answer)


def _features(asked: Sequence[Asked]) -> sparse.csr_matrix:
    """Return (N, V) counts of words and bigrams; in a pair "x or y" each word also counts with its side."""
    index: dict[tuple[str, ...], int] = defaultdict(lambda: len(index))
    rows, columns = [], []
    for row, one in enumerate(asked):
        for column in _grams(one):
            rows.append(row)
            columns.append(index[column])
    return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(asked), len(index)))


def _grams(one: Asked) -> Iterable[tuple[str, ...]]:
    situation, question = words(one.text), words(one.question)
    yield ("bias",)
    for part in (["<s>", *situation], ["<q>", *question]):
        yield from ((word,) for word in part)
        yield from itertools.pairwise(part)
    if one.type in PAIRED:
        middle = question.index("or")
        yield from (("before", word) for word in question[:middle])
        yield from (("after", word) for word in question[middle:])


def _predict(asked: Sequence[Asked], target: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return (N, K) ridge predictions of `target` (N, K), each fitted on the scenes of the other folds."""
    features = _features(asked)
    fold = np.array([one.scene % FOLDS for one in asked])
    guess = np.zeros(target.shape)
    for held in range(FOLDS):
        train = features[fold != held]
        system = (train.T @ train).toarray() + RIDGE * np.eye(train.shape[1])
        weights = np.linalg.solve(system, train.T @ target[fold != held])
        guess[fold == held] = features[fold == held] @ weights
    return guess


def _score_words(asked: Sequence[Asked]) -> BlindScore:
    answers = sorted({one.answer for one in asked})
    label = np.array([answers.index(one.answer) for one in asked])
    guess = _predict(asked, np.eye(len(answers))[label]).argmax(axis=1)
    constant = Counter(label.tolist()).most_common(1)[0][1] / len(asked)
    return BlindScore(len(asked), float((guess == label).mean()), constant, CHANCE[asked[0].type])


def _score_numbers(asked: Sequence[Asked]) -> BlindScore:
    truth = np.array([float(one.answer) for one in asked])
    guess = np.exp(_predict(asked, np.log(truth)[:, None])[:, 0])
    median = np.full(len(truth), np.median(truth))
    return BlindScore(len(asked), mean_relative_accuracy(guess, truth), mean_relative_accuracy(median, truth), math.nan)
