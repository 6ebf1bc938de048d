import math

import pytest

from loc3r_ros.evaluation.answers import is_exact, normalised, number_in, relative_accuracy


@pytest.mark.parametrize(
    ("reply", "answer", "right"),
    [
        ("yes", "yes", True),
        (" The  Red chair.", "red chair", True),
        ("a sofa", "sofa", True),
        ("red chair", "chair", False),
        ("", "no", False),
        ("turn left", "left", False),
        ("theatre", "atre", False),
        ("1.2", "1.2", True),
        ("12", "1.2", False),
    ],
)
def test_exact_answers(reply, answer, right):
    assert is_exact(reply, answer) is right


def test_normalised_text_stays_as_it_is():
    assert normalised(normalised(" An  Apple, ")) == normalised("apple") == "apple"


def test_numbers_in_words():
    assert number_in("about 2.5 metres") == 2.5
    assert number_in("40.") == 40.0
    assert math.isnan(number_in("far"))


def test_relative_accuracy_of_numbers():
    assert relative_accuracy("2.0", "2.0") == 1.0
    assert relative_accuracy("2.3 m", "2.0") == pytest.approx(0.7)  # 15 % off: right up to the limit of 0.8
    assert relative_accuracy("4", "2.0") == 0.0
    assert relative_accuracy("no idea", "2.0") == 0.0
