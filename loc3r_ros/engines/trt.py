"""The TensorRT backend: plans that `loc3r build` compiled on this machine, by TensorRT 10.3 to 11.

Named tensors on one stream. What stays on the device (`allocate`) is handed to TensorRT by address: a cache is read
where it lies, and its new rows are written where they belong. Host arrays go through slots of fixed address, so that a
run with the shapes and addresses of an earlier one (the next token of an answer, another picture) is one CUDA graph.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorrt as trt

from loc3r_ros.engines.build_key import check_build
from loc3r_ros.engines.cuda_graph import CudaGraph
from loc3r_ros.engines.gpu import Allocation, DeviceBuffer, Gpu, Slot
from loc3r_ros.engines.manifest import GraphSpec, Manifest
from loc3r_ros.engines.profiles import Dimensions, Shape, fits, profiles
from loc3r_ros.engines.protocol import Array, Buffer, Value
from loc3r_ros.engines.trt_plan import TrtLog, read_plan
from loc3r_ros.errors import EngineError

TYPES = {"float32": "FLOAT", "float16": "HALF", "int64": "INT64", "uint8": "UINT8", "bool": "BOOL"}
"""Element types of a manifest as TensorRT names them."""
STAGED = 1 << 16
"""Bytes of the largest output that is written to a fixed place and copied to its buffer from there: the cache rows of
one token. Their place moves with every token, and a CUDA graph cannot follow."""
ALIGNMENT = 256
"""Bytes; TensorRT's documentation of setTensorAddress asks for addresses that are multiples of it."""
GRAPHS = 4
"""CUDA graphs that an engine keeps."""
RECENT = 8
"""Runs among which one that comes again is noticed."""

log = logging.getLogger(__name__)


@dataclass
class Run:
    """One run of a graph.

    Attributes:
        profile: which of its profiles.
        shapes: of the inputs whose sizes vary.
        addresses: of all tensors.
        moves: (target, source, bytes) of outputs that are copied on the device afterwards.
        fetched: output -> slot and shape, of those that the host wants.
    """

    profile: int
    shapes: dict[str, Shape]
    addresses: dict[str, int] = field(default_factory=dict)
    moves: list[tuple[int, int, int]] = field(default_factory=list)
    fetched: dict[str, tuple[Slot, Shape]] = field(default_factory=dict)

    @property
    def key(self) -> tuple[object, ...]:
        """What is equal in runs that one CUDA graph can stand for."""
        return (self.profile, *self.shapes.values(), *self.addresses.values())


class Context:
    """An execution context for one profile, whose intermediate results lie in memory that all contexts share."""

    def __init__(self, engine: Any, profile: int, gpu: Gpu) -> None:
        self._gpu = gpu
        self._context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if self._context is None or not self._context.set_optimization_profile_async(profile, gpu.stream.handle):
            raise EngineError(f"TensorRT gave no execution context for profile {profile}.")
        gpu.finish()
        self._scratch: Allocation | None = None
        self._shapes: dict[str, Shape] = {}
        self._addresses: dict[str, int] = {}

    def set(self, run: Run, scratch: Allocation) -> None:
        """Say where the tensors lie, and of what shape those are whose sizes vary. Only changes cost anything."""
        if scratch is not self._scratch:
            self._context.set_device_memory(scratch.address, scratch.nbytes)
            self._scratch = scratch
        for name, shape in run.shapes.items():
            if self._shapes.get(name) != shape and not self._context.set_input_shape(name, shape):
                raise EngineError(f"TensorRT refuses the shape {shape} of '{name}'.")
        for name, address in run.addresses.items():
            if self._addresses.get(name) != address and not self._context.set_tensor_address(name, address):
                raise EngineError(f"TensorRT refuses the address of '{name}'.")
        self._shapes, self._addresses = run.shapes, run.addresses

    def execute(self) -> None:
        """Send the run to the stream."""
        if not self._context.execute_async_v3(self._gpu.stream.handle):
            raise EngineError("TensorRT could not run the graph; its log says why.")


@dataclass(frozen=True)
class Recording:
    """A CUDA graph and what it needs to live: TensorRT asks for a context of its own for each."""

    graph: CudaGraph
    context: Context
    scratch: Allocation


