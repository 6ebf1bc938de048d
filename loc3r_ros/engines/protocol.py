"""What a runtime must offer: named arrays in, named arrays out, and buffers that stay on its device between runs.

A buffer grows by rows (its first axis), and a view of some rows costs nothing. That is all that an append-only cache
needs: a run reads the first `n` rows as one input and writes the next ones as one output, so nothing is copied.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy.typing as npt

from loc3r_ros.engines.manifest import GraphSpec

Array: TypeAlias = npt.NDArray[Any]


@runtime_checkable
class Buffer(Protocol):
    """An array on the backend's device. Writing to rows that nobody reads is safe while others are read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape; the first axis counts rows."""
        ...

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        ...

    def rows(self, start: int, stop: int) -> Buffer:
        """Return a view of rows `start` to `stop`, of the same memory."""
        ...

    def write(self, source: Array | Buffer) -> None:
        """Copy an array, or another buffer of this backend, of the same shape into this one."""
        ...

    def read(self) -> Array:
        """Return a copy in host memory."""
        ...


Value: TypeAlias = Array | Buffer


@runtime_checkable
class Engine(Protocol):
    """One compiled graph. `run` may be called from several threads at once."""

    @property
    def spec(self) -> GraphSpec:
        """Names, types and shapes of its inputs and outputs."""
        ...

    def run(self, inputs: Mapping[str, Value], into: Mapping[str, Buffer] | None = None) -> dict[str, Array]:
        """Run the graph.

        Args:
            inputs: a value for every input.
            into: buffers that receive the outputs they are named for. They may be rows of an input's buffer that the
                graph is told not to look at, never others.

        Returns:
            The outputs that `into` does not name, in host memory.

        Raises:
            EngineError: an input is missing or does not fit, or the runtime fails.
        """
        ...


@runtime_checkable
class Backend(Protocol):
    """A runtime on one device."""

    @property
    def name(self) -> str:
        """Its name in a manifest."""
        ...

    def load(self, folder: Path, spec: GraphSpec) -> Engine:
        """Load a graph of a folder of engines.

        Raises:
            EngineError: the runtime refuses the file.
        """
        ...

    def allocate(self, shape: tuple[int, ...], dtype: str) -> Buffer:
        """Return a new buffer filled with zeros."""
        ...
