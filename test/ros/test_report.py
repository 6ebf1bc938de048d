"""What the node says of the camera's silence, on a clock of the test's own."""

from types import SimpleNamespace

import pytest

from loc3r_ros.ros import report

TIMEOUT = SimpleNamespace(image_timeout=5.0)
NOBODY = "0 images in 5 s on /image: it has no publisher."
PAUSED = "0 images in 5 s on /image: the bag is paused."


class Watched:
    """A reporter whose camera can be made to send, to fall silent and to be ignored."""

    def __init__(self, monkeypatch):
        self.now, self.received, self.cause, self.state = 1000.0, 0, "it has no publisher.", "active"
        monkeypatch.setattr(report.time, "monotonic", lambda: self.now)
        self.inputs = SimpleNamespace(topic="/image", is_enabled=True, describe_silence=lambda: self.cause)
        self.lines, self.is_throttled = [], False
        self.reporter = report.Reporter(self.inputs, self.warn, self.lines.append)

    def warn(self, text):
        if not self.is_throttled:
            self.lines.append(text)
        return not self.is_throttled

    def run(self, seconds, images=0):
        """Look twice a second, with so many images each time; return what was said."""
        self.lines.clear()
        for _ in range(2 * seconds):
            self.now += 0.5
            self.received += images
            session = SimpleNamespace(counts=SimpleNamespace(received=self.received), loading_time=None)
            self.reporter.watch(self.state, session, TIMEOUT)
        return list(self.lines)


@pytest.fixture
def watched(monkeypatch):
    return Watched(monkeypatch)


def test_silence_is_told_once_and_so_is_its_end(watched):
    assert watched.run(20, images=5) == []
    assert watched.run(600) == [NOBODY]  # a bag has ended
    assert watched.run(20, images=5) == ["Images arrive on /image, after 600 s without."]
    assert watched.run(600) == [NOBODY]


def test_another_reason_is_told_once_too(watched):
    assert watched.run(20) == [NOBODY]
    watched.cause = "the bag is paused."
    assert watched.run(20) == [PAUSED]
    watched.cause = "it has no publisher."
    assert watched.run(20) == []
    watched.state = "inactive"
    assert watched.run(20) == ["0 images in 5 s on /image: the node is inactive: activate it."]


def test_a_short_gap_is_no_silence(watched):
    for _ in range(10):
        assert watched.run(4) == watched.run(1, images=1) == []


def test_what_was_throttled_is_told_later(watched):
    watched.is_throttled = True
    assert watched.run(20) == []
    watched.is_throttled = False
    assert watched.run(20) == [NOBODY]


def test_neither_a_pause_on_demand_nor_a_new_session_is_news_of_the_camera(watched):
    watched.run(20, images=5)
    assert watched.run(20) == [NOBODY]
    watched.inputs.is_enabled = False
    assert watched.run(20) == []
    watched.inputs.is_enabled = True
    assert watched.run(20) == [NOBODY]
    watched.received = 0  # the counts of a new session
    assert watched.run(4) == []
