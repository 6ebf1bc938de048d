"""The key-value cache as an append-only sequence of rows.

Rows never change once they are written. A view is therefore a buffer and a length, and stays valid, without a lock or
a copy, while others append behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from loc3r_ros.engines.manifest import LanguageSpec
from loc3r_ros.engines.protocol import Array, Backend, Buffer, Value
from loc3r_ros.errors import ConfigError


@dataclass(frozen=True)
class CacheView:
    """The first rows of a cache, immutable.

    Attributes:
        buffers: cache tensor name -> buffer of (capacity, kv_heads, head_dim).
        length: rows that belong to the view.
    """

    buffers: Mapping[str, Buffer]
    length: int

    def inputs(self, part: str, rows: int | None) -> dict[str, Value]:
        """Return the view as inputs of the language graph.

        Args:
            part: "prefix" or "suffix".
            rows: as many rows as the graph wants of it, or None where it takes what there are.
        """
        count = self.length if rows is None else rows
        views: dict[str, Value] = {f"{part}_{name}": buffer.rows(0, count) for name, buffer in self.buffers.items()}
        return views | {f"{part}_length": np.array([self.length])}

    def read(self) -> dict[str, Array]:
        """Return a copy of the rows in host memory, by name."""
        return {name: buffer.rows(0, self.length).read() for name, buffer in self.buffers.items()}


class Cache:
    """A cache that rows are appended to, by one thread."""

    def __init__(self, backend: Backend, spec: LanguageSpec, capacity: int, rows: int | None = None) -> None:
        """Allocate.

        Args:
            backend: that of the language engine.
            spec: sizes of the cache.
            capacity: rows that will be used, at most.
            rows: rows to allocate, where the graph wants a fixed number.

        Raises:
            ConfigError: the graph's fixed number is smaller than the capacity.
        """
        if rows is not None and capacity > rows:
            raise ConfigError(
                f"These engines were exported for {rows} cached tokens, and {capacity} are needed: keep fewer "
                f"keyframes, or export engines with more."
            )
        shape = (capacity if rows is None else rows, spec.kv_heads, spec.head_dim)
        self._buffers = {name: backend.allocate(shape, spec.cache_dtype) for name in spec.cache_names}
        self.capacity = capacity
        self.length = 0

    @property
    def nbytes(self) -> int:
        """Size of all its buffers in bytes."""
        return sum(buffer.nbytes for buffer in self._buffers.values())

    def has_room(self, count: int) -> bool:
        """Say whether `count` more rows fit."""
        return self.length + count <= self.capacity

    def view(self) -> CacheView:
        """Return the rows so far."""
        return CacheView(self._buffers, self.length)

    def tail(self, count: int) -> dict[str, Buffer]:
        """Return the next `count` rows, for a run to write them; `advance` makes them part of the cache."""
        return {name: buffer.rows(self.length, self.length + count) for name, buffer in self._buffers.items()}

    def advance(self, count: int) -> None:
        """Take in rows that were written to `tail`."""
        self.length += count

    def append(self, rows: Mapping[str, Array]) -> None:
        """Append arrays of equal length, by name."""
        count = len(next(iter(rows.values())))
        for name, buffer in self.tail(count).items():
            buffer.write(rows[name])
        self.advance(count)

    def append_rows(self, source: CacheView, spans: Sequence[tuple[int, int]]) -> None:
        """Append the spans (start, stop) of another cache, on the device."""
        for start, stop in spans:
            for name, buffer in self.tail(stop - start).items():
                buffer.write(source.buffers[name].rows(start, stop))
            self.advance(stop - start)
