"""The one slot between the camera and the worker: the newest frame wins, and every frame is counted.

Frames are offered by the executor and handled by one worker thread, together with the few jobs (load, reset, seed) that
must not run beside `observe`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from sensor_msgs.msg import CompressedImage, Image


@dataclass(frozen=True)
class Frame:
    """An image as it arrived.

    Attributes:
        message: the message, not yet decoded.
        arrival: when it arrived, ns of the node's clock.
    """

    message: Image | CompressedImage
    arrival: int


class Outcome(Enum):
    """What became of a frame; the values are the names of the counts."""

    PROCESSED = "processed"
    FAILED = "failed"
    REPLACED = "replaced"


@dataclass(frozen=True)
class FrameCounts:
    """What became of the frames: `received == processed + failed + replaced + pending`.

    Attributes:
        received: frames that arrived.
        processed: frames that the localizer has seen.
        failed: frames that could not be used; a warning named the cause.
        replaced: frames left out for a newer one, or discarded by a reset or a stop.
        pending: frames waiting or in work, 0 to 2.
    """

    received: int = 0
    processed: int = 0
    failed: int = 0
    replaced: int = 0
    pending: int = 0


Job = tuple[Callable[[], Any], "Future[Any]"]


class Intake:
    """A slot of one, a queue of jobs, and the thread that empties both."""

    def __init__(self, handle: Callable[[Frame], Outcome]) -> None:
        """Start the worker.

        Args:
            handle: looks at a frame in the worker and says what became of it; it does not raise.
        """
        self._handle = handle
        self._changed = threading.Condition()
        self._waiting: Frame | None = None
        self._jobs: list[Job] = []
        self._counts = FrameCounts()
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="loc3r_observer", daemon=True)
        self._thread.start()

    @property
    def counts(self) -> FrameCounts:
        """What became of all frames so far."""
        with self._changed:
            return self._counts

    def offer(self, frame: Frame) -> None:
        """Take a frame in; it replaces the one that waits."""
        with self._changed:
            self._count(received=1, pending=1)
            self._discard_waiting()
            self._waiting = frame
            self._changed.notify()

    def submit(self, job: Callable[[], Any]) -> Future[Any]:
        """Run a job in the worker, before any frame that waits, and return its future; cancelled once closed."""
        future: Future[Any] = Future()
        with self._changed:
            if self._is_closed:
                future.cancel()
            else:
                self._jobs.append((job, future))
                self._changed.notify()
        return future

    def clear(self) -> None:
        """Discard the frame that waits."""
        with self._changed:
            self._discard_waiting()

    def close(self, timeout: float | None = None) -> None:
        """Discard the frame that waits and end the worker once its frame and its jobs are done.

        Args:
            timeout: s to wait for that; a worker that takes longer ends by itself, or with the process.
        """
        with self._changed:
            self._discard_waiting()
            self._is_closed = True
            self._changed.notify()
        self._thread.join(timeout)

    def _discard_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting = None
            self._count(replaced=1, pending=-1)

    def _count(self, **increments: int) -> None:
        changed = {name: getattr(self._counts, name) + number for name, number in increments.items()}
        self._counts = replace(self._counts, **changed)

    def _take(self) -> tuple[Job | None, Frame | None]:
        """Wait for work and return a job, a frame, or neither once the intake is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._waiting or self._is_closed)
            if self._jobs:
                return self._jobs.pop(0), None
            frame, self._waiting = self._waiting, None
            return None, frame

    def _work(self) -> None:
        while True:
            job, frame = self._take()
            if job is not None:
                _run(*job)
            elif frame is not None:
                outcome = self._handle(frame)
                with self._changed:
                    self._count(pending=-1, **{outcome.value: 1})
            else:
                return


def _run(job: Callable[[], Any], future: Future[Any]) -> None:
    try:
        future.set_result(job())
    except Exception as error:  # whoever waits for the future gets it
        future.set_exception(error)
