"""A session is saved where it changed, once more at the end, and a failure is told and tried again."""

import threading

from loc3r_ros.errors import NotReadyError, SessionError
from loc3r_ros.ros.autosave import Autosave


class Desk:
    """Counts saves; the test says in which state the session is, and what goes wrong."""

    def __init__(self):
        self.state, self.error, self.saves, self.warnings = 0, None, [], []
        self.tried = threading.Semaphore(0)

    def save(self):
        self.tried.release()
        if self.error is not None:
            raise self.error
        self.saves.append(self.state)

    def begin(self, interval=0.01):
        return Autosave(self.save, lambda: self.state, lambda: interval, self.warnings.append)


def test_it_saves_what_changed():
    desk = Desk()
    autosave = desk.begin()
    desk.state = 1
    assert desk.tried.acquire(timeout=30)
    desk.state = 2
    assert desk.tried.acquire(timeout=30)
    autosave.close()
    assert desk.saves == [1, 2] and not desk.warnings


def test_it_saves_at_the_end_and_not_without_a_change():
    desk = Desk()
    idle, busy = desk.begin(3600.0), desk.begin(3600.0)
    idle.close()
    assert desk.saves == []
    desk.state = 5
    busy.close()
    assert desk.saves == [5]


def test_a_failure_is_told_and_tried_again():
    desk = Desk()
    desk.error = SessionError("The disk is full.")
    autosave = desk.begin()
    desk.state = 1
    for _ in range(2):
        assert desk.tried.acquire(timeout=30)
    desk.error = None
    autosave.close()
    assert desk.saves[0] == 1 and "The disk is full." in desk.warnings[0]


def test_nothing_to_save_yet_is_no_warning():
    desk = Desk()
    desk.error = NotReadyError("No keyframe yet.")
    autosave = desk.begin()
    desk.state = 1
    assert desk.tried.acquire(timeout=30)
    autosave.close()
    assert not desk.warnings and not desk.saves
