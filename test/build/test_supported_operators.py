"""Every graph that we export consists of operators, types and forms that TensorRT's ONNX parser is documented to take.

From docs/operators.md of the parser, releases 10.1 (nothing of it was taken away until 10.3, by its changelog) and
10.15; the release notes of 11 name additions alone.
"""

import dataclasses
import itertools

import onnx
import pytest
from onnx import TensorProto, helper, shape_inference

from loc3r_ros.build import weight_only
from loc3r_ros.export import quantise
from loc3r_ros.export.folder import export_engines
from loc3r_ros.export.source import random_source
from loc3r_ros.model.config import preset

FLOATS, INTEGERS, BOOL = {"FLOAT", "FLOAT16"}, {"INT32", "INT64"}, {"BOOL"}
ANY = FLOATS | INTEGERS | BOOL
ARITHMETIC = ("Add", "Div", "Mod", "Mul", "Neg", "Range", "ReduceL2", "ReduceMean", "Sub")
COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "Less")
PRODUCTS = ("Conv", "Gemm", "LayerNormalization", "MatMul", "Resize", "Softmax")
FUNCTIONS = ("Clip", "Cos", "Erf", "Exp", "Pow", "Sigmoid", "Sin", "Softplus", "Sqrt", "Tanh")
LAYOUTS = (
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Expand",
    "Gather",
    "Identity",
    "Reshape",
    "Shape",
    "Slice",
    "Split",
)
MORE_LAYOUTS = ("Squeeze", "Tile", "Transpose", "Unsqueeze", "Where")
SUPPORTED = {
    **dict.fromkeys(ARITHMETIC + COMPARISONS, FLOATS | INTEGERS),
    **dict.fromkeys(PRODUCTS + FUNCTIONS, FLOATS),
    **dict.fromkeys(LAYOUTS + MORE_LAYOUTS, ANY),
    "Cast": ANY | {"UINT8"},
    "DequantizeLinear": {"INT8", "INT4"},
}
"""Operator -> element types of its first input that is no condition, index or shape."""
DATA_INPUT = {"Where": 1}
CONSTANT_INPUTS = {"Slice": (3,), "ReduceMean": (1,), "ReduceL2": (1,), "Squeeze": (1,), "Unsqueeze": (1,)}
"""Inputs (axes) that must be known when the graph is compiled."""
OPSETS = {17: "10.0", 21: "10.6"}
MAX_RANK = 8


def config_of(name):
    """Like the 7B in form: its pose prior resizes the vision tower's picture in the graph."""
    tiny = preset("tiny")
    if name == "resizing":
        return dataclasses.replace(tiny, pose_prior=dataclasses.replace(tiny.pose_prior, image_size=(48, 48)))
    return tiny


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    made = {}

    def export(name, precision, fixed_frames):
        key = (name, precision, fixed_frames)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("engines") / "folder"
            export_engines(random_source(config_of(name)), made[key], precision, fixed_frames)
        return made[key]

    return export


def objections(path):
    """Return what TensorRT would refuse in a graph."""
    model = onnx.load(str(path), load_external_data=False)
    model = shape_inference.infer_shapes(model, strict_mode=False)
    graph = model.graph
    types = {item.name: item.type.tensor_type for item in [*graph.input, *graph.output, *graph.value_info]}
    kinds = {name: TensorProto.DataType.Name(kind.elem_type) for name, kind in types.items()}
    kinds |= {tensor.name: TensorProto.DataType.Name(tensor.data_type) for tensor in graph.initializer}
    found = [f"rank of {name}" for name, kind in types.items() if len(kind.shape.dim) > MAX_RANK]
    if max(item.version for item in model.opset_import) not in OPSETS:
        found.append(f"opset {model.opset_import}")
    constant = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in ("Constant", "Identity") and all(name in constant for name in node.input):
            constant |= set(node.output)
        found += objections_to(node, kinds, constant)
    return found


