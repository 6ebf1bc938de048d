"""The onnxruntime backend: any CPU, no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from loc3r_ros.engines.manifest import GraphSpec
from loc3r_ros.engines.protocol import Array, Buffer, Value
from loc3r_ros.errors import EngineError

ERRORS_ONLY = 3
INTEGER_PRODUCTS = "4"
"""onnxruntime's name for products with 4-bit weights that are computed in 8-bit integers, not in floats."""


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


class OnnxRuntimeEngine:
    """A graph in an onnxruntime session."""

    def __init__(self, session: onnxruntime.InferenceSession, spec: GraphSpec) -> None:
        self.spec = spec
        self._session = session
        self._dtypes = {name: np.dtype(tensor.dtype) for name, tensor in (spec.inputs | spec.outputs).items()}

    def run(self, inputs: Mapping[str, Value], into: Mapping[str, Buffer] | None = None) -> dict[str, Array]:
        """See `Engine`."""
        into = into or {}
        arrays = {name: self._input(name, inputs) for name in self.spec.inputs}
        targets = {name: self._array(name, buffer) for name, buffer in into.items()}
        binding = self._session.io_binding()
        for name, array in arrays.items():
            binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        rest = [name for name in self.spec.outputs if name not in targets]
        for name in rest:
            binding.bind_output(name, "cpu")
        for name, array in targets.items():
            binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
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
        array = np.ascontiguousarray(value, dtype=self._dtypes[name])
        self._check(name, array)
        return array

    def _array(self, name: str, buffer: Buffer) -> Array:
        """Return the memory of a buffer, whose address onnxruntime is given: it must be what the graph expects."""
        if not isinstance(buffer, HostBuffer):
            raise EngineError(f"The buffer for '{name}' of {self.spec.file} belongs to another backend.")
        self._check(name, buffer.array)
        return buffer.array

    def _check(self, name: str, array: Array) -> None:
        tensor = self.spec.inputs.get(name) or self.spec.outputs[name]
        fits = len(array.shape) == len(tensor.shape) and all(
            isinstance(size, str) or size == actual for size, actual in zip(tensor.shape, array.shape, strict=True)
        )
        if not fits or array.dtype != self._dtypes[name] or not array.flags.c_contiguous:
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
        # Threads that wait busily would take the cores from the rest of the robot.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return options
