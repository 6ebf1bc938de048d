import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from loc3r_ros.errors import CheckpointError, ConfigError
from loc3r_ros.model.checkpoint import load_model, load_pose_prior, save_model, save_pose_prior
from loc3r_ros.model.checkpoint_files import INDEX_FILE, SINGLE_FILE, scan, write
from loc3r_ros.model.cut3r import Cut3R


@pytest.fixture
def folder(build_model, tmp_path):
    save_model(build_model(), tmp_path)
    return tmp_path


def rewrite(folder, change):
    tensors = load_file(folder / SINGLE_FILE)
    change(tensors)
    save_file(tensors, folder / SINGLE_FILE)


@torch.no_grad()
def test_round_trip(folder, build_model, make_batch):
    model, loaded = build_model(), load_model(folder)
    assert loaded.config == model.config
    batch = make_batch(model)
    assert torch.equal(model(batch).text_hidden, loaded(batch).text_hidden)
    assert (folder / SINGLE_FILE).stat().st_mode & 0o044 == 0o044
    assert not any(parameter.is_meta for parameter in loaded.parameters())


def test_the_type_can_be_chosen(folder):
    assert {parameter.dtype for parameter in load_model(folder, dtype=torch.float16).parameters()} == {torch.float16}


def test_what_does_not_fit_is_named(folder):
    rewrite(folder, lambda tensors: tensors.update(extra=torch.zeros(1)))
    with pytest.raises(CheckpointError, match="unexpected: extra"):
        load_model(folder)
    rewrite(folder, lambda tensors: tensors.pop("extra"))
    rewrite(folder, lambda tensors: tensors.update({"newline": torch.zeros(5)}))
    with pytest.raises(CheckpointError, match=r"wrong shape: newline is \[5\] instead of \[32\]"):
        load_model(folder)
    rewrite(folder, lambda tensors: tensors.pop("newline"))
    with pytest.raises(CheckpointError, match="missing: newline"):
        load_model(folder)


def test_missing_and_damaged_files_are_named(folder):
    (folder / SINGLE_FILE).write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(CheckpointError, match="git-lfs pointer"):
        load_model(folder)
    (folder / SINGLE_FILE).unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing"):
        load_model(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ConfigError):
        load_model(folder)


def test_shards_and_their_index(tmp_path):
    tensors = {f"t{number}": torch.full((10,), float(number)) for number in range(7)}
    write(tmp_path, tensors.items(), shard_bytes=100)
    assert len(list(tmp_path.glob("model-*.safetensors"))) == 4
    assert set(scan(tmp_path)) == set(tensors)
    write(tmp_path, tensors.items())  # the earlier files go
    assert [path.name for path in tmp_path.iterdir()] == [SINGLE_FILE]


def test_a_shard_or_a_tensor_that_the_index_promises(tmp_path):
    write(tmp_path, {f"t{number}": torch.zeros(10) for number in range(4)}.items(), shard_bytes=80)
    index = json.loads((tmp_path / INDEX_FILE).read_text())
    index["weight_map"]["ghost"] = index["weight_map"]["t0"]
    (tmp_path / INDEX_FILE).write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="lack, among them ghost"):
        scan(tmp_path)
    (tmp_path / index["weight_map"]["t3"]).unlink()
    with pytest.raises(CheckpointError, match=r"model-00002-of-00002\.safetensors is missing"):
        scan(tmp_path)
    (tmp_path / INDEX_FILE).write_text("[]")
    with pytest.raises(CheckpointError, match="no index"):
        scan(tmp_path)


@torch.no_grad()
def test_the_pose_prior_lies_beside_the_model(folder, build_model):
    with pytest.raises(CheckpointError, match="loc3r import"):
        load_pose_prior(folder)
    network = Cut3R(build_model().config.pose_prior).eval()
    save_pose_prior(network, folder)
    frame = torch.rand(1, 3, 32, 32)
    expected, _ = network.step(frame, network.initial_state())
    loaded = load_pose_prior(folder)
    found, _ = loaded.step(frame, loaded.initial_state())
    assert torch.equal(expected.camera_token, found.camera_token)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
def test_loading_makes_no_second_copy(build_model, tmp_path):
    """The peak of a fresh process grows by what the weights take, and little more."""
    model = build_model("mid")
    save_model(model, tmp_path)
    script = f"""
import torch
from pathlib import Path
from loc3r_ros.model.checkpoint import load_model, empty_model
from loc3r_ros.model.config import preset
def peak():
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))) * 1024
empty_model(preset("tiny"))
before = peak()
model = load_model(Path({str(tmp_path)!r}))
total = sum(float(parameter.sum()) for parameter in model.parameters())  # every page is read
print(peak() - before)
"""
    output = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    stored = sum(parameter.nbytes for parameter in model.parameters())
    assert 0.8 * stored < int(output) < 1.25 * stored