class TensorRTEngine:
    """A graph that TensorRT compiled."""

    def __init__(self, backend: TensorRTBackend, engine: Any, spec: GraphSpec, dimensions: Dimensions) -> None:
        check_tensors(engine, spec)
        self.spec = spec
        self._backend = backend
        self._gpu = backend.gpu
        self._engine = engine
        self._profiles = profiles(spec, dimensions) or [{}]
        self._dtypes = {name: np.dtype(tensor.dtype) for name, tensor in (spec.inputs | spec.outputs).items()}
        self._slots: dict[str, Slot] = {}
        self._contexts: dict[int, Context] = {}
        self._recordings: OrderedDict[tuple[object, ...], Recording] = OrderedDict()
        self._recent: deque[tuple[object, ...]] = deque(maxlen=RECENT)
        self._can_record = True

    def run(self, inputs: Mapping[str, Value], into: Mapping[str, Buffer] | None = None) -> dict[str, Array]:
        """See `Engine`."""
        values = {name: self._value(name, inputs) for name in self.spec.inputs}
        sizes = self._sizes(values)
        targets = {name: self._buffer(name, buffer, sizes) for name, buffer in (into or {}).items()}
        with self._gpu.turn():
            run = Run(self._profile(values), {name: values[name].shape for name in self._profiles[0]})
            self._place_inputs(run, values)
            self._place_outputs(run, targets, sizes)
            self._launch(run)
            for target, source, nbytes in run.moves:
                self._gpu.copy(target, source, nbytes)
            for name, (slot, shape) in run.fetched.items():
                slot.fetch(self._nbytes(name, shape))
            self._gpu.finish()
            return {name: slot.array(shape, self._dtypes[name]) for name, (slot, shape) in run.fetched.items()}

    # --- what goes in and out -----------------------------------------------------------------------------------------

    def _value(self, name: str, inputs: Mapping[str, Value]) -> Value:
        if name not in inputs:
            raise EngineError(f"{self.spec.file} needs the input '{name}'.")
        value = inputs[name]
        if not isinstance(value, DeviceBuffer):
            value = np.ascontiguousarray(value, dtype=self._dtypes[name])
        self._check(name, value, {})
        return value

    def _buffer(self, name: str, buffer: Buffer, sizes: Mapping[str, int]) -> DeviceBuffer:
        if not isinstance(buffer, DeviceBuffer):
            raise EngineError(f"The buffer for '{name}' of {self.spec.file} belongs to another backend.")
        self._check(name, buffer, sizes)
        return buffer

    def _check(self, name: str, value: Any, sizes: Mapping[str, int]) -> None:
        tensor = self.spec.inputs.get(name) or self.spec.outputs[name]
        wanted = tuple(size if isinstance(size, int) else sizes.get(size, size) for size in tensor.shape)
        fits_shape = len(value.shape) == len(wanted) and all(
            isinstance(size, str) or size == actual for size, actual in zip(wanted, value.shape, strict=True)
        )
        if not fits_shape or value.dtype != self._dtypes[name]:
            raise EngineError(
                f"'{name}' of {self.spec.file} must be a {tensor.dtype} array of shape {wanted}, "
                f"not {value.dtype} {value.shape}."
            )

    def _sizes(self, values: Mapping[str, Value]) -> dict[str, int]:
        """Return the variable sizes of this run, by name."""
        sizes: dict[str, int] = {}
        for name, tensor in self.spec.inputs.items():
            for size, actual in zip(tensor.shape, values[name].shape, strict=True):
                if isinstance(size, str) and sizes.setdefault(size, actual) != actual:
                    raise EngineError(
                        f"'{name}' of {self.spec.file} has {actual} for '{size}', others have {sizes[size]}."
                    )
        return sizes

    def _profile(self, values: Mapping[str, Value]) -> int:
        shapes = {name: value.shape for name, value in values.items()}
        for index, profile in enumerate(self._profiles):
            if fits(profile, shapes):
                return index
        varying = {name: shapes[name] for name in self._profiles[-1]}
        raise EngineError(f"{self.spec.file} was not built for the shapes {varying}: see `dimensions` in its manifest.")

    def _nbytes(self, name: str, shape: Shape) -> int:
        return int(np.prod(shape, dtype=np.int64)) * self._dtypes[name].itemsize

    def _slot(self, name: str, nbytes: int) -> Slot:
        """Return the slot of a tensor; it keeps its address while it is large enough."""
        slot = self._slots.get(name)
        if slot is None or slot.nbytes < nbytes:
            slot = self._slots[name] = self._gpu.slot(nbytes)
        return slot

    def _place_inputs(self, run: Run, values: Mapping[str, Value]) -> None:
        for name, value in values.items():
            if isinstance(value, DeviceBuffer) and is_aligned(value):
                run.addresses[name] = value.address
                continue
            slot = self._slot(name, value.nbytes)
            run.addresses[name] = slot.address
            if isinstance(value, DeviceBuffer):
                self._gpu.copy(slot.address, value.address, value.nbytes)
            else:
                slot.fill(np.asarray(value))

    def _place_outputs(self, run: Run, targets: Mapping[str, DeviceBuffer], sizes: Mapping[str, int]) -> None:
        for name, tensor in self.spec.outputs.items():
            target = targets.get(name)
            if target is not None and target.nbytes > STAGED and is_aligned(target):
                run.addresses[name] = target.address
                continue
            shape = tuple(size if isinstance(size, int) else sizes[size] for size in tensor.shape)
            slot = self._slot(name, self._nbytes(name, shape))
            run.addresses[name] = slot.address
            if target is None:
                run.fetched[name] = (slot, shape)
            else:
                run.moves.append((target.address, slot.address, target.nbytes))

    # --- the run ------------------------------------------------------------------------------------------------------

    def _launch(self, run: Run) -> None:
        """Send the run to the stream: as a CUDA graph where one of its like was seen lately."""
        recording = self._recordings.get(run.key)
        if recording is None and run.key in self._recent and self._can_record:
            recording = self._record(run)
        if recording is not None:
            self._recordings.move_to_end(run.key)
            recording.graph.launch()
            return
        self._recent.append(run.key)
        if run.profile not in self._contexts:
            self._contexts[run.profile] = Context(self._engine, run.profile, self._gpu)
        context = self._contexts[run.profile]
        context.set(run, self._backend.scratch)
        context.execute()

    def _record(self, run: Run) -> Recording | None:
        context, scratch = Context(self._engine, run.profile, self._gpu), self._backend.scratch
        context.set(run, scratch)
        try:
            context.execute()  # once by itself: TensorRT prepares what cannot be recorded
            self._gpu.finish()
            recording = Recording(CudaGraph(self._gpu.stream.handle, context.execute), context, scratch)
        except EngineError as error:
            log.warning("%s runs without CUDA graphs: %s", self.spec.file, error)
            self._can_record = False
            return None
        self._recordings[run.key] = recording
        while len(self._recordings) > GRAPHS:
            self._recordings.popitem(last=False)[1].graph.close()
        return recording


