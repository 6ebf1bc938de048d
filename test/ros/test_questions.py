"""The desk at which questions queue."""

import threading

import pytest

from loc3r_ros.errors import NotReadyError
from loc3r_ros.ros.questions import AnswerTimeoutError, Questions


def test_questions_queue_and_end_with_the_node():
    questions = Questions()
    assert questions.ask(lambda: 1, 30.0) == 1
    with pytest.raises(ZeroDivisionError):
        questions.ask(lambda: 1 / 0, 30.0)
    assert list(questions.stream(lambda: iter("abc"), 30.0, lambda: False)) == ["a", "b", "c"]
    with pytest.raises(NotReadyError):
        list(questions.stream(lambda: raise_(NotReadyError("No.")), 30.0, lambda: False))
    questions.close()
    for request in (lambda: questions.ask(lambda: 1, 1.0), lambda: list(questions.stream(lambda: "a", 1.0, bool))):
        with pytest.raises(NotReadyError, match="stopping"):
            request()


def test_a_late_answer_is_an_error():
    release = threading.Event()
    questions = Questions()
    with pytest.raises(AnswerTimeoutError, match=r"within 0\.05 s"):
        questions.ask(release.wait, 0.05)
    with pytest.raises(AnswerTimeoutError):
        list(questions.stream(lambda: iter("abc"), 0.05, lambda: False))  # still in the queue
    release.set()
    questions.close()


def raise_(error):
    raise error
