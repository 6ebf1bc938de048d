"""How long a function takes, told in a way that other programs on the machine disturb least."""

from __future__ import annotations

import statistics
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
