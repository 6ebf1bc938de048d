"""Quantised graphs say nearly the same, and onnxruntime joins their operators to those that are fast."""

import statistics
from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from loc3r_ros.cli import main
from loc3r_ros.engines import EngineSet, Manifest
from loc3r_ros.engines.manifest import GraphSpec, TensorSpec
from loc3r_ros.engines.ort import OnnxRuntimeBackend
from loc3r_ros.export import quantise as quantisation
from loc3r_ros.export.folder import export_engines
from loc3r_ros.export.onnx_files import write_graph
from loc3r_ros.export.parity import check, compare
from loc3r_ros.export.quantise import block_scales, column_scales
from loc3r_ros.export.reference import reference_engines
from loc3r_ros.export.source import load_source, random_source
from loc3r_ros.localizer import Localizer
from loc3r_ros.model.config import preset
from loc3r_ros.resources import find_resource

torch.set_num_threads(1)


class Network(nn.Module):
    """One input for two matrices, one of them with a bias, then a head and a small matrix."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(128, 192), nn.Linear(128, 192, bias=False)
        self.position = nn.Sequential(nn.Linear(192, 64))
        self.small = nn.Linear(64, 3)

    def forward(self, x):
        return (self.small(self.position(self.first(x) * self.second(x))),)


SPEC = GraphSpec("g.onnx", {"x": TensorSpec("float32", ("rows", 128))}, {"y": TensorSpec("float32", ("rows", 3))})


@pytest.fixture
def written(tmp_path):
    """Return a function: bits -> graph as it was written, and what onnxruntime makes of it."""

    def write(bits):
        write_graph(Network(), SPEC, tmp_path, bits)
        options = OnnxRuntimeBackend(threads=1).options()
        options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
        session = onnxruntime.InferenceSession(str(tmp_path / "g.onnx"), options)
        return onnx.load(str(tmp_path / "g.onnx")), session, onnx.load(str(tmp_path / "optimised.onnx"))

    return write


def product(weight):
    """Return a graph that multiplies its input with a constant."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, len(weight)])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight.astype(np.float32), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def operators(model):
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("rows", [1, 40])
@pytest.mark.parametrize(("bits", "error"), [(8, 0.02), (4, 0.2)])
def test_quantised_products_are_close(written, bits, error, rows):
    _, session, _ = written(bits)
    x = np.random.default_rng(0).standard_normal((40, 128)).astype(np.float32)
    with torch.inference_mode():
        (expected,) = Network()(torch.from_numpy(x))
    found = np.concatenate([session.run(None, {"x": part})[0] for part in np.split(x, 40 // rows)])
    spread = np.abs(expected.numpy()).max()
    assert 1e-6 * spread < np.abs(found - expected.numpy()).max() < error * spread


def test_eight_bits_are_products_of_integers(written):
    model, _, optimised = written(8)
    found = operators(model)
    assert found["MatMulInteger"] == 2
    assert found["DynamicQuantizeLinear"] == 1, "both read the same rows"
    assert found["Gemm"] == 2, "head and small matrix stay"
    assert {constant.data_type for constant in model.graph.initializer} == {TensorProto.INT8, TensorProto.FLOAT}
    joined = operators(optimised)
    assert joined["MatMulIntegerToFloat"] + joined["DynamicQuantizeMatMul"] == 2 and not joined["MatMulInteger"]


def test_four_bits_never_become_a_whole_matrix(written):
    model, _, optimised = written(4)
    assert operators(model)["DequantizeLinear"] == 2 and model.opset_import[0].version == 21
    assert operators(optimised)["MatMulNBits"] == 2 and not operators(optimised)["DequantizeLinear"]


def test_only_standard_operators_are_written(written):
    for bits in (8, 4):
        model, _, _ = written(bits)
        assert {node.domain for node in model.graph.node} == {""}
        onnx.checker.check_model(model, full_check=True)


def test_columns_come_back_within_half_a_step():
    weight = np.random.default_rng(0).standard_normal((30, 7)).astype(np.float32) * np.logspace(-3, 3, 7)
    weight[:, 3] = 0
    integers, scales = column_scales(weight.astype(np.float32))
    assert np.all(np.abs(integers * scales - weight) <= scales * 0.501)
    assert np.abs(integers).max() == 127 and not integers[:, 3].any()


@pytest.mark.parametrize("inputs", [127, 192, 768])
def test_no_two_neighbours_can_overflow_sixteen_bits(inputs):
    weight = np.random.default_rng(0).standard_normal((inputs, 300)).astype(np.float32)
    integers = column_scales(weight)[0].astype(int)
    even = integers[: inputs // 2 * 2].reshape(-1, 2, 300)
    assert 255 * even.clip(min=0).sum(axis=1).max() < 2**15 and 255 * even.clip(max=0).sum(axis=1).min() >= -(2**15)
    assert np.abs(integers).max(axis=0).mean() > 90, "and hardly a bit is lost by it"


@pytest.mark.parametrize("rows", [1, 40])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_rows_meet_the_largest_weights_without_saturation(sign, rows):
    model = product(np.full((128, 64), sign))
    quantisation.quantise(model, 8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), OnnxRuntimeBackend(threads=1).options())
    (found,) = session.run(None, {"x": np.ones((rows, 128), np.float32)})
    np.testing.assert_allclose(found, sign * 128, rtol=1e-5)


def test_blocks_have_scales_of_their_own_and_the_best_of_some():
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((128, 5)).astype(np.float32)
    weight[64:] *= 100
    weight[0, 0] = 6.0  # an outlier, which it pays to clip
    integers, scales = block_scales(weight)
    assert scales.shape == (2, 5) and np.abs(integers).max() <= 7
    back = integers.reshape(2, 64, 5) * scales[:, None]
    error = ((back - weight.reshape(2, 64, 5)) ** 2).sum(axis=1)
    plain = np.abs(weight.reshape(2, 64, 5)).max(axis=1) / 7
    rounded = np.round(weight.reshape(2, 64, 5) / plain[:, None]) * plain[:, None]
    assert np.all(error <= ((rounded - weight.reshape(2, 64, 5)) ** 2).sum(axis=1) + 1e-5)
    assert scales[0, 0] < plain[0, 0]


def test_four_bits_are_packed_low_half_first():
    rewritten = quantisation.Rewritten()
    values = np.array([[1, -2], [7, -7]], np.int8)
    rewritten.nibbles("w", values)
    np.testing.assert_array_equal(numpy_helper.to_array(rewritten.constants["w"]).astype(np.int8), values)


def test_a_matrix_that_does_not_fit_stays():
    model = product(np.ones((100, 100)))
    quantisation.quantise(model, 4)
    assert [node.op_type for node in model.graph.node] == ["MatMul"] and len(model.graph.initializer) == 1


@pytest.mark.parametrize(("precision", "block"), [("int8", 64), ("int4", 16)])
def test_the_command_makes_a_folder_that_answers(tmp_path, monkeypatch, capsys, precision, block):
    monkeypatch.setattr(quantisation, "SMALLEST", 256)
    monkeypatch.setattr(quantisation, "BLOCK", block)
    assert main(["export", "--random", "tiny", "--out", str(tmp_path / "e"), "--precision", precision]) == 0
    assert "what the model says" in capsys.readouterr().out
    manifest = Manifest.read(tmp_path / "e")
    assert manifest.precision == precision and manifest.language.cache_dtype == "float32"
    operator = {"int8": "MatMulInteger", "int4": "DequantizeLinear"}[precision]
    model = onnx.load(str(tmp_path / "e" / "language.onnx"), load_external_data=False)
    assert operators(model)[operator] == 2 * 7 + 1, "two layers of seven matrices, and the words"
    localizer = Localizer.load(tmp_path / "e", threads=1, answer_tokens=2)
    localizer.observe(np.zeros((48, 64, 3), np.uint8), 0)
    assert np.isfinite(localizer.locate("Here.").pose).all()


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "bound", "layers"), [("int8", 0.05, 8), ("int4", 0.25, 6)])
def test_a_random_nano_keeps_its_word_and_loses_its_weight(tmp_path, precision, bound, layers):
    # The error of four bits grows with the depth: the bound is that of six layers, with eight it is 0.34.
    nano = preset("nano")
    source = random_source(replace(nano, language=replace(nano.language, layers=layers)))
    folders = [tmp_path / name for name in (precision, "fp32")]
    for folder in folders:
        export_engines(source, folder, folder.name)
    assert check(reference_engines(source), EngineSet.load(folders[0], threads=1)) < bound
    sizes = [sum(file.size for file in Manifest.read(folder).files.values()) for folder in folders]
    assert sizes[0] < 0.4 * sizes[1]


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "bound"), [("int8", 0.03), ("int4", 0.15)])
def test_half_of_what_the_shipped_nano_says_is_nearly_the_same(tmp_path, precision, bound):
    source = load_source(find_resource("models/nano"))
    export_engines(source, tmp_path / "nano", precision)
    deviations = compare(reference_engines(source), EngineSet.load(tmp_path / "nano", threads=1))
    assert statistics.median(deviation.error for deviation in deviations) < bound
