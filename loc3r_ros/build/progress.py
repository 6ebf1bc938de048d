"""A line every few seconds while something long goes on, so that nobody takes it for dead."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PERIOD = 5.0
"""Seconds between two lines."""

Say = Callable[[str], None]


class Progress:
    """What is being done, told by those who do it from any thread."""

    def __init__(self) -> None:
        self._phases: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def begin(self, phase: str, steps: int) -> None:
        """Note a phase of so many steps, perhaps within another."""
        with self._lock:
            self._phases[phase] = (0, steps)

    def step(self, phase: str, done: int) -> None:
        """Note that a step was done, counted from 0."""
        with self._lock:
            self._phases[phase] = (done + 1, self._phases.get(phase, (0, 0))[1])

    def end(self, phase: str) -> None:
        """Note that a phase ended."""
        with self._lock:
            self._phases.pop(phase, None)

    def __str__(self) -> str:
        """Return the phases that go on, the outermost first."""
        with self._lock:
            phases = list(self._phases.items())
        return ", ".join(f"{name} {done}/{steps}" if steps else name for name, (done, steps) in phases) or "working"


@contextmanager
def told(what: str, say: Say, progress: Progress, period: float = PERIOD) -> Iterator[None]:
    """Say every `period` seconds how far it is while the block runs, and at its end how long it took."""
    begin, ended = time.monotonic(), threading.Event()

    def tell() -> None:
        while not ended.wait(period):
            say(f"{what}: {time.monotonic() - begin:.0f} s, {progress}")

    teller = threading.Thread(target=tell, name="loc3r-build-progress", daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()
    say(f"{what}: done in {time.monotonic() - begin:.0f} s")
