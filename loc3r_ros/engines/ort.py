"""The onnxruntime backend: any CPU, no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime

from loc3r_ros.engines.manifest import GraphSpec, TensorSpec
from loc3r_ros.engines.protocol import Array, Buffer, Value
from loc3r_ros.errors import EngineError

ERRORS_ONLY = 3
INTEGER_PRODUCTS = "4"
"""onnxruntime's name for products with 4-bit weights that are computed in 8-bit integers, not in floats."""
BUSY_WAIT = "15"
"""Microseconds; longer waits gain little on idle cores and cost more on busy ones (docs/performance.md)."""
BOUNDED_WAITS = (1, 26)
"""The first version of onnxruntime whose threads can be told how long to wait busily."""


class HostBuffer:
    """A buffer in host memory, which onnxruntime reads and writes in place."""

    def __init__(self, array: Array) -> None:
        self.array = array

    @property
    def shape(self) -> tuple[int, ...]:
        """See `Buffer`."""
        return self.array.shape

    @property
    def nbytes(self) -> int:
        """See `Buffer`."""
        return self.array.nbytes

    def rows(self, start: int, stop: int) -> HostBuffer:
        """See `Buffer`."""
        return HostBuffer(self.array[start:stop])

    def write(self, source: Array | Buffer) -> None:
        """See `Buffer`."""
        self.array[:] = source.array if isinstance(source, HostBuffer) else source

    def read(self) -> Array:
        """See `Buffer`."""
        return self.array.copy()


class Expected(NamedTuple):
    """What an array must be like, in the form that is checked fastest: a run has some sixty.

    Attributes:
        dtype: of its elements.
        ndim: number of axes.
        axes: those whose size is given.
        sizes: of these axes.
    """

    dtype: np.dtype[Any]
    ndim: int
    axes: list[int]
    sizes: list[int]

    @classmethod
    def of(cls, tensor: TensorSpec) -> Expected:
        """Return what arrays for an input or output must be like."""
        given = {axis: size for axis, size in enumerate(tensor.shape) if isinstance(size, int)}
        return cls(np.dtype(tensor.dtype), len(tensor.shape), list(given), list(given.values()))

    def fits(self, array: Array) -> bool:
        """Say whether an array is like that, and its memory in order."""
        shape = array.shape
        return (
            len(shape) == self.ndim
            and [shape[axis] for axis in self.axes] == self.sizes
            and array.dtype == self.dtype
            and array.flags.c_contiguous
        )


class OnnxRuntimeEngine:
    """A graph in an onnxruntime session."""

    def __init__(self, session: onnxruntime.InferenceSession, spec: GraphSpec) -> None:
        self.spec = spec
        self._session = session
        self._expected = {name: Expected.of(tensor) for name, tensor in (spec.inputs | spec.outputs).items()}

    def run(self, inputs: Mapping[str, Value], into: Mapping[str, Buffer] | None = None) -> dict[str, Array]:
        """See `Engine`."""
        into = into or {}
        binding = self._session.io_binding()
        for name in self.spec.inputs:
            binding.bind_cpu_input(name, self._input(name, inputs))
        rest = [name for name in self.spec.outputs if name not in into]
        for name in rest:
            binding.bind_output(name, "cpu")
        for name, buffer in into.items():
            target = onnxruntime.OrtValue.ortvalue_from_numpy(self._array(name, buffer))  # no copy: it has its memory
            binding.bind_ortvalue_output(name, target)
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # onnxruntime raises classes of its own without a common base
            raise EngineError(f"onnxruntime could not run {self.spec.file}: {error}") from error
        return dict(zip(rest, binding.copy_outputs_to_cpu()[: len(rest)], strict=True))

    def _input(self, name: str, inputs: Mapping[str, Value]) -> Array:
        if name not in inputs:
            raise EngineError(f"{self.spec.file} needs the input '{name}'.")
        value = inputs[name]
        return self._array(name, value) if isinstance(value, HostBuffer) else self._host_array(name, value)

    def _host_array(self, name: str, value: Value) -> Array:
        array = np.ascontiguousarray(value, dtype=self._expected[name].dtype)
        self._check(name, array)
        return array

    def _array(self, name: str, buffer: Buffer) -> Array:
        """Return the memory of a buffer, whose address onnxruntime is given: it must be what the graph expects."""
        if not isinstance(buffer, HostBuffer):
            raise EngineError(f"The buffer for '{name}' of {self.spec.file} belongs to another backend.")
        self._check(name, buffer.array)
        return buffer.array

    def _check(self, name: str, array: Array) -> None:
        if not self._expected[name].fits(array):
            tensor = self.spec.inputs.get(name) or self.spec.outputs[name]
            raise EngineError(
                f"'{name}' of {self.spec.file} must be a contiguous {tensor.dtype} array of shape {tensor.shape}, "
                f"not {array.dtype} {array.shape}."
            )


class OnnxRuntimeBackend:
    """onnxruntime on the CPU."""

    name = "onnxruntime"

    def __init__(self, threads: int = 0) -> None:
        """Prepare.

        Args:
            threads: of one run; 0 takes what the process may use, at most 4: small graphs do not gain from more.
        """
        self.threads = threads or min(4, len(os.sched_getaffinity(0)))

    def load(self, folder: Path, spec: GraphSpec) -> OnnxRuntimeEngine:
        """See `Backend`."""
        try:
            session = onnxruntime.InferenceSession(
                str(folder / spec.file), self.options(), providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise EngineError(f"onnxruntime could not load {folder / spec.file}: {error}") from error
        return OnnxRuntimeEngine(session, spec)

    def allocate(self, shape: tuple[int, ...], dtype: str) -> HostBuffer:
        """See `Backend`."""
        return HostBuffer(np.zeros(shape, dtype))

    def options(self) -> onnxruntime.SessionOptions:
        """Return how sessions are made."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # the lengths change with every run
        options.log_severity_level = ERRORS_ONLY
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", INTEGER_PRODUCTS)
        for entry, value in waiting(onnxruntime.__version__).items():
            options.add_session_config_entry(entry, value)
        return options


def waiting(version: str) -> dict[str, str]:
    """Return how the threads of a session wait for one another, for a version of onnxruntime.

    Between the small operators of a run they wait busily, but no longer than `BUSY_WAIT`, and not at all between runs:
    to be woken for each is slow, while threads that wait at length take the cores from the rest of the robot. Before
    1.26 the wait cannot be bounded, and they sleep.
    """
    major, minor = (int(part) for part in version.split(".")[:2])
    if (major, minor) < BOUNDED_WAITS:
        return {"session.intra_op.allow_spinning": "0"}
    return {
        "session.intra_op.allow_spinning": "1",
        "session.intra_op.spin_duration_us": BUSY_WAIT,
        "session.force_spinning_stop": "1",
    }
