"""How long a function takes, told in a way that other programs on the machine disturb least."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any


def interleaved(functions: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, tuple[float, float]]:
    """Run functions in turn and return, for each, the median CPU and wall seconds of `rounds` runs after a first one.

    In turn, so that whatever disturbs the machine disturbs all alike: ratios hold even where times do not.
    """
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in functions}
    for turn in range(rounds + 1):
        for name, function in functions.items():
            cpu, wall = time.process_time(), time.perf_counter()
            function()
            if turn:
                samples[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    return {
        name: (statistics.median(cpu for cpu, _ in times), statistics.median(wall for _, wall in times))
        for name, times in samples.items()
    }


def fastest(function: Callable[[], Any], rounds: int) -> float:
    """Return the CPU seconds of the fastest of some runs after a first one: what the machine can do, undisturbed."""
    times = []
    for _ in range(rounds + 1):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times[1:])


class Metronome:
    """Ticks at 20 Hz in a thread of its own, to tell how late the machine itself makes a timer; a context manager.

    Attributes:
        lateness: seconds by which its worst tick came late.
    """

    PERIOD = 0.05

    def __init__(self) -> None:
        self.lateness = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tick)

    def __enter__(self) -> Metronome:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _tick(self) -> None:
        last = time.monotonic()
        while not self._stop.wait(self.PERIOD):
            now = time.monotonic()
            self.lateness, last = max(self.lateness, now - last - self.PERIOD), now
