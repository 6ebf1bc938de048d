"""Folders to build from and to build into."""

import pytest

from loc3r_ros.build.folder import is_built, plan_folder, tables
from loc3r_ros.engines import Manifest
from loc3r_ros.errors import ConfigError, EngineError


def test_the_plan_of_a_folder(engine_folder):
    plan = plan_folder(engine_folder("tiny", "fp16"), None)
    sizes = {graph.name: graph.weights for graph in plan.graphs}
    data = engine_folder("tiny", "fp16") / "language.onnx.data"
    assert sizes["language"] == pytest.approx(data.stat().st_size, rel=0.2)
    assert plan.manifest.backend == "tensorrt" and plan.manifest.precision == "fp16"
    assert sorted(tables(Manifest.read(engine_folder("tiny", "fp16")))) == [
        "embedding.npy",
        "head.npz",
        "tokenizer.json",
    ]
    assert plan.tables > 0


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(EngineError, match="not a folder of engines"):
        plan_folder(tmp_path, None)


def test_something_else_is_never_replaced(tmp_path):
    assert not is_built(tmp_path / "new", {}, print)
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="holds something else"):
        is_built(tmp_path, {}, print)


def test_engines_of_another_kind_are_replaced_aloud(engine_folder):
    said = []
    key = dict.fromkeys(("model", "precision", "shapes", "tensorrt", "compute_capability"), "x")
    assert not is_built(engine_folder("tiny", "fp16"), key, said.append)
    assert len(said) == 1 and "the version of TensorRT is unknown instead of x" in said[0]