def objections_to(node, kinds, constant):
    allowed = SUPPORTED.get(node.op_type)
    if allowed is None or node.domain:
        return [f"no operator {node.op_type}"]
    found = []
    if node.input:
        data = node.input[DATA_INPUT.get(node.op_type, 0)]
        kind = kinds.get(data)
        if kind not in allowed:
            found.append(f"{node.op_type} of {kind} ({node.name})")
    for index in CONSTANT_INPUTS.get(node.op_type, ()):
        if len(node.input) > index and node.input[index] not in constant:
            found.append(f"axes of {node.op_type} are computed ({node.name})")
    if node.op_type in ("LayerNormalization", "Split") and not node.output[0]:
        found.append(f"outputs of {node.op_type}")
    if node.op_type == "LayerNormalization" and len(node.output) > 1:
        found.append("second output of LayerNormalization")
    return found


@pytest.mark.parametrize(
    ("name", "precision", "fixed_frames"),
    [("tiny", "fp16", 6), ("tiny", "fp16", None), ("resizing", "fp16", 6)],
)
@pytest.mark.parametrize("graph", ["pose_prior", "vision", "language"])
def test_graphs_are_supported(exported, graph, name, precision, fixed_frames):
    assert objections(exported(name, precision, fixed_frames) / f"{graph}.onnx") == []


def test_the_7bs_resize_is_one_that_tensorrt_has(exported):
    model = onnx.load(str(exported("resizing", "fp16", 6) / "pose_prior.onnx"), load_external_data=False)
    resizes = [node for node in model.graph.node if node.op_type == "Resize"]
    assert len(resizes) == 1
    values = {item.name: helper.get_attribute_value(item) for item in resizes[0].attribute}
    assert values["mode"] == b"linear"
    assert values["coordinate_transformation_mode"] in (b"half_pixel", b"pytorch_half_pixel")
    assert not values.get("antialias") and values.get("keep_aspect_ratio_policy", b"stretch") == b"stretch"


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_weight_only_graphs_are_supported(exported, tmp_path, monkeypatch, precision):
    monkeypatch.setattr(quantise, "BLOCK", 16)
    monkeypatch.setattr(weight_only, "BLOCK", 16)
    source = exported("tiny", "fp16", 6) / "language.onnx"
    weight_only.write_weight_only(source, tmp_path / "language.onnx", precision, kept_outputs=320)
    assert objections(tmp_path / "language.onnx") == []
    model = onnx.load(str(tmp_path / "language.onnx"), load_external_data=False)
    products = [node for node in model.graph.node if node.op_type == "DequantizeLinear"]
    assert len(products) == 14  # seven matrices in each of two layers
    assert all(len(node.input) == 2 for node in products)  # no zero points: TensorRT takes none but zero


def test_the_check_objects(tmp_path):
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("NonZero", ["a"], ["b"]),
        helper.make_node("MatMul", ["c", "c"], ["d"]),
        helper.make_node("Mul", ["e", "e"], ["f"]),
    ]
    inputs = [
        value("a", TensorProto.FLOAT, [3]),
        value("c", TensorProto.INT64, [2, 2]),
        value("e", TensorProto.UINT8, [1]),
    ]
    graph = helper.make_graph(nodes, "g", inputs, [value("f", TensorProto.UINT8, [1])])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), str(tmp_path / "g.onnx"))
    found = objections(tmp_path / "g.onnx")
    assert [text.partition(" (")[0] for text in found] == ["no operator NonZero", "MatMul of INT64", "Mul of UINT8"]


def test_pictures_are_cast_at_once(exported):
    """8-bit tensors may enter and leave a network, and be cast; nothing else."""
    for name in ("pose_prior", "vision"):
        model = onnx.load(str(exported("tiny", "fp16", 6) / f"{name}.onnx"), load_external_data=False)
        users = itertools.chain.from_iterable(
            [node.op_type] * list(node.input).count("image") for node in model.graph.node
        )
        assert set(users) == {"Cast"}
