"""Somebody who waits is told."""

import threading

from loc3r_ros.build.progress import PERIOD, Progress, told


def test_a_line_in_every_period_and_one_at_the_end():
    lines, enough = [], threading.Event()

    def say(text):
        lines.append(text)
        if len(lines) == 3:
            enough.set()

    progress = Progress()
    progress.begin("Building", 4)
    progress.step("Building", 0)
    with told("vision", say, progress, period=0.001):
        assert enough.wait(60)
    assert lines[0] == "vision: 0 s, Building 1/4"
    assert lines[-1].startswith("vision: done in ")
    assert PERIOD == 5.0


def test_an_error_passes_and_nothing_is_called_done():
    lines = []
    try:
        with told("vision", lines.append, Progress(), period=60.0):
            raise RuntimeError("no kernels")
    except RuntimeError:
        pass
    assert lines == []


def test_phases_come_and_go():
    progress = Progress()
    assert str(progress) == "working"
    progress.begin("Building", 2)
    progress.begin("Tactics", 0)
    progress.step("Unknown", 3)
    assert str(progress) == "Building 0/2, Tactics, Unknown"
    progress.end("Tactics")
    progress.end("Tactics")
    assert str(progress) == "Building 0/2, Unknown"
