"""What a run of a graph costs at least: products and bytes, counted from its ONNX file at given sizes."""

from __future__ import annotations

import math
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto, helper

from loc3r_ros.engines.manifest import GraphSpec

Shapes = dict[str, tuple[int, ...]]
PRODUCTS = {"MatMul": "fp32", "Gemm": "fp32", "Conv": "fp32", "MatMulInteger": "int8"}
"""Operators that multiply matrices -> the numbers that they multiply."""
HALF_BYTE = TensorProto.INT4


@dataclass(frozen=True)
class Work:
    """What one run needs.

    Attributes:
        flops: numbers that are multiplied ("fp32", "int8", "int4") -> operations of all products, two for each pair.
        traffic: bytes that are read or written at least once: weights, inputs and outputs.
    """

    flops: Mapping[str, float]
    traffic: float

    def floor(self, products: Mapping[str, float], bandwidth: float) -> float:
        """Return the seconds that the run takes at the machine's limits.

        Args:
            products: numbers that are multiplied -> operations per second.
            bandwidth: bytes per second.
        """
        return max(self.product_seconds(products), self.traffic / bandwidth)

    def product_seconds(self, products: Mapping[str, float]) -> float:
        """Return the seconds that the products alone take at the limits."""
        return sum(flops / products[kind] for kind, flops in self.flops.items())


def work_of(folder: Path, spec: GraphSpec, sizes: Mapping[str, int]) -> Work:
    """Count the work of a graph in a folder of engines for onnxruntime.

    Args:
        folder: of the engines.
        spec: of the graph.
        sizes: value of each variable size.
    """
    model = with_sizes(folder / spec.file, sizes)
    shapes = shapes_of(model)
    constants = {constant.name: constant for constant in model.graph.initializer}
    unpacked = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    flops: defaultdict[str, float] = defaultdict(float)
    for node in model.graph.node:
        if node.op_type in PRODUCTS:
            kind = "int4" if node.input[1] in unpacked else PRODUCTS[node.op_type]
            flops[kind] += operations(node, shapes)
    return Work(dict(flops), sum(map(stored_bytes, constants.values())) + passed_bytes(spec, sizes))


def with_sizes(path: Path, sizes: Mapping[str, int]) -> ModelProto:
    """Return a graph in which sizes are constants and what follows from them is computed, its weights not in memory."""
    options = onnxruntime.SessionOptions()
    for name, size in sizes.items():
        options.add_free_dimension_override_by_name(name, size)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as scratch:
        options.optimized_model_filepath = f"{scratch}/folded.onnx"
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath, load_external_data=False)


def shapes_of(model: ModelProto) -> Shapes:
    """Return the shapes of all tensors that are known."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes: Shapes = {constant.name: tuple(constant.dims) for constant in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        dimensions = value.type.tensor_type.shape.dim
        if all(dimension.HasField("dim_value") for dimension in dimensions):
            shapes[value.name] = tuple(dimension.dim_value for dimension in dimensions)
    return shapes


def operations(node: NodeProto, shapes: Shapes) -> float:
    """Return the operations of a product: two for each output and each number that is summed into it."""
    weight = shapes[node.input[1]]
    if node.op_type == "Conv":
        summed = math.prod(weight[1:])
    else:
        first = shapes[node.input[0]]
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        summed = first[0] if transposed else first[-1]
    return 2.0 * math.prod(output_shape(node, shapes)) * summed


def output_shape(node: NodeProto, shapes: Shapes) -> tuple[int, ...]:
    """Return the shape of what a product gives."""
    if node.output[0] in shapes:
        return shapes[node.output[0]]
    first, second = (shapes[name] for name in node.input[:2])
    return (*np.broadcast_shapes(first[:-2], second[:-2]), first[-2], second[-1])


def stored_bytes(constant: TensorProto) -> float:
    """Return the size of a constant."""
    if constant.data_type == HALF_BYTE:
        return math.prod(constant.dims) / 2
    return float(math.prod(constant.dims) * helper.tensor_dtype_to_np_dtype(constant.data_type).itemsize)


def passed_bytes(spec: GraphSpec, sizes: Mapping[str, int]) -> float:
    """Return the size of all inputs and outputs."""
    tensors = (*spec.inputs.values(), *spec.outputs.values())
    return float(
        sum(
            np.dtype(tensor.dtype).itemsize * math.prod(sizes[n] if isinstance(n, str) else n for n in tensor.shape)
            for tensor in tensors
        )
    )
