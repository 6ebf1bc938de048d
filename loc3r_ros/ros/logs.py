"""Warnings that may come with every frame, thinned out by their cause."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable

PERIOD = 5.0
"""s between two log entries of one cause."""
MOST_CAUSES = 200


class ThrottledLog:
    """Logs a text unless its cause was logged shortly before; texts that differ only in numbers have one cause."""

    def __init__(self, log: Callable[[str], object]) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._causes: dict[str, tuple[float, int]] = {}

    def __call__(self, text: str) -> bool:
        """Log the text, or count it; return whether it was logged."""
        cause = re.sub(r"-?\d[\d.e+-]*", "#", text)
        now = time.monotonic()
        with self._lock:
            last, left_out = self._causes.get(cause, (-PERIOD, 0))
            if now - last < PERIOD:
                self._causes[cause] = last, left_out + 1
                return False
            if len(self._causes) > MOST_CAUSES:
                self._causes.clear()
            self._causes[cause] = now, 0
        self._log(text + (f" ({left_out} more such since the last entry)" if left_out else ""))
        return True
