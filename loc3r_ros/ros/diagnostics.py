"""What the node tells of itself: per-stage times, rates and counts, as diagnostic_msgs/DiagnosticArray."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from loc3r_ros.ros.conversions import time_message

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@dataclass
class Summary:
    """Number, mean and largest of some values."""

    count: int = 0
    total: float = 0.0
    largest: float = 0.0

    def add(self, value: float) -> None:
        """Take in a value."""
        self.count += 1
        self.total += value
        self.largest = max(self.largest, value)

    @property
    def mean(self) -> float:
        """Mean, 0 where there is no value."""
        return self.total / self.count if self.count else 0.0


class Stages:
    """Named durations and ages since they were last read; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._summaries: dict[str, Summary] = {}

    def add(self, name: str, seconds: float) -> None:
        """Note one duration."""
        with self._lock:
            self._summaries.setdefault(name, Summary()).add(seconds)

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Note how long the block takes."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - begin)

    def read(self) -> dict[str, Summary]:
        """Return what was noted since the last call."""
        with self._lock:
            summaries, self._summaries = self._summaries, {}
            return summaries


def milliseconds(summaries: Mapping[str, Summary]) -> dict[str, str]:
    """Return the key-value pairs of durations: "decode mean/max [ms]" -> "1.2 / 3.4"."""
    return {
        f"{name} mean/max [ms]": f"{1e3 * summary.mean:.2f} / {1e3 * summary.largest:.2f}"
        for name, summary in summaries.items()
    }


def process_memory() -> dict[str, str]:
    """Return this process's memory, now and at its largest, and the memory that the machine has left."""
    page = resource.getpagesize()
    with open("/proc/self/statm", encoding="ascii") as statm:
        resident = int(statm.read().split()[1]) * page
    with open("/proc/meminfo", encoding="ascii") as meminfo:
        available = next((int(line.split()[1]) for line in meminfo if line.startswith("MemAvailable")), 0)
    peak = max(resident, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)  # the kernel counts lazily
    return {
        "memory resident [MB]": f"{resident / 1e6:.0f}",
        "memory peak [MB]": f"{peak / 1e6:.0f}",
        "memory available [MB]": f"{available * 1024 / 1e6:.0f}",
    }


def status(name: str, level: bytes, message: str, values: Mapping[str, object]) -> DiagnosticStatus:
    """Return one status."""
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message=message, hardware_id="loc3r", values=pairs)


def diagnostic_array(stamp: int, *statuses: DiagnosticStatus) -> DiagnosticArray:
    """Return the message of some statuses at a stamp in ns."""
    message = DiagnosticArray(status=list(statuses))
    message.header.stamp = time_message(stamp)
    return message
