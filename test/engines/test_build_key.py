"""Compiled engines know what they were compiled for."""

import dataclasses
from pathlib import Path

import pytest

from loc3r_ros.engines import EngineSet, Manifest
from loc3r_ros.engines.build_key import build_key, check_build, differences
from loc3r_ros.engines.manifest import TensorSpec, describe_files
from loc3r_ros.errors import EngineError


@pytest.fixture
def manifest(engine_folder):
    return Manifest.read(engine_folder("tiny", "fp16"))


def test_equal_keys_do_not_differ(manifest):
    key = build_key(manifest, "10.3.0", "8.7")
    assert differences(key, build_key(manifest, "10.3.0", "8.7")) == []
    check_build(dataclasses.replace(manifest, build=key), Path("x"), "10.3.0", "8.7")


def wider(manifest):
    return dataclasses.replace(manifest, dimensions={**manifest.dimensions, "tokens": (1, 13, 2048)})


def other_shape(manifest):
    vision = manifest.graphs["vision"]
    changed = dataclasses.replace(vision, inputs={"image": TensorSpec("uint8", (64, 64, 3))})
    return dataclasses.replace(manifest, graphs={**manifest.graphs, "vision": changed})


@pytest.mark.parametrize(
    ("change", "tensorrt", "capability", "phrase"),
    [
        (lambda m: m, "10.16.1.11", "8.7", "the version of TensorRT is 10.3.0 instead of 10.16.1.11"),
        (lambda m: m, "10.3.0", "9.0", "the compute capability of the GPU is 8.7 instead of 9.0"),
        (lambda m: dataclasses.replace(m, model="abc"), "10.3.0", "8.7", "the hash of the model is "),
        (lambda m: dataclasses.replace(m, precision="int4"), "10.3.0", "8.7", "the precision is fp16 instead of int4"),
        (wider, "10.3.0", "8.7", "the hash of the graphs' shapes is "),
        (other_shape, "10.3.0", "8.7", "the hash of the graphs' shapes is "),
    ],
)
def test_the_part_that_differs_is_named(manifest, change, tensorrt, capability, phrase):
    key = build_key(manifest, "10.3.0", "8.7")
    found = differences(key, build_key(change(manifest), tensorrt, capability))
    assert len(found) == 1 and found[0].startswith(phrase)


def test_names_of_files_do_not_matter(manifest):
    graphs = {name: dataclasses.replace(spec, file=f"{name}.plan") for name, spec in manifest.graphs.items()}
    renamed = dataclasses.replace(manifest, graphs=graphs, backend="tensorrt")
    assert build_key(renamed, "10.3.0", "8.7") == build_key(manifest, "10.3.0", "8.7")


def test_the_error_says_how_to_build_again(manifest):
    build = {**build_key(manifest, "10.3.0", "8.7"), "command": "loc3r build engines/7b --out engines/orin"}
    with pytest.raises(EngineError, match=r"Build them again: loc3r build engines/7b --out engines/orin$"):
        check_build(dataclasses.replace(manifest, build=build), Path("engines/orin"), "11.4.0.106", "8.7")


def test_a_manifest_keeps_the_key(manifest, tmp_path):
    kept = dataclasses.replace(manifest, build=build_key(manifest, "10.3.0", "8.7"))
    (tmp_path / "manifest.json").write_text(kept.to_json())
    assert Manifest.read(tmp_path).build == kept.build


def test_engines_without_their_runtime(manifest, tmp_path):
    """Where neither TensorRT nor pycuda is installed, one sentence says so."""
    pytest.importorskip("onnxruntime")
    other = dataclasses.replace(manifest, backend="tensorrt", files=describe_files(tmp_path))
    (tmp_path / "manifest.json").write_text(other.to_json())
    if _has_tensorrt():
        pytest.skip("TensorRT is installed")
    with pytest.raises(EngineError, match="needs a runtime that is not installed"):
        EngineSet.load(tmp_path)


def _has_tensorrt():
    import importlib.util

    return all(importlib.util.find_spec(name) for name in ("tensorrt", "pycuda"))