class TensorRTBackend:
    """TensorRT on the first CUDA device."""

    name = "tensorrt"

    def __init__(self, manifest: Manifest, folder: Path) -> None:
        """Prepare.

        Args:
            manifest: of the engines that will be loaded.
            folder: they lie in.

        Raises:
            EngineError: there is no device, or the engines were built for another one or another TensorRT.
        """
        self.gpu = Gpu()
        check_build(manifest, folder, trt.__version__, self.gpu.compute_capability)
        self.scratch = self.gpu.allocate(0)
        self._dimensions = manifest.dimensions
        self._log = TrtLog()
        self._runtime = trt.Runtime(self._log)

    def load(self, folder: Path, spec: GraphSpec) -> TensorRTEngine:
        """See `Backend`."""
        with self.gpu.turn():
            engine = read_plan(self._runtime, folder / spec.file, self._log)
            if engine.device_memory_size_v2 > self.scratch.nbytes:
                self.scratch = self.gpu.allocate(engine.device_memory_size_v2)
            return TensorRTEngine(self, engine, spec, self._dimensions)

    def allocate(self, shape: tuple[int, ...], dtype: str) -> DeviceBuffer:
        """See `Backend`."""
        return DeviceBuffer.zeros(self.gpu, shape, np.dtype(dtype))


def is_aligned(buffer: DeviceBuffer) -> bool:
    """Say whether TensorRT can be given a buffer's address; rows of a small model's cache may begin anywhere."""
    return buffer.address % ALIGNMENT == 0


def check_tensors(engine: Any, spec: GraphSpec) -> None:
    """Compare a plan's tensors with the manifest's.

    Raises:
        EngineError: one is missing, of another type, or wanted in host memory.
    """
    names = {engine.get_tensor_name(index) for index in range(engine.num_io_tensors)}
    if names != set(spec.inputs | spec.outputs):
        odd = ", ".join(sorted(names ^ set(spec.inputs | spec.outputs)))
        raise EngineError(f"{spec.file} does not belong to its manifest: they differ in the tensors {odd}.")
    for name, tensor in (spec.inputs | spec.outputs).items():
        mode = trt.TensorIOMode.INPUT if name in spec.inputs else trt.TensorIOMode.OUTPUT
        dtype = getattr(trt.DataType, TYPES[tensor.dtype])
        place = trt.TensorLocation.DEVICE
        found = (engine.get_tensor_mode(name), engine.get_tensor_dtype(name), engine.get_tensor_location(name))
        if found != (mode, dtype, place):
            raise EngineError(
                f"{spec.file} does not belong to its manifest: '{name}' is {found}, not {(mode, dtype, place)}."
            )
