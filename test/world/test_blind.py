import math

import numpy as np
import pytest

from loc3r_ros.cli import main
from loc3r_ros.world.blind import Asked, ask_many, format_scores, mean_relative_accuracy, score_blind
from loc3r_ros.world.splits import FIRST_VALIDATION_SEED


def stream(count, cue, seed):
    """Questions whose answer the word "red" betrays with probability `cue`."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        answer = rng.choice(["yes", "no"])
        red = (answer == "yes") if rng.random() < cue else rng.random() < 0.5
        yield Asked(
            "is", "I am here.", f"Is the {'red' if red else 'blue'} {rng.choice(['box', 'bin'])} there?", answer
        )


@pytest.mark.parametrize(("cue", "low", "high"), [(0.0, 0.42, 0.58), (0.8, 0.8, 1.0)])
def test_the_probe_finds_a_cue_where_there_is_one(cue, low, high):
    score = score_blind(list(stream(600, cue, 0)), list(stream(600, cue, 1)))["is"]
    assert low < score.probe < high
    assert score.chance == 0.5


def test_the_probe_finds_which_side_of_a_choice_wins():
    pairs = [
        ("closer", f"Which is closer, the {a} or the {b}?", a, b) for a, b in (("bed", "box"), ("box", "bed"))
    ] * 50
    asked = [Asked(kind, "", text, "first" if one == "bed" else "second") for kind, text, one, _ in pairs]
    assert score_blind(asked, asked)["closer"].probe == 1.0


def test_numbers_are_scored_by_relative_accuracy():
    asked = [
        Asked("size", "", f"How long is the {name}?", str(size)) for name, size in (("bed", 200), ("bin", 40))
    ] * 40
    score = score_blind(asked, asked)["size"]
    assert score.probe > 0.9 > score.constant
    assert math.isnan(score.chance)
    assert "size" in format_scores({"size": score})


def test_mean_relative_accuracy():
    assert mean_relative_accuracy([1.0, 2.0], [1.0, 2.0]) == 1.0
    assert mean_relative_accuracy([1.22], [1.0]) == pytest.approx(0.6)
    assert mean_relative_accuracy([1.6], [1.0]) == 0.0


@pytest.mark.slow
def test_balanced_answers_cannot_be_guessed_from_words():
    train = ask_many(range(80))
    test = ask_many(range(FIRST_VALIDATION_SEED, FIRST_VALIDATION_SEED + 80))
    scores = score_blind(train, test)
    for kind in ("is", "can", "closer", "order", "count", "direction", "route", "colour"):
        score = scores[kind]
        error = 3 * math.sqrt(score.chance * (1 - score.chance) / score.tested)
        assert score.probe < score.chance + max(error, 0.06), (kind, score)


def test_world_blind_prints_a_table(capsys):
    assert main(["world", "blind", "--scenes", "6"]) == 0
    said = capsys.readouterr()
    assert "chance" in said.out
    assert "\nis  " in said.out
    assert "validation scenes" in said.err
