"""A torch engine whose runs are captured as CUDA graphs: one launch in the place of a thousand.

A graph is bound to the addresses that it was captured with. Buffers are read where they lie, arrays of the host are
copied to fixed places first, and outputs are copied out behind the graph, all in one launch. A run with other shapes or
buffers is captured anew; with engines of fixed cache shapes, every token of an answer is the same run.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from loc3r_ros.engines import EngineSet
from loc3r_ros.engines.manifest import GraphSpec
from loc3r_ros.engines.protocol import Array, Buffer, Value
from loc3r_ros.engines.torch_reference import TorchBuffer, TorchEngine, to_numpy

Outputs: TypeAlias = tuple[Tensor, ...]
Capture: TypeAlias = Callable[[Callable[[], Outputs]], tuple[Callable[[], None], Outputs]]
"""Takes a function and returns what runs it again, and the tensors that then hold its outputs."""
WARM_UPS = 3


@dataclass(frozen=True)
class _Run:
    """A captured run: where its inputs from the host go, how it is replayed, where its outputs appear."""

    inputs: Mapping[str, Tensor]
    replay: Callable[[], None]
    outputs: Mapping[str, Tensor]


class CapturedEngine:
    """An engine in torch with captured runs; see `Engine`."""

    def __init__(self, engine: TorchEngine, capture: Capture) -> None:
        self.spec: GraphSpec = engine.spec
        self._engine = engine
        self._capture = capture
        self._runs: dict[tuple[object, ...], _Run] = {}

    @property
    def captures(self) -> int:
        """How many different runs were captured."""
        return len(self._runs)

    @torch.inference_mode()
    def replay(self) -> None:
        """Run the youngest capture again, without its inputs and outputs: what the device alone needs."""
        next(reversed(self._runs.values())).replay()

    @torch.inference_mode()
    def run(self, inputs: Mapping[str, Value], into: Mapping[str, Buffer] | None = None) -> dict[str, Array]:
        """See `Engine`."""
        given = {name: inputs[name] for name in self.spec.inputs}
        key = tuple(_identity(value) for value in given.values())
        if key not in self._runs:
            self._runs[key] = self._captured(given)
        run = self._runs[key]
        for name, tensor in run.inputs.items():
            tensor.copy_(torch.as_tensor(np.asarray(given[name])), non_blocking=True)
        run.replay()
        targets = {name: buffer for name, buffer in (into or {}).items() if isinstance(buffer, TorchBuffer)}
        if targets:
            torch._foreach_copy_([one.tensor for one in targets.values()], [run.outputs[name] for name in targets])
        return {name: to_numpy(tensor) for name, tensor in run.outputs.items() if name not in targets}

    def _captured(self, given: Mapping[str, Value]) -> _Run:
        tensors = {name: self._engine.tensor(name, value) for name, value in given.items()}
        fixed = {name: tensor for name, tensor in tensors.items() if not isinstance(given[name], TorchBuffer)}
        replay, outputs = self._capture(lambda: self._engine.module(*tensors.values()))
        return _Run(fixed, replay, dict(zip(self.spec.outputs, outputs, strict=True)))


def _identity(value: Value) -> object:
    """Return what a captured run depends on: the place and shape of a buffer, the shape of an array."""
    if isinstance(value, TorchBuffer):
        return value.tensor.data_ptr(), value.shape
    return np.shape(value)


def capture_cuda(function: Callable[[], Outputs]) -> tuple[Callable[[], None], Outputs]:
    """Capture a function as a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UPS):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = function()
    return graph.replay, outputs


def call_again(function: Callable[[], Outputs]) -> tuple[Callable[[], None], Outputs]:
    """Do what `capture_cuda` does where there is no GPU: run the function again, into the same tensors."""
    outputs = tuple(output.clone() for output in function())

    def replay() -> None:
        for place, output in zip(outputs, function(), strict=True):
            place.copy_(output)

    return replay, outputs


def captured(engines: EngineSet, device: str) -> EngineSet:
    """Return engines whose language graph runs as captured."""
    assert isinstance(engines.language, TorchEngine)
    capture = capture_cuda if device.startswith("cuda") else call_again
    return replace(engines, language=CapturedEngine(engines.language, capture))


def device_seconds(work: Callable[[], object], rounds: int, device: str = "cuda") -> float:
    """Return the median seconds of what the device itself needs for some work, after a first run.

    Nothing waits for the host in between, so launching costs only what the device has to wait for.
    """
    if not device.startswith("cuda"):
        return statistics.median(_host_seconds(work) for _ in range(rounds + 1))
    work()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(rounds + 1)]
    events[0].record()
    for event in events[1:]:
        work()
        event.record()
    torch.cuda.synchronize()
    return statistics.median(first.elapsed_time(second) for first, second in itertools.pairwise(events)) / 1e3


def _host_seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
