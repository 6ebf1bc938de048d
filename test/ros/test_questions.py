"""The desk of the questions: one runs, some wait, the rest is refused; whoever cancels or waits too long is let go."""

import threading

import pytest

from loc3r_ros.errors import NotReadyError
from loc3r_ros.ros.questions import AnswerTimeoutError, BusyError, CancelledError, Questions


@pytest.fixture
def questions():
    questions = Questions(lambda: 1)
    yield questions
    questions.close()


class Blocked:
    """A question that runs until it is released; a context manager."""

    def __init__(self, questions):
        self.release, self.begun = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=questions.ask, args=(self._run, 30.0))

    def _run(self):
        self.begun.set()
        self.release.wait(30.0)

    def __enter__(self):
        self._thread.start()
        assert self.begun.wait(30.0)
        return self

    def __exit__(self, *_):
        self.release.set()
        self._thread.join()


def spell(text, heard=None):
    for letter in text:
        yield letter
        if heard is not None:
            heard.append(letter)
    return text.upper()


def test_an_answer_comes_in_pieces_and_whole(questions):
    pieces = []
    assert questions.answer(lambda: spell("abc"), 30.0, on_piece=pieces.append) == "ABC"
    assert pieces == ["a", "b", "c"]
    assert questions.ask(lambda: 1, 30.0) == 1


def test_errors_reach_whoever_asked(questions):
    with pytest.raises(ZeroDivisionError):
        questions.ask(lambda: 1 / 0, 30.0)
    with pytest.raises(TimeoutError, match="of the work"):  # which no timeout of ours is
        questions.ask(lambda: raise_(TimeoutError("of the work")), 30.0)
    with pytest.raises(NotReadyError, match=r"No\."):
        questions.answer(lambda: raise_(NotReadyError("No.")), 30.0)


def test_one_waits_and_the_third_is_refused(questions):
    with Blocked(questions) as first:
        second = threading.Thread(target=questions.ask, args=(lambda: None, 30.0))
        questions.check_room()
        second.start()
        with pytest.raises(BusyError, match="Another question runs and 1 wait"):
            while True:  # until the second stands at the desk
                questions.check_room()
        with pytest.raises(BusyError):
            questions.ask(lambda: None, 30.0)
        first.release.set()
        second.join()
    questions.ask(lambda: None, 30.0)


def test_no_second_question_where_none_may_wait():
    questions = Questions(lambda: 0)
    with Blocked(questions), pytest.raises(BusyError, match="Another question runs: ask again later"):
        questions.ask(lambda: None, 30.0)
    assert questions.ask(lambda: 1, 30.0) == 1
    questions.close()


def test_a_cancelled_question_stops_at_its_next_piece(questions):
    cancelled, heard = threading.Event(), []
    with pytest.raises(CancelledError, match="was cancelled"):
        questions.answer(lambda: spell("abc", heard), 30.0, cancelled.is_set, lambda _: cancelled.set())
    questions.ask(lambda: None, 30.0)  # behind the cancelled one
    assert heard == ["a"]


def test_a_question_is_cancelled_while_it_waits(questions):
    with Blocked(questions), pytest.raises(CancelledError):
        questions.answer(lambda: spell("abc"), 30.0, lambda: True)
    assert questions.ask(lambda: 1, 30.0) == 1


def test_a_late_answer_is_an_error_and_its_work_ends(questions):
    heard, go_on = [], threading.Event()

    def slow():
        yield "a"
        go_on.wait(30.0)
        yield "b"
        heard.append("b")

    with pytest.raises(AnswerTimeoutError, match=r"within 0\.05 s"):
        questions.answer(slow, 0.05)
    with pytest.raises(AnswerTimeoutError):
        questions.answer(lambda: spell("abc", heard), 0.05)  # still in the queue
    go_on.set()
    questions.ask(lambda: None, 30.0)
    assert heard == []


def test_nothing_is_asked_of_a_closed_desk(questions):
    questions.close()
    with pytest.raises(NotReadyError, match="stopping"):
        questions.ask(lambda: 1, 1.0)
    questions.check_room()


def raise_(error):
    raise error
