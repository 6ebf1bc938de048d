"""CUT3R's checkpoints: the official layout, and what is wrong with a file."""

import builtins
import contextlib
import os
import pickle
import sys
import types
import typing
import zipfile
from collections import defaultdict
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from loc3r_ros.errors import CheckpointError
from loc3r_ros.model.config import preset
from loc3r_ros.model.cut3r import Cut3R, load_cut3r_checkpoint
from loc3r_ros.model.cut3r.checkpoint import CUT3R_224_LINEAR, CUT3R_512_DPT, guess_config, read_tensors

CONFIG = preset("tiny").pose_prior


class Attack:
    """Runs a function when it is unpickled by an unpickler that trusts the file."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.fixture(scope="module")
def official():
    """Tensors with official names: ours, and those that an official file has besides."""
    torch.manual_seed(0)
    tensors = Cut3R(CONFIG).state_dict()
    tensors["masked_img_token"] = torch.zeros(1, 16)
    tensors["patch_embed_ray_map.proj.weight"] = torch.zeros(16, 6, 16, 16)
    tensors["enc_blocks_ray_map.0.norm1.weight"] = torch.zeros(16)
    return tensors


@pytest.fixture
def save_official(tmp_path, monkeypatch):
    """Write a file as the official code does: `args` is an object of a package that is not there when it is read."""

    def save(tensors, **more):
        module = types.ModuleType("omegaconf.dictconfig")
        config_class = type("DictConfig", (dict,), {"__module__": "omegaconf.dictconfig"})
        module.DictConfig = config_class
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "omegaconf", types.ModuleType("omegaconf"))
            patch.setitem(sys.modules, "omegaconf.dictconfig", module)
            args = config_class(model="ARCroco3DStereo(...)")
            args.metadata = {"ref_type": typing.Any, "object_type": dict, "resolvers": defaultdict(list)}
            path = tmp_path / "cut3r.pth"
            torch.save({"args": args, "model": tensors, "epoch": 3, **more}, path)
        return path

    return save


def assert_same_weights(network, tensors):
    for key, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, tensors[key], msg=key)


def test_the_official_layout_is_read_without_its_packages(save_official, official):
    path = save_official(official)
    with pytest.raises(Exception, match=r"weights_only|Unsupported global"):
        torch.load(path, weights_only=True)
    network = load_cut3r_checkpoint(path, CONFIG)
    assert_same_weights(network, official)
    assert not network.training
    trained = [[parameter.requires_grad for parameter in n.parameters()] for n in (network, Cut3R(CONFIG))]
    assert trained[0] == trained[1]
    assert "omegaconf" not in sys.modules


def test_the_prefix_of_parallel_training_is_dropped(save_official, official):
    network = load_cut3r_checkpoint(save_official({f"module.{k}": v for k, v in official.items()}), CONFIG)
    assert_same_weights(network, official)


def test_aliases_are_tied(save_official):
    config = replace(CONFIG, dense_head="dpt")
    tensors = Cut3R(config).state_dict()
    names = [key for key in tensors if ".scratch.layer_rn." in key]
    assert len(names) == 3 * 4
    aliased = dict(tensors)
    for key in names:
        stage = int(key.split(".")[-2])
        aliased[key.replace(f"layer_rn.{stage}", f"layer{stage + 1}_rn")] = tensors[key]
    assert_same_weights(load_cut3r_checkpoint(save_official(aliased), config), tensors)


def test_safetensors_and_other_precisions(tmp_path, official):
    path = tmp_path / "cut3r.safetensors"
    save_file({key: value.half().contiguous() for key, value in official.items()}, path)
    network = load_cut3r_checkpoint(path, CONFIG)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert_same_weights(network, {key: value.half().float() for key, value in official.items()})
    network = load_cut3r_checkpoint(path, CONFIG, dtype=torch.float16)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float16}


def test_point_maps_can_be_left_out(save_official, official):
    network = load_cut3r_checkpoint(save_official(official), replace(CONFIG, dense_head="none"))
    assert not any("proj.fc1" in key or "final_transform" in key for key in network.state_dict())
    image = torch.rand(1, 3, 32, 32)
    whole = load_cut3r_checkpoint(save_official(official), CONFIG)
    tokens = [n.step(image, n.initial_state())[0].camera_token for n in (network, whole)]
    torch.testing.assert_close(*tokens)


def test_the_official_sizes_are_recognised():
    assert guess_config({"downstream_head.dpt_self.head.0.weight": torch.zeros(1)}) == CUT3R_512_DPT
    assert guess_config({"pose_token": torch.zeros(1)}).dense_head == "none"
    assert guess_config({"downstream_head.proj.fc1.weight": torch.zeros(1)}) == CUT3R_224_LINEAR


def attacks(victim):
    code = f"__import__('pathlib').Path({str(victim)!r}).touch()"
    return {
        "system": Attack(os.system, f"touch {victim}"),
        "eval": Attack(builtins.eval, code),
        "exec": Attack(builtins.exec, code),
        "nested": Attack(torch.storage._load_from_bytes, pickle.dumps(Attack(os.system, f"touch {victim}"))),
    }


@pytest.mark.parametrize("name", ["system", "eval", "exec", "nested"])
def test_code_in_a_checkpoint_never_runs(save_official, official, tmp_path, name):
    victim = tmp_path / "victim"
    attack = attacks(victim)[name]
    with contextlib.suppress(Exception):
        pickle.loads(pickle.dumps(attack))
    assert victim.exists(), "the attack works on who trusts the file"
    victim.unlink()
    network = load_cut3r_checkpoint(save_official(official, optimizer=attack), CONFIG)
    assert_same_weights(network, official)
    with pytest.raises(CheckpointError, match='called "model"'):
        read_tensors(save_official({**official, "pose_token": attack}))
    assert not victim.exists()


def test_a_program_is_not_loaded(tmp_path):
    path = tmp_path / "program.pth"
    with zipfile.ZipFile(path, "w") as archive:  # torch.load would hand such an archive to torch.jit
        for name in ("data.pkl", "constants.pkl", "version"):
            archive.writestr(f"program/{name}", b"")
    with pytest.raises(CheckpointError, match="TorchScript"):
        load_cut3r_checkpoint(path, CONFIG)


def test_wrong_keys_are_named(save_official, official):
    missing = {key: value for key, value in official.items() if not key.startswith("dec_norm.")}
    with pytest.raises(CheckpointError, match=r"missing: dec_norm\.bias, dec_norm\.weight\."):
        load_cut3r_checkpoint(save_official(missing), CONFIG)
    with pytest.raises(CheckpointError, match=r"unexpected: surprise\."):
        load_cut3r_checkpoint(save_official({**official, "surprise": torch.zeros(1)}), CONFIG)
    misshaped = {**official, "pose_token": torch.zeros(1, 1, 17)}
    with pytest.raises(CheckpointError, match=r"pose_token is \[1, 1, 17\] instead of \[1, 1, 16\]"):
        load_cut3r_checkpoint(save_official(misshaped), CONFIG)


def test_a_checkpoint_of_another_size_is_refused_in_one_sentence(save_official, official):
    with pytest.raises(CheckpointError, match=r"and \d+ more") as caught:
        load_cut3r_checkpoint(save_official(official), None)
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"\x80\x04K\x01."])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_damaged_file_is_named(tmp_path, content, suffix):
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=str(path)):
        load_cut3r_checkpoint(path, CONFIG)


def test_a_file_of_something_else_is_named(tmp_path):
    path = tmp_path / "other.pth"
    for content in ([1, 2], {"model": None}, {"weights": {}}, {"model": {}}, {"model": {1: torch.zeros(1)}}):
        torch.save(content, path)
        with pytest.raises(CheckpointError, match='no table of tensors called "model"'):
            load_cut3r_checkpoint(path, CONFIG)
    with pytest.raises(CheckpointError, match="no CUT3R checkpoint"):
        load_cut3r_checkpoint(tmp_path / "absent.pth", CONFIG)
