"""Weights of a graph in 8 or 4 bits, in standard ONNX operators.

8 bits: every column of a matrix has a scale. The rows that it multiplies are quantised as they come, one scale for all
of them, and the product is one of integers (DynamicQuantizeLinear and MatMulInteger, opset 10 and 11), which
onnxruntime joins to one operator. 4 bits: every block of a column has a scale, and DequantizeLinear (opset 21) stands
before the product; onnxruntime joins both to its MatMulNBits, which never unpacks the whole matrix.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.int8]

SMALLEST = 4096
"""Weights; smaller matrices are not worth it."""
OUTPUT_HEADS = re.compile(r"/(layout|position|orientation|pose_head)/")
"""Scopes of matrices that give metres and angles: they cost nothing, and stay as they are."""
BLOCK = 64
"""Rows of a column that share a scale in 4 bits; TensorRT takes blocks of this size, too."""
BLOCK_OPSET = 21
"""First opset with scales for blocks and with 4-bit integers."""
PAIR = 128
"""What two neighbours of a column may add up to, in absolute value. x86 CPUs without VNNI multiply them with rows of
0 .. 255 and add both products in 16 bits, which saturate beyond it. Unsigned weights need no such care, but take twice
the time where there is VNNI."""
TINY = 1e-12
SHRINKS = np.linspace(1.0, 0.7, 7)
"""Ranges that are tried for a block, as shares of its largest weight: clipping it may leave a smaller error."""


@dataclass(frozen=True)
class Matrix:
    """A product with a constant matrix.

    Attributes:
        node: MatMul or Gemm.
        weight: (inputs, outputs) float32.
        bias: name of what is added, or None.
    """

    node: NodeProto
    weight: Floats
    bias: str | None


@dataclass
class Rewritten:
    """The nodes and constants of a graph as it is rewritten."""

    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, TensorProto] = field(default_factory=dict)
    quantised: set[str] = field(default_factory=set)

    def add(self, operator: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        """Append a node."""
        self.nodes.append(helper.make_node(operator, inputs, outputs, name=f"{outputs[0]}_node", **attributes))

    def constant(self, name: str, values: npt.NDArray[np.generic]) -> str:
        """Append a constant and return its name."""
        self.constants[name] = numpy_helper.from_array(values, name)
        return name

    def nibbles(self, name: str, values: Bytes) -> str:
        """Append a constant of 4-bit integers, two in a byte, the first of them in the lower half."""
        low, high = values.reshape(-1, 2).T.view(np.uint8)
        packed = (low & 15) | (high << 4)
        self.constants[name] = helper.make_tensor(name, TensorProto.INT4, values.shape, packed.tobytes(), raw=True)
        return name


def quantise(model: ModelProto, bits: int) -> None:
    """Give the matrices of a graph weights of 8 or 4 bits, in place; heads and small matrices stay as they are.

    Args:
        model: a float32 graph, its weights in memory, of opset `BLOCK_OPSET` where bits is 4.
        bits: 8 or 4.
    """
    graph, rewritten = model.graph, Rewritten()
    constants = {constant.name: constant for constant in graph.initializer}
    for node in graph.node:
        matrix = matrix_of(node, constants)
        if matrix is None or (bits == 4 and len(matrix.weight) % BLOCK):
            rewritten.nodes.append(node)
        else:
            (_integer_product if bits == 8 else _block_product)(rewritten, matrix)
    _replace(graph, rewritten)


def matrix_of(node: NodeProto, constants: dict[str, TensorProto]) -> Matrix | None:
    """Return the product that a node is, or None where it is none that is worth quantising."""
    if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in constants or OUTPUT_HEADS.search(node.name):
        return None
    constant = constants[node.input[1]]
    if len(constant.dims) != 2 or np.prod(constant.dims) < SMALLEST:
        return None
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    weight = numpy_helper.to_array(constant)
    return Matrix(node, weight.T if transposed else weight, node.input[2] if len(node.input) > 2 else None)


def column_scales(weight: Floats) -> tuple[Bytes, Floats]:
    """Return the (inputs, outputs) weights in -127 .. 127 and the (outputs,) scales that give them back.

    Neighbours (rows 0 and 1, 2 and 3, ...) of a column add up to at most `PAIR`.
    """
    pairs = np.pad(weight, ((0, len(weight) % 2), (0, 0))).reshape(-1, 2, weight.shape[1])
    sums = np.maximum(pairs.clip(min=0).sum(axis=1), -pairs.clip(max=0).sum(axis=1)).max(axis=0)
    scales = np.maximum(np.maximum(np.abs(weight).max(axis=0) / 127, sums / PAIR), TINY)
    return np.round(weight / scales).astype(np.int8), scales.astype(np.float32)


def block_scales(weight: Floats) -> tuple[Bytes, Floats]:
    """Return the (inputs, outputs) weights in -7 .. 7 and the (inputs / BLOCK, outputs) scales of their blocks.

    Each block takes the scale, of a few, that leaves the least squared error.
    """
    blocks = weight.reshape(-1, BLOCK, weight.shape[1])
    largest = np.maximum(np.abs(blocks).max(axis=1, keepdims=True), TINY) / 7
    best, scales = np.full(largest.shape, np.inf), largest
    for shrink in SHRINKS:
        scale = largest * shrink
        error = ((_rounded(blocks, scale) * scale - blocks) ** 2).sum(axis=1, keepdims=True)
        scales = np.where(error < best, scale, scales)
        best = np.minimum(error, best)
    return _rounded(blocks, scales).astype(np.int8).reshape(weight.shape), scales[:, 0].astype(np.float32)


def _rounded(blocks: Floats, scale: Floats) -> Floats:
    return np.clip(np.round(blocks / scale), -7, 7)


def _integer_product(rewritten: Rewritten, matrix: Matrix) -> None:
    source, target = matrix.node.input[0], matrix.node.output[0]
    rows, row_scale, row_zero = (f"{source}_{part}" for part in ("int8", "scale", "zero"))
    if source not in rewritten.quantised:
        rewritten.quantised.add(source)
        rewritten.add("DynamicQuantizeLinear", [source], [rows, row_scale, row_zero])
    integers, scales = column_scales(matrix.weight)
    weight = rewritten.constant(f"{target}_weight", integers)
    scale = rewritten.constant(f"{target}_weight_scale", scales)
    rewritten.add("MatMulInteger", [rows, weight, row_zero], [f"{target}_integer"])
    rewritten.add("Cast", [f"{target}_integer"], [f"{target}_float"], to=TensorProto.FLOAT)
    rewritten.add("Mul", [row_scale, scale], [f"{target}_scale"])
    product = target if matrix.bias is None else f"{target}_product"
    rewritten.add("Mul", [f"{target}_float", f"{target}_scale"], [product])
    _add_bias(rewritten, matrix, product)


def _block_product(rewritten: Rewritten, matrix: Matrix) -> None:
    target = matrix.node.output[0]
    integers, scales = block_scales(matrix.weight)
    weight = rewritten.nibbles(f"{target}_weight", integers)
    scale = rewritten.constant(f"{target}_weight_scale", scales)
    rewritten.add("DequantizeLinear", [weight, scale], [f"{target}_dequantised"], axis=0, block_size=BLOCK)
    product = target if matrix.bias is None else f"{target}_product"
    rewritten.add("MatMul", [matrix.node.input[0], f"{target}_dequantised"], [product])
    _add_bias(rewritten, matrix, product)


def _add_bias(rewritten: Rewritten, matrix: Matrix, product: str) -> None:
    if matrix.bias is not None:
        rewritten.add("Add", [product, matrix.bias], [matrix.node.output[0]])


def _replace(graph: GraphProto, rewritten: Rewritten) -> None:
    """Put the new nodes in the place of the old, and drop constants that nobody reads any more."""
    del graph.node[:]
    graph.node.extend(rewritten.nodes)
    used = {name for node in _all_nodes(graph) for name in node.input} | {output.name for output in graph.output}
    kept = [constant for constant in graph.initializer if constant.name in used]
    del graph.initializer[:]
    graph.initializer.extend([*kept, *rewritten.constants.values()])


def _all_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from _all_nodes(attribute.g)
