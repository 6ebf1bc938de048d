"""Weight-only quantisation: what is rounded, what is not, and that the graph goes on saying the same."""

import numpy as np
import onnx
import pytest

from loc3r_ros.build import weight_only
from loc3r_ros.build.onnx_graph import load_graph, mapped_weights, matrices, weight_bytes
from loc3r_ros.build.weight_only import packed, quantise, quantised_matrices, write_weight_only
from loc3r_ros.engines import Manifest
from loc3r_ros.engines.ort import OnnxRuntimeBackend
from loc3r_ros.errors import ConfigError, EngineError
from loc3r_ros.export import parity, specs
from loc3r_ros.export import quantise as codes

VOCABULARY = 320


@pytest.fixture
def small_blocks(monkeypatch):
    """The tiny model's matrices have 32 rows."""
    for module in (codes, weight_only):
        monkeypatch.setattr(module, "BLOCK", 16)


@pytest.mark.parametrize(("precision", "steps"), [("int8", 127), ("int4", 7)])
def test_codes_give_the_matrix_back(precision, steps):
    matrix = np.random.default_rng(0).standard_normal((128, 6)).astype(np.float16)
    found, scales = quantise(matrix, precision)
    assert found.dtype == np.int8 and scales.dtype == np.float16
    assert scales.shape == ((6,) if precision == "int8" else (128 // codes.BLOCK, 6))
    wide = scales if precision == "int8" else np.repeat(scales, codes.BLOCK, axis=0)
    error = np.abs(found * wide.astype(np.float32) - matrix)
    assert np.abs(found).max() <= steps
    assert np.median(error / np.abs(matrix).max(axis=0)) < 0.5 / steps


def test_a_matrix_of_zeros_stays_zero():
    found, scales = quantise(np.zeros((64, 2), np.float16), "int4")
    assert not found.any() and (scales > 0).all()


def test_two_codes_a_byte_the_first_below():
    assert packed(np.array([[1, -1], [7, -8]], np.int8)).tolist() == [0xF1, 0x87]


@pytest.mark.parametrize(("precision", "tolerance"), [("int8", 0.02), ("int4", 0.2)])
def test_the_graph_says_nearly_the_same(engine_folder, tmp_path, small_blocks, precision, tolerance):
    folder = engine_folder("tiny", "fp16")
    manifest, backend = Manifest.read(folder), OnnxRuntimeBackend(1)
    write_weight_only(folder / "language.onnx", tmp_path / "language.onnx", precision, VOCABULARY)
    onnx.checker.check_model(str(tmp_path / "language.onnx"))
    original, changed = (backend.load(where, manifest.graphs["language"]) for where in (folder, tmp_path))
    rng = np.random.default_rng(0)
    spec = specs._with_fixed(original.spec, {"tokens": 5, "prefix": 44, "suffix": 3})
    inputs = {name: parity._random(tensor, rng) for name, tensor in spec.inputs.items()}
    inputs |= {"prefix_length": np.array([44]), "suffix_length": np.array([3]), "start": np.array([47])}
    expected, found = original.run(inputs), changed.run(inputs)
    errors = [parity.difference(expected[name], found[name]) for name in expected]
    assert 0 < max(errors) < tolerance


def test_the_file_shrinks_and_the_logits_stay(engine_folder, tmp_path, small_blocks):
    source = engine_folder("tiny", "fp16") / "language.onnx"
    before = load_graph(source)
    chosen = quantised_matrices(before, VOCABULARY)
    assert {matrix.outputs for matrix in chosen} == {16, 32, 48}  # neither logits nor heads
    write_weight_only(source, tmp_path / "language.onnx", "int4", VOCABULARY)
    after = load_graph(tmp_path / "language.onnx")
    kept = [matrix for matrix in matrices(after) if matrix.outputs == VOCABULARY]
    assert len(kept) == 1
    weights = [mapped_weights(model, folder) for model, folder in ((before, source.parent), (after, tmp_path))]
    np.testing.assert_array_equal(weights[0][kept[0].name], weights[1][kept[0].name])
    elements = sum(matrix.inputs * matrix.outputs for matrix in chosen)
    assert weight_bytes(before) - weight_bytes(after) == pytest.approx(elements * (2 - (4 + 16 / 16) / 8), rel=0.01)


def test_matrices_that_do_not_fit_are_refused(engine_folder, tmp_path):
    with pytest.raises(ConfigError, match=f"multiple of {codes.BLOCK}"):
        write_weight_only(engine_folder("tiny", "fp16") / "language.onnx", tmp_path / "x.onnx", "int4", VOCABULARY)


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_a_file_that_is_no_graph(tmp_path, content):
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(EngineError, match="is no ONNX graph"):
        load_graph(tmp_path / "x.onnx")
