"""The slot of one and its counts, under load and in the order that users rely on."""

import random
import threading
from types import SimpleNamespace

import pytest

from loc3r_ros.ros.intake import Frame, Intake, Outcome


@pytest.fixture
def gate():
    """An intake whose worker waits at a gate before each frame."""
    gate = SimpleNamespace(open=threading.Event(), entered=threading.Event(), seen=[])

    def handle(frame):
        gate.entered.set()
        assert gate.open.wait(30)
        gate.seen.append(frame.arrival)
        return Outcome.PROCESSED

    gate.intake = Intake(handle)
    yield gate
    gate.open.set()
    gate.intake.close()


def frame(number):
    return Frame(None, number)


def test_the_newest_frame_wins_and_every_frame_is_counted(gate):
    gate.intake.offer(frame(0))
    assert gate.entered.wait(30)
    for number in range(1, 100):
        gate.intake.offer(frame(number))
    assert (gate.intake.counts.received, gate.intake.counts.replaced, gate.intake.counts.pending) == (100, 98, 2)
    gate.open.set()
    gate.intake.close()
    counts = gate.intake.counts
    assert gate.seen in ([0, 99], [0])  # closing discards the one that waits, unless it was taken already
    assert counts.received == counts.processed + counts.replaced == 100
    assert counts.pending == 0


def test_jobs_run_in_the_worker_before_the_frame_that_waits(gate):
    gate.intake.offer(frame(0))
    assert gate.entered.wait(30)
    gate.intake.offer(frame(1))
    job = gate.intake.submit(lambda: (threading.current_thread().name, list(gate.seen)))
    failing = gate.intake.submit(lambda: 1 / 0)
    gate.open.set()
    assert job.result(30) == ("loc3r_observer", [0])
    assert isinstance(failing.exception(30), ZeroDivisionError)


def test_clearing_discards_what_waits(gate):
    gate.intake.offer(frame(0))
    assert gate.entered.wait(30)
    gate.intake.offer(frame(1))
    gate.intake.clear()
    gate.open.set()
    assert gate.intake.submit(lambda: True).result(30)
    assert gate.seen == [0]
    assert gate.intake.counts.replaced == 1


def test_after_the_end_jobs_are_cancelled_and_closing_again_is_harmless():
    intake = Intake(lambda frame: Outcome.PROCESSED)
    intake.close()
    assert intake.submit(lambda: 1).cancelled()
    intake.close()


def test_counts_add_up_under_load():
    dice = random.Random(1)
    intake = Intake(lambda frame: dice.choice(list(Outcome)))
    producers = [threading.Thread(target=lambda: [intake.offer(frame(i)) for i in range(2000)]) for _ in range(4)]
    for producer in producers:
        producer.start()
    for producer in producers:
        producer.join()
    intake.close()
    counts = intake.counts
    assert counts.received == 8000 == counts.processed + counts.failed + counts.replaced
    assert counts.pending == 0
