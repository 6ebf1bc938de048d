import json
import shutil

import pytest

from loc3r_ros.engines import EngineSet, Manifest
from loc3r_ros.errors import EngineError


@pytest.fixture
def folder(engine_folder, tmp_path):
    copy = tmp_path / "engines"
    shutil.copytree(engine_folder("tiny"), copy)
    return copy


def edit(folder, change):
    path = folder / "manifest.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_what_is_written_is_read(folder):
    manifest = Manifest.read(folder)
    assert Manifest.read(folder).to_json() == (folder / "manifest.json").read_text() == manifest.to_json()
    assert manifest.name == "tiny" and manifest.graphs["language"].inputs["prefix_key.0"].shape == ("prefix", 2, 8)
    assert set(manifest.files) == {path.name for path in folder.iterdir()} - {"manifest.json"}
    names = {size for graph in manifest.graphs.values() for t in graph.inputs.values() for size in t.shape}
    assert {name for name in names if isinstance(name, str)} == set(manifest.dimensions)


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(EngineError, match=r"not a folder of engines.*loc3r export"):
        EngineSet.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda values: values.update(format=99), "format 99"),
        (lambda values: values.pop("video"), "damaged"),
        (lambda values: values["language"].update(colour="red"), "unknown fields: colour"),
        (lambda values: values["language"].update(layers="two"), r"language.layers is 'two'"),
        (lambda values: values.update(graphs=[]), "graphs must be an object"),
        (lambda values: values.update(backend="abacus"), "'abacus'"),
    ],
)
def test_a_manifest_that_does_not_fit(folder, change, sentence):
    edit(folder, change)
    with pytest.raises(EngineError, match=sentence):
        EngineSet.load(folder)


def test_a_manifest_that_is_no_json(folder):
    (folder / "manifest.json").write_text("{")
    with pytest.raises(EngineError, match="damaged"):
        Manifest.read(folder)


def test_a_missing_file(folder):
    (folder / "vision.onnx.data").unlink()
    with pytest.raises(EngineError, match=r"vision\.onnx\.data is missing"):
        EngineSet.load(folder)


def test_a_truncated_file(folder):
    (folder / "embedding.npy").write_bytes(b"short")
    with pytest.raises(EngineError, match=r"embedding\.npy has 5 bytes instead of"):
        EngineSet.load(folder, hashes=False)


def test_a_changed_file(folder):
    path = folder / "head.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(EngineError, match=r"head\.npz has been changed"):
        EngineSet.load(folder)


def test_the_fingerprint_tells_models_and_precisions_apart(engine_folder):
    fingerprints = [Manifest.read(engine_folder(*kind)).fingerprint for kind in (("tiny",), ("tiny", "fp16"))]
    assert len(set(fingerprints)) == 2
    assert Manifest.read(engine_folder("tiny")).model == Manifest.read(engine_folder("tiny", "fp16")).model
