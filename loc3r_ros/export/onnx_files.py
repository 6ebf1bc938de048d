"""One graph to one ONNX file, its weights beside it in one data file that runtimes map instead of read."""

from __future__ import annotations

import math
import tempfile
import warnings
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import ModelProto, version_converter
from onnx.external_data_helper import load_external_data_for_model
from torch import Tensor, nn
from torch.onnx import symbolic_helper, symbolic_opset9

from loc3r_ros.engines.manifest import GraphSpec, TensorSpec
from loc3r_ros.export.quantise import BLOCK_OPSET, quantise

OPSET = 17
"""Known to every TensorRT and onnxruntime in use; the graphs need nothing newer."""
SMALLEST_EXTERNAL = 1024
"""Bytes; smaller constants stay in the graph, where a compiler can fold them."""


def write_graph(module: nn.Module, spec: GraphSpec, folder: Path, bits: int | None = None) -> None:
    """Trace a module and write `spec.file`, and beside it the weights in `<spec.file>.data`.

    Args:
        module: takes the inputs of `spec` by position and returns a tuple of its outputs.
        spec: names, types and shapes; a shape's names become the names of dynamic axes.
        folder: to write to.
        bits: 8 or 4 for weights of so many bits (see `quantise`), None for those of the module.
    """
    examples = tuple(example(tensor) for tensor in spec.inputs.values())
    with tempfile.TemporaryDirectory(dir=folder) as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer: sizes that are constants here, and its deprecation
        traced = Path(scratch) / spec.file
        torch.onnx.export(
            module.eval(),
            examples,
            str(traced),
            input_names=list(spec.inputs),
            output_names=list(spec.outputs),
            dynamic_axes=dynamic_axes(spec),
            opset_version=OPSET,
            # By tracing: ten times faster than by torch.export, and it keeps the names of inputs, outputs and axes.
            dynamo=False,
        )
        graph = load_graph(traced, bits)
    data = folder / f"{spec.file}.data"
    data.unlink(missing_ok=True)  # onnx appends to what is there
    onnx.save(
        graph,
        str(folder / spec.file),
        save_as_external_data=True,
        location=data.name,
        size_threshold=SMALLEST_EXTERNAL,
    )
    data.chmod(0o644)


def load_graph(path: Path, bits: int | None) -> ModelProto:
    """Return the graph of a file with its weights in memory, quantised where `bits` says so."""
    graph = onnx.load(str(path), load_external_data=False)
    if bits == 4:  # before the weights are there: the converter takes 2 GB at most
        graph = version_converter.convert_version(graph, BLOCK_OPSET)
    load_external_data_for_model(graph, str(path.parent))
    if bits is not None:
        quantise(graph, bits)
    return graph


def _expm1(context: Any, x: Any) -> Any:
    """ONNX has no expm1; tanh(x / 2) (exp(x) + 1) is the same number and loses no digits near 0."""
    half = context.op("Constant", value_t=torch.tensor(0.5))
    one = context.op("Constant", value_t=torch.tensor(1.0))
    return context.op(
        "Mul", context.op("Tanh", context.op("Mul", x, half)), context.op("Add", context.op("Exp", x), one)
    )


@symbolic_helper.parse_args("v", "s")
def _gelu(context: Any, x: Any, approximate: str) -> Any:
    """Write the approximation by tanh as runtimes know it: they make one operator of it."""
    if approximate != "tanh":
        return symbolic_opset9.gelu(context, x, approximate)

    def constant(value: float) -> Any:
        return context.op("Constant", value_t=torch.tensor(value))

    cubic = context.op("Mul", context.op("Pow", x, constant(3.0)), constant(0.044715))
    angle = context.op("Mul", context.op("Add", x, cubic), constant(math.sqrt(2 / math.pi)))
    gate = context.op("Add", context.op("Tanh", angle), constant(1.0))
    return context.op("Mul", context.op("Mul", x, constant(0.5)), gate)


torch.onnx.register_custom_op_symbolic("aten::expm1", _expm1, OPSET)
torch.onnx.register_custom_op_symbolic("aten::gelu", _gelu, OPSET)


def example(spec: TensorSpec) -> Tensor:
    """Return a tensor of zeros as a tracer's example, with two elements on every variable axis."""
    shape = tuple(2 if isinstance(size, str) else size for size in spec.shape)
    return torch.zeros(shape, dtype=getattr(torch, spec.dtype))


def dynamic_axes(spec: GraphSpec) -> dict[str, dict[int, str]]:
    """Return tensor name -> axis -> name, of the variable axes."""
    tensors = spec.inputs | spec.outputs
    axes = {name: {i: n for i, n in enumerate(tensor.shape) if isinstance(n, str)} for name, tensor in tensors.items()}
    return {name: named for name, named in axes.items() if named}
