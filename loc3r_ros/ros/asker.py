"""Asks the node on behalf of the page, in a thread of its own: one request at a time, which can be stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import Protocol

from loc3r_ros.errors import Loc3RError
from loc3r_ros.msg import Answer
from loc3r_ros.ros import viewer_messages
from loc3r_ros.ros.client import DISCOVERY, Client
from loc3r_ros.viewer import text
from loc3r_ros.viewer.content import Described, Exchange

TIMEOUT = 60.0
"""Longest time for an answer, s."""


class ShowExchange(Protocol):
    """Shows what is asked and answered."""

    def __call__(self, exchange: Exchange, number: int | None = None) -> int:
        """Show a new exchange, or what has become of one; return its number."""
        ...


class Asker:
    """The desk behind the page."""

    def __init__(
        self,
        namespace: str,
        show_exchange: ShowExchange,
        show_place: Callable[[Described], object],
        note_duration: Callable[[str, float], object],
    ) -> None:
        """Ask nothing yet.

        Args:
            namespace: of the node.
            show_exchange: shows what is asked and answered.
            show_place: shows where the model sees the robot; other places the node publishes to all.
            note_duration: is told how long something took: its name and s.
        """
        self._namespace = namespace
        self._show_exchange, self._show_place, self._note_duration = show_exchange, show_place, note_duration
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="loc3r_asker")
        self._stack = ExitStack()
        self._client: Client | None = None
        self._lock = threading.Lock()
        self._running: Exchange | None = None
        self._last: Answer | None = None

    def ask(self, place: str, question: str) -> None:
        """Ask a question, from a described place where there is one; without a question: where the place is."""
        self._begin(Exchange(place, question, is_running=True), self._ask if question else self._where)

    def where(self) -> None:
        """Ask where the robot is."""
        self._begin(Exchange("", "Where am I?", is_running=True), self._where)

    def stop(self) -> None:
        """End the request that runs."""
        if self._client is not None and self._running is not None:
            self._client.cancel()

    @property
    def is_busy(self) -> bool:
        """Whether a request runs."""
        return self._running is not None

    def is_own(self, answer: Answer) -> bool:
        """Whether an answer that the node published was given to this desk, which shows it itself."""
        running = self._running
        is_running = running is not None and (running.question, running.place) == (answer.question, answer.situation)
        return is_running or answer == self._last

    def close(self) -> None:
        """End the request that runs, and the thread."""
        self.stop()
        self._pool.submit(self._stack.close).result()
        self._pool.shutdown()

    def _begin(self, exchange: Exchange, work: Callable[[Exchange, int], None]) -> None:
        with self._lock:
            if self._running is not None:
                return  # the page shows what runs; a second question would only wait
            self._running = exchange
        number = self._show_exchange(exchange)
        self._pool.submit(self._work, work, exchange, number)

    def _work(self, work: Callable[[Exchange, int], None], exchange: Exchange, number: int) -> None:
        try:
            if self._client is None:
                self._client = self._stack.enter_context(Client(self._namespace, TIMEOUT, DISCOVERY))
            work(exchange, number)
        except Exception as error:
            sentence = str(error) if isinstance(error, Loc3RError) else f"{type(error).__name__}: {error}"
            said = self._running or exchange
            self._show_exchange(replace(said, error=sentence, is_running=False), number)
        finally:
            self._running = None

    def _ask(self, exchange: Exchange, number: int) -> None:
        assert self._client is not None
        begin, first_word = time.monotonic(), None

        def show(words: str) -> None:
            nonlocal first_word, exchange
            if first_word is None and words:
                first_word = time.monotonic() - begin
            self._running = exchange = replace(exchange, answer=exchange.answer + words)
            self._show_exchange(exchange, number)

        self._last = answer = self._client.ask(exchange.question, exchange.place, show)
        shown = viewer_messages.exchange(answer)
        self._show_exchange(replace(shown, note=viewer_messages.note(answer, first_word)), number)
        if first_word is not None:
            self._note_duration("answer, first word", first_word)
        self._note_duration("answer, all", time.monotonic() - begin)

    def _where(self, exchange: Exchange, number: int) -> None:
        assert self._client is not None
        begin = time.monotonic()
        response = self._client.where(exchange.place)
        place = viewer_messages.described(response.pose)
        if not exchange.place:
            self._show_place(place)
        self._note_duration("where", time.monotonic() - begin)
        note = f"{text.describe(place)} \u00b7 {text.duration(place.latency)}"
        self._show_exchange(replace(exchange, answer=response.message, note=note, is_running=False), number)
