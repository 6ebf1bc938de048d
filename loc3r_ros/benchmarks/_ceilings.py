"""What one core of this machine does at most: products of matrices, by the runtime of the model, and copies.

A square product of 1024 is large enough to be limited by arithmetic alone, and small enough to stay in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import ModelProto, TensorProto, helper, numpy_helper

from loc3r_ros.benchmarks import Measurement
from loc3r_ros.benchmarks._timing import fastest
from loc3r_ros.engines.ort import OnnxRuntimeBackend
from loc3r_ros.export.quantise import BLOCK_OPSET, quantise

SIDE = 1024
COPIED = 1 << 27
ROUNDS = 7
KINDS: dict[str, int | None] = {"fp32": None, "int8": 8, "int4": 4}
"""Numbers that are multiplied -> bits of the weights."""


@dataclass(frozen=True)
class Ceilings:
    """The limits of one core.

    Attributes:
        products: numbers that are multiplied -> operations per second.
        bandwidth: bytes per second, read and written ones both counted.
    """

    products: dict[str, float]
    bandwidth: float

    def rows(self) -> list[Measurement]:
        """Return the limits as measurements."""
        note = "one core, CPU time"
        return [
            *(
                Measurement(f"limit: {kind} product", rate / 1e9, "GFLOP/s", note)
                for kind, rate in self.products.items()
            ),
            Measurement("limit: copy", self.bandwidth / 1e9, "GB/s", f"{note}; read and written bytes"),
        ]


def measure_ceilings() -> Ceilings:
    """Measure the fastest of a few runs of each."""
    return Ceilings({kind: product_rate(bits) for kind, bits in KINDS.items()}, copy_rate())


def product_rate(bits: int | None) -> float:
    """Return the operations per second of a product of square matrices."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((SIDE, SIDE)).astype(np.float32)
    model = product(rng.standard_normal((SIDE, SIDE)).astype(np.float32))
    if bits is not None:
        quantise(model, bits)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), OnnxRuntimeBackend(threads=1).options(), providers=["CPUExecutionProvider"]
    )
    return float(2.0 * SIDE**3 / fastest(lambda: session.run(None, {"x": x}), ROUNDS))


def product(weight: npt.NDArray[np.float32]) -> ModelProto:
    """Return a graph that multiplies its input with a constant."""
    inputs, outputs = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [SIDE, SIDE]) for name in ("x", "y"))
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        "product",
        [inputs],
        [outputs],
        [numpy_helper.from_array(weight, "w")],
    )
    return onnx.helper.make_model(graph, opset_imports=[helper.make_opsetid("", BLOCK_OPSET)], ir_version=10)


def copy_rate() -> float:
    """Return the bytes per second of a copy that no cache holds."""
    source, target = np.ones(COPIED, np.uint8), np.zeros(COPIED, np.uint8)
    return float(2 * COPIED / fastest(lambda: np.copyto(target, source), ROUNDS))
