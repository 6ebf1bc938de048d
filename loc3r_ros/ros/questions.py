"""Questions run one at a time in a thread of their own; whoever asks waits for the answer, not for the computation."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TypeVar

from loc3r_ros.errors import Loc3RError, NotReadyError

Result = TypeVar("Result")


class AnswerTimeoutError(Loc3RError):
    """An answer that took too long."""


class Questions:
    """The desk at which questions queue."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="loc3r_questions")
        self._is_closed = threading.Event()

    def ask(self, work: Callable[[], Result], timeout: float) -> Result:
        """Run `work` in the thread of the questions and return its result, or raise its error.

        Args:
            work: computes the answer.
            timeout: longest time for waiting and computing, s.

        Raises:
            AnswerTimeoutError: it took longer. The computation ends by itself; its result is dropped.
            NotReadyError: the node is stopping.
        """
        try:
            future = self._pool.submit(work)
        except RuntimeError:
            raise NotReadyError("The node is stopping.") from None
        try:
            return future.result(timeout)
        except FutureTimeoutError:
            future.cancel()
            raise _too_late(timeout) from None

    def stream(
        self, pieces: Callable[[], Iterator[str]], timeout: float, is_cancelled: Callable[[], bool]
    ) -> Iterator[str]:
        """Yield the pieces that an iterator makes in the thread of the questions.

        Args:
            pieces: makes the iterator.
            timeout: longest time for all of it, s.
            is_cancelled: is asked between pieces; the iterator is then closed and nothing more comes.

        Raises:
            AnswerTimeoutError: it took longer; the iterator is closed at its next piece.
            NotReadyError: the node is stopping, or `pieces` said so.
        """
        produced: queue.SimpleQueue[str | Exception | None] = queue.SimpleQueue()
        is_over = threading.Event()
        deadline = time.monotonic() + timeout
        try:
            self._pool.submit(self._produce, pieces, produced, lambda: is_over.is_set() or is_cancelled())
        except RuntimeError:
            raise NotReadyError("The node is stopping.") from None
        try:
            while True:
                try:
                    piece = produced.get(timeout=max(0.0, deadline - time.monotonic()))
                except queue.Empty:
                    raise _too_late(timeout) from None
                if piece is None:
                    return
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            is_over.set()

    def close(self) -> None:
        """Refuse new questions, end the one that runs at its next piece, and join the thread."""
        self._is_closed.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _produce(
        self,
        pieces: Callable[[], Iterator[str]],
        produced: queue.SimpleQueue[str | Exception | None],
        is_over: Callable[[], bool],
    ) -> None:
        try:
            iterator = pieces()
            for piece in iterator:
                if is_over() or self._is_closed.is_set():
                    getattr(iterator, "close", lambda: None)()
                    break
                produced.put(piece)
            produced.put(None)
        except Exception as error:
            produced.put(error)


def _too_late(timeout: float) -> AnswerTimeoutError:
    return AnswerTimeoutError(f"There was no answer within {timeout:g} s: ask again, or raise answer_timeout.")
