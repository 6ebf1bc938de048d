"""Weight-only quantisation of an fp16 graph for TensorRT: DequantizeLinear before the products, matrix by matrix.

The codes are those of `loc3r_ros.export.quantise`: symmetric, int8 with one scale for each column, int4 with one for
each block of it. That module writes graphs for CPUs, whose inputs are quantised as well in 8 bits and single precision
in 4; here inputs stay fp16, and weights are mapped, so that a model of any size needs the memory of one matrix. The
graph is standard ONNX (opset 21). TensorRT has kernels that multiply by int4 weights (since 10.0); by int8 weights it
has none, and may unpack them when it compiles.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
from onnx import TensorProto, helper

from loc3r_ros.build.onnx_graph import Matrix, attribute, constants, load_graph, mapped_weights, matrices
from loc3r_ros.engines.protocol import Array
from loc3r_ros.errors import ConfigError
from loc3r_ros.export.quantise import BLOCK, BLOCK_OPSET, OUTPUT_HEADS, block_scales, column_scales

IR_VERSION = 10
"""The first with 4-bit integers."""
ALIGNMENT = 64
CHUNK = 1 << 16
"""Weights that are quantised at once; few enough for a processor's cache."""
SMALLEST_SCALE = np.finfo(np.float16).tiny


def quantise(matrix: Array, precision: str) -> tuple[Array, Array]:
    """Return a matrix in few bits.

    Args:
        matrix: (inputs, outputs) floating point.
        precision: "int8" or "int4".

    Returns:
        (inputs, outputs) int8 codes, and float16 scales (outputs,) or (inputs / BLOCK, outputs).
    """
    inputs, outputs = matrix.shape
    codes = np.empty((inputs, outputs), np.int8)
    scales = np.empty((inputs // BLOCK, outputs) if precision == "int4" else (1, outputs), np.float16)

    def work(part: slice) -> None:
        """Quantise some columns, or in int4 some rows of blocks: neither knows of the others."""
        if precision == "int4":
            rows = slice(part.start * BLOCK, part.stop * BLOCK)
            codes[rows], found = block_scales(matrix[rows].astype(np.float32))
            scales[part] = np.maximum(found, SMALLEST_SCALE)
        else:
            codes[:, part], found = column_scales(matrix[:, part].astype(np.float32))
            scales[0, part] = np.maximum(found, SMALLEST_SCALE)

    count, width = (len(scales), BLOCK * outputs) if precision == "int4" else (outputs, inputs)
    step = max(1, CHUNK // width)
    parts = [slice(start, min(start + step, count)) for start in range(0, count, step)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:  # numpy lets go of the interpreter
        list(pool.map(work, parts))
    return codes, scales if precision == "int4" else scales[0]


def packed(codes: Array) -> Array:
    """Return two 4-bit codes a byte, the first in the lower half (ONNX's and TensorRT's order)."""
    nibbles = codes.reshape(-1).view(np.uint8) & 0x0F
    return nibbles[0::2] | nibbles[1::2] << 4


def quantised_matrices(model: onnx.ModelProto, kept_outputs: int) -> list[Matrix]:
    """Return the matrices that are worth it: large, outside the graph, and none that gives results.

    Args:
        model: without its weights.
        kept_outputs: number of outputs of the matrix that gives the logits.
    """
    outside = {name for name, tensor in constants(model).items() if tensor.data_location == TensorProto.EXTERNAL}
    return [
        matrix
        for matrix in matrices(model)
        if matrix.name in outside
        and matrix.outputs != kept_outputs
        and matrix.inputs % BLOCK == 0
        and not OUTPUT_HEADS.search(model.graph.node[matrix.node].name)
    ]


def write_weight_only(source: Path, target: Path, precision: str, kept_outputs: int) -> None:
    """Write a graph with quantised weights, and its data file beside it.

    Args:
        source: an fp16 graph whose weights lie beside it.
        target: the graph to write, in another folder.
        precision: "int8" or "int4".
        kept_outputs: see `quantised_matrices`.

    Raises:
        ConfigError: no matrix can be quantised.
    """
    model = load_graph(source)
    chosen = quantised_matrices(model, kept_outputs)
    if not chosen:
        raise ConfigError(f"{source} has no matrices whose inputs are a multiple of {BLOCK}: build it in fp16.")
    weights = mapped_weights(model, source.parent)
    with (target.parent / f"{target.name}.data").open("wb") as data:
        by_name = {matrix.name: matrix for matrix in chosen}
        made = {name: _write(data, matrix, weights.pop(name), precision) for name, matrix in by_name.items()}
        for tensor in model.graph.initializer:
            if tensor.name in weights:
                _place(data, tensor, weights[tensor.name])
    _rewrite(model, chosen, made)
    _raise_opset(model)
    onnx.save(model, str(target))


def _write(data: BinaryIO, matrix: Matrix, weights: Array, precision: str) -> tuple[TensorProto, TensorProto]:
    """Quantise one matrix into the data file; return its constants: codes and scales."""
    stored = (matrix.outputs, matrix.inputs) if matrix.is_transposed else (matrix.inputs, matrix.outputs)
    values = weights.view(np.float16).reshape(stored)
    codes, scales = quantise(values.T if matrix.is_transposed else values, precision)
    kind, stored_codes = (TensorProto.INT4, packed(codes)) if precision == "int4" else (TensorProto.INT8, codes)
    return (
        _append(data, f"{matrix.name}.codes", kind, codes.shape, stored_codes),
        _append(data, f"{matrix.name}.scales", TensorProto.FLOAT16, scales.shape, scales),
    )


def _append(data: BinaryIO, name: str, kind: int, shape: tuple[int, ...], values: Array) -> TensorProto:
    tensor = TensorProto(name=name, data_type=kind, dims=shape)
    _place(data, tensor, values)
    return tensor


def _place(data: BinaryIO, tensor: TensorProto, values: Array) -> None:
    """Append a constant's values to the data file, and say there where they lie."""
    data.write(b"\0" * (-data.tell() % ALIGNMENT))
    entries = {"location": Path(data.name).name, "offset": str(data.tell()), "length": str(values.nbytes)}
    del tensor.external_data[:]
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    tensor.data_location = TensorProto.EXTERNAL
    data.write(np.ascontiguousarray(values).data)


def _rewrite(model: onnx.ModelProto, chosen: list[Matrix], made: dict[str, tuple[TensorProto, TensorProto]]) -> None:
    """Put DequantizeLinear before the products, which become MatMul and Add: the form that compilers fuse."""
    by_node = {matrix.node: matrix for matrix in chosen}
    done: set[str] = set()
    nodes = []
    for index, node in enumerate(model.graph.node):
        matrix = by_node.get(index)
        if matrix is None:
            nodes.append(node)
            continue
        codes, scales = made[matrix.name]
        weight = f"{matrix.name}.weight"
        if matrix.name not in done:
            done.add(matrix.name)
            options: dict[str, Any] = {"axis": 0, "block_size": BLOCK} if len(scales.dims) == 2 else {"axis": 1}
            nodes.append(helper.make_node("DequantizeLinear", [codes.name, scales.name], [weight], **options))
        nodes += _product(node, weight)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in made]
    del model.graph.initializer[:]
    model.graph.initializer.extend([*kept, *(tensor for pair in made.values() for tensor in pair)])


def _product(node: onnx.NodeProto, weight: str) -> list[onnx.NodeProto]:
    is_sum = len(node.input) > 2
    product = f"{node.output[0]}.product" if is_sum else node.output[0]
    result = [helper.make_node("MatMul", [node.input[0], weight], [product], name=node.name)]
    if is_sum:
        result.append(helper.make_node("Add", [product, node.input[2]], list(node.output), name=f"{node.name}/bias"))
    return result


def _raise_opset(model: onnx.ModelProto) -> None:
    """Take the graph to opset 21. Of the operators that the exporter writes, only ReduceMean was changed since 17."""
    for node in model.graph.node:
        axes = attribute(node, "axes", None)
        if node.op_type == "ReduceMean" and axes is not None:
            kept = [item for item in node.attribute if item.name != "axes"]
            del node.attribute[:]
            node.attribute.extend(kept)
            node.input.append(f"{node.output[0]}.axes")
            model.graph.initializer.append(helper.make_tensor(node.input[1], TensorProto.INT64, [len(axes)], axes))
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", BLOCK_OPSET))
    model.ir_version = max(model.ir_version, IR_VERSION)
