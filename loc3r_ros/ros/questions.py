"""The desk of the questions: one runs, in a thread of its own, some wait, and the rest is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from loc3r_ros.errors import Loc3RError, NotReadyError

Result = TypeVar("Result")

CANCELLED = "The question was cancelled."
LOOK_PERIOD = 0.05
"""s between two looks at whether a question that waits was cancelled."""


class BusyError(Loc3RError):
    """A question that is refused because too many wait already."""


class AnswerTimeoutError(Loc3RError):
    """An answer that took too long."""


class CancelledError(Loc3RError):
    """A question that its asker has cancelled."""


class Questions:
    """The desk. Whoever asks waits for the answer in a thread of his own."""

    def __init__(self, most_waiting: Callable[[], int]) -> None:
        """Open it.

        Args:
            most_waiting: returns how many questions may wait while one runs.
        """
        self._most_waiting = most_waiting
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="loc3r_questions")
        self._is_closed = threading.Event()
        self._lock = threading.RLock()
        self._count = 0

    def check_room(self) -> None:
        """Raise BusyError where one more question would be refused."""
        with self._lock:
            waiting = self._count - 1
        if waiting >= self._most_waiting():
            others = f" and {waiting} wait" if waiting else ""
            raise BusyError(f"Another question runs{others}: ask again later, or raise the parameter question_queue.")

    def ask(self, work: Callable[[], Result], timeout: float) -> Result:
        """Run what cannot be interrupted, else as `answer`; after a timeout its result is lost."""
        return self.answer(lambda: _whole(work), timeout)

    def answer(
        self,
        begin: Callable[[], Generator[str, None, Result]],
        timeout: float,
        is_cancelled: Callable[[], bool] | None = None,
        on_piece: Callable[[str], object] = lambda _: None,
    ) -> Result:
        """Run a generator to its end in the thread of the questions and return what it returns, or raise its error.

        Args:
            begin: makes the generator.
            timeout: longest time for waiting and running, s.
            is_cancelled: the asker no longer wants to know; asked after each piece, and while the question waits.
            on_piece: is told each piece, in the thread of the questions.

        Raises:
            BusyError: too many wait already.
            AnswerTimeoutError: it took longer; the generator is closed at its next piece.
            CancelledError: it was cancelled; the generator is closed at its next piece.
            NotReadyError: the node is stopping.
        """
        is_over = threading.Event()

        def is_unwanted() -> bool:
            return is_over.is_set() or (is_cancelled is not None and is_cancelled())

        future = self._submit(lambda: self._run(begin, is_unwanted, on_piece))
        deadline = time.monotonic() + timeout
        try:
            while not future.done():
                left = deadline - time.monotonic()
                if left <= 0.0:
                    raise AnswerTimeoutError(
                        f"There was no answer within {timeout:g} s: ask again, or raise answer_timeout."
                    )
                if is_cancelled is not None and is_cancelled():
                    raise CancelledError(CANCELLED)
                wait([future], left if is_cancelled is None else min(left, LOOK_PERIOD))
            return future.result()
        finally:
            is_over.set()
            future.cancel()

    def close(self) -> None:
        """Refuse new questions, end the one that runs at its next piece, and join the thread."""
        self._is_closed.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self, work: Callable[[], Result]) -> Future[Result]:
        with self._lock:
            self.check_room()
            try:
                future = self._pool.submit(work)
            except RuntimeError:
                raise NotReadyError("The node is stopping.") from None
            self._count += 1
        future.add_done_callback(self._leave)
        return future

    def _leave(self, _: Future[Result]) -> None:
        with self._lock:
            self._count -= 1

    def _run(
        self,
        begin: Callable[[], Generator[str, None, Result]],
        is_unwanted: Callable[[], bool],
        on_piece: Callable[[str], object],
    ) -> Result:
        pieces = begin()
        while True:
            try:
                piece = next(pieces)
            except StopIteration as end:
                result: Result = end.value
                return result
            if self._is_closed.is_set():
                pieces.close()
                raise NotReadyError("The node is stopping.")
            if is_unwanted():
                pieces.close()
                raise CancelledError(CANCELLED)
            on_piece(piece)


def _whole(work: Callable[[], Result]) -> Generator[str, None, Result]:
    """Return a generator without pieces that returns what `work` does."""
    yield from ()
    return work()
