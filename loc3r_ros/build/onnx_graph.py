"""ONNX graphs whose weights stay on disk: what they hold, and the weights as mapped memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from loc3r_ros.engines.protocol import Array
from loc3r_ros.errors import EngineError

MAPPED = onnx.TensorProto.EXTERNAL


@dataclass(frozen=True)
class Matrix:
    """A constant that a MatMul or Gemm multiplies by.

    Attributes:
        name: of the constant.
        node: index of the node.
        inputs: rows of the matrix as it is multiplied (length of the sum).
        outputs: its columns.
        is_transposed: whether it is stored (outputs, inputs).
    """

    name: str
    node: int
    inputs: int
    outputs: int
    is_transposed: bool


def load_graph(path: Path) -> onnx.ModelProto:
    """Return a graph without its weights.

    Raises:
        EngineError: the file is missing or no ONNX graph.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's errors have no public base
        raise EngineError(f"{path} is no ONNX graph: {error}.") from error
    if not model.graph.node:
        raise EngineError(f"{path} is no ONNX graph: it has no nodes.")
    return model


def mapped_weights(model: onnx.ModelProto, folder: Path) -> dict[str, Array]:
    """Return name -> bytes of every weight that lies outside the graph, mapped and not read.

    Args:
        model: without its weights.
        folder: of the graph's file.
    """
    files: dict[str, Array] = {}
    weights = {}
    for tensor in model.graph.initializer:
        if tensor.data_location == MAPPED:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            location, offset = entries["location"], int(entries.get("offset", 0))
            if location not in files:
                files[location] = np.memmap(folder / location, np.uint8, mode="r")
            weights[tensor.name] = files[location][offset : offset + int(entries["length"])]
    return weights


def constants(model: onnx.ModelProto) -> Mapping[str, onnx.TensorProto]:
    """Return the graph's constants by name."""
    return {tensor.name: tensor for tensor in model.graph.initializer}


def matrices(model: onnx.ModelProto) -> Iterator[Matrix]:
    """Yield every constant matrix that a product of the graph uses."""
    known = constants(model)
    for index, node in enumerate(model.graph.node):
        if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in known:
            continue
        dims = tuple(known[node.input[1]].dims)
        if len(dims) == 2:
            is_transposed = bool(attribute(node, "transB", 0))
            inputs, outputs = reversed(dims) if is_transposed else dims
            yield Matrix(node.input[1], index, inputs, outputs, is_transposed)


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """Return the value of a node's attribute."""
    found = [item for item in node.attribute if item.name == name]
    return onnx.helper.get_attribute_value(found[0]) if found else default


def weight_bytes(model: onnx.ModelProto) -> int:
    """Return the size of all constants in bytes."""
    return sum(constant_bytes(tensor) for tensor in model.graph.initializer)


def constant_bytes(tensor: onnx.TensorProto) -> int:
    """Return the size of a constant in bytes."""
    bits = 4 if tensor.data_type == onnx.TensorProto.INT4 else 8 * numpy_type(tensor).itemsize
    return int(np.prod(tuple(tensor.dims), dtype=np.int64)) * bits // 8


def numpy_type(tensor: onnx.TensorProto) -> np.dtype[Any]:
    """Return numpy's type of a constant's elements."""
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
