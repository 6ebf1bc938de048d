"""The torch backend: the graphs as PyTorch modules, on any device. It is the reference that others are compared with.

It has no files of its own: `loc3r_ros.export` makes its modules from a checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from loc3r_ros.engines.manifest import GraphSpec
from loc3r_ros.engines.protocol import Array, Buffer, Value
from loc3r_ros.errors import EngineError

Graph = Callable[..., tuple[Tensor, ...]]


class TorchBuffer:
    """A tensor that outlives a run."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """See `Buffer`."""
        return tuple(self.tensor.shape)

    @property
    def nbytes(self) -> int:
        """See `Buffer`."""
        return self.tensor.nbytes

    def rows(self, start: int, stop: int) -> TorchBuffer:
        """See `Buffer`."""
        return TorchBuffer(self.tensor[start:stop])

    def write(self, source: Array | Buffer) -> None:
        """See `Buffer`."""
        self.tensor.copy_(source.tensor if isinstance(source, TorchBuffer) else torch.tensor(np.asarray(source)))

    def read(self) -> Array:
        """See `Buffer`. bfloat16, which numpy lacks, comes as float32."""
        return to_numpy(self.tensor)


class TorchEngine:
    """A module called with its inputs by position, in the order of its description."""

    def __init__(self, module: Graph, spec: GraphSpec, device: torch.device) -> None:
        self.spec = spec
        self.module = module
        self._device = device

    def run(self, inputs: Mapping[str, Value], into: Mapping[str, Buffer] | None = None) -> dict[str, Array]:
        """See `Engine`."""
        missing = [name for name in self.spec.inputs if name not in inputs]
        if missing:
            raise EngineError(f"{self.spec.file} needs the input '{missing[0]}'.")
        with torch.inference_mode():
            values = self.module(*(self.tensor(name, inputs[name]) for name in self.spec.inputs))
            outputs = dict(zip(self.spec.outputs, values, strict=True))
            for name, buffer in (into or {}).items():
                buffer.write(TorchBuffer(outputs.pop(name)))
            return {name: to_numpy(tensor) for name, tensor in outputs.items()}

    def tensor(self, name: str, value: Value) -> Tensor:
        """Return an input as the module takes it: a buffer's own tensor, or a copy of an array on the device."""
        if isinstance(value, TorchBuffer):
            return value.tensor
        dtype = getattr(torch, self.spec.inputs[name].dtype)
        return torch.tensor(np.asarray(value), device=self._device).to(dtype)


class TorchBackend:
    """PyTorch on one device."""

    name = "torch"

    def __init__(self, graphs: Mapping[str, Graph], device: str = "cpu") -> None:
        """Hold the modules that `load` hands out by the file name of their description."""
        self._graphs = graphs
        self._device = torch.device(device)

    def load(self, folder: Path, spec: GraphSpec) -> TorchEngine:
        """See `Backend`; `folder` is not read."""
        return TorchEngine(self._graphs[spec.file], spec, self._device)

    def allocate(self, shape: tuple[int, ...], dtype: str) -> TorchBuffer:
        """See `Backend`."""
        return TorchBuffer(torch.zeros(shape, dtype=getattr(torch, dtype), device=self._device))


def to_numpy(tensor: Tensor) -> Array:
    """Return a tensor as a new array in host memory."""
    host = tensor.detach().to("cpu", copy=True)
    return (host.float() if host.dtype == torch.bfloat16 else host).numpy()
