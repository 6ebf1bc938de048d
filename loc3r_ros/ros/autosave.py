"""Saves a session every now and then, in a thread of its own, and once more at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable

from loc3r_ros.errors import Loc3RError, NotReadyError


class Autosave:
    """Saves where something has changed since the last time, from its construction to `close`."""

    def __init__(
        self,
        save: Callable[[], object],
        state: Callable[[], Hashable],
        interval: Callable[[], float],
        warn: Callable[[str], object],
    ) -> None:
        """Begin to wait.

        Args:
            save: writes the session; may raise `Loc3RError`.
            state: says in which state the session is: it is saved where that changed.
            interval: returns the seconds from one save to the next.
            warn: logs a warning.
        """
        self._save, self._state, self._interval, self._warn = save, state, interval, warn
        self._saved = state()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="loc3r_autosave")
        self._thread.start()

    def close(self) -> None:
        """Save a last time and end the thread."""
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(self._interval()):
            self._save_if_changed()
        self._save_if_changed()

    def _save_if_changed(self) -> None:
        state = self._state()
        if state == self._saved:
            return
        try:
            self._save()
            self._saved = state
        except NotReadyError:
            pass  # there is nothing to save yet
        except Loc3RError as error:
            self._warn(f"The session was not saved: {error}")
