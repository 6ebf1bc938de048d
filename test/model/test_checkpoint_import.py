import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from loc3r_ros.cli import main
from loc3r_ros.errors import CheckpointError, ConfigError
from loc3r_ros.model.checkpoint import load_model, load_pose_prior, save_model, shapes_of
from loc3r_ros.model.checkpoint_files import SINGLE_FILE, scan, write
from loc3r_ros.model.checkpoint_import import import_checkpoint, import_embedded_prior, verify
from loc3r_ros.model.config import PosePriorConfig, preset
from loc3r_ros.model.cut3r import Cut3R
from loc3r_ros.model.hub_layout import map_names
from loc3r_ros.model.loc3r import Loc3R
from loc3r_ros.prompt.tokenizer import ORIENTATION, POSITION, TextTokenizer


@pytest.fixture
def original(official_config):
    torch.manual_seed(0)
    return Loc3R(official_config).eval()


@pytest.fixture
def hub(tmp_path, original, write_official):
    """Return a function that makes a Hugging Face folder."""
    return lambda **changes: write_official(tmp_path / "hub", original, **changes)


@torch.no_grad()
def test_loc3r_vlm_round_trip(hub, original, official_config, tmp_path, make_batch):
    result = import_checkpoint(hub(), tmp_path / "out")
    assert (result.untrained, result.has_pose_prior) == ((), False)
    loaded = load_model(tmp_path / "out", dtype=torch.float32)
    assert loaded.config == replace(official_config, pose_prior=PosePriorConfig())
    expected = {name: tensor.bfloat16().float() for name, tensor in original.state_dict().items()}
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())
    assert {parameter.dtype for parameter in load_model(tmp_path / "out").parameters()} == {torch.bfloat16}
    batch = make_batch(loaded, videos=1, frames=1)
    assert torch.isfinite(loaded(batch).position.mean).all()


def test_llava_video_gets_new_parts_and_says_so(hub, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["import", str(hub(with_heads=False)), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "camera, heads, heads.orientation, heads.position: they were initialised at random" in printed
    assert "There is no pose prior yet" in printed
    state = load_model(out).state_dict()
    assert (state["heads.layout.weight"] != 0).any() and (state["heads.layout.bias"] == 0).all()
    again = tmp_path / "again"
    import_checkpoint(tmp_path / "hub", again)
    assert all(torch.equal(tensor, state[name]) for name, tensor in load_model(again).state_dict().items())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.pop("model.norm.weight"), "missing: model.norm.weight"),
        (lambda t: t.update({"model.extra.weight": torch.zeros(2)}), "unexpected: model.extra.weight"),
        (
            lambda t: t.update({"model.norm.weight": torch.zeros(7)}),
            r"wrong shape: model.norm.weight is \[7\] instead of \[32\]",
        ),
        (lambda t: t["model.norm.weight"].fill_(torch.nan), "model.norm.weight holds numbers that are not finite"),
        (lambda t: t.pop("model.embed_tokens.weight"), "lacks model.embed_tokens.weight"),
    ],
)
def test_what_does_not_fit_is_named(hub, tmp_path, change, sentence):
    with pytest.raises(CheckpointError, match=sentence):
        import_checkpoint(hub(change=change), tmp_path / "out")


def test_a_copy_that_differs_is_found(hub, original, tmp_path):
    folder, out = hub(), tmp_path / "out"
    import_checkpoint(folder, out)
    infos, expected = scan(folder), shapes_of(original)
    names = map_names({name: info.shape for name, info in infos.items()}, expected)
    verify(out, infos, names, expected)
    tensors = load_file(out / SINGLE_FILE)
    tensors["language.layers.1.mlp.up_proj.weight"][3, 5] += 1
    save_file(tensors, out / SINGLE_FILE)
    with pytest.raises(CheckpointError, match=r"model\.layers\.1\.mlp\.up_proj\.weight differs from its source"):
        verify(out, infos, names, expected)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model_type": "llama"}, "model_type is 'llama'"),
        ({"mm_vision_tower": "openai/clip"}, "vision tower 'clip' is unknown"),
        ({"mm_spatial_pool_mode": "max"}, "choose one of bilinear, average"),
        ({"num_attention_heads": None}, "no model that can be built"),
    ],
)
def test_configs_of_other_models_are_refused(hub, tmp_path, changes, sentence):
    with pytest.raises(CheckpointError, match=sentence):
        import_checkpoint(hub(json_changes=changes), tmp_path / "out")


def test_special_tokens_are_added_where_the_tokenizer_lacks_them(hub, tmp_path):
    folder = hub()
    path = folder / "tokenizer.json"
    values = json.loads(path.read_text())
    for token in (POSITION, ORIENTATION):
        del values["model"]["vocab"][token]
    values["added_tokens"] = [t for t in values["added_tokens"] if t["content"] not in (POSITION, ORIENTATION)]
    path.write_text(json.dumps(values))
    import_checkpoint(folder, tmp_path / "out")
    tokenizer = TextTokenizer.load(tmp_path / "out")
    config = load_model(tmp_path / "out").config.language
    assert (config.position_token, config.orientation_token) == (
        tokenizer.special(POSITION),
        tokenizer.special(ORIENTATION),
    )
    assert config.position_token > 100


def test_a_folder_without_a_tokenizer_is_said(hub, tmp_path):
    folder = hub()
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match="no tokenizer that can be read"):
        import_checkpoint(folder, tmp_path / "out")


@pytest.fixture
def prior(monkeypatch):
    """Return a tiny CUT3R that passes for one of the official sizes, the only ones that the loader knows."""
    config = preset("tiny").pose_prior
    monkeypatch.setattr("loc3r_ros.model.cut3r.checkpoint.guess_config", lambda tensors: config)
    torch.manual_seed(0)
    return Cut3R(config)


@pytest.fixture
def pth(prior, tmp_path):
    path = tmp_path / "cut3r.pth"
    torch.save({"args": None, "model": prior.state_dict(), "epoch": 3}, path)
    return path


def assert_same(loaded, network):
    expected = network.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())


def test_cut3r_joins_the_model(prior, pth, build_model, tmp_path):
    out = tmp_path / "out"
    save_model(build_model("tiny"), out)
    result = import_checkpoint(pth, out)
    assert result.has_pose_prior
    assert_same(load_pose_prior(out), prior)
    assert load_model(out).config == preset("tiny")


def test_a_pose_prior_of_another_width_is_refused(pth, build_model, tmp_path):
    save_model(build_model("mid"), tmp_path / "out")
    with pytest.raises(CheckpointError, match="camera tokens of width 192, but this pose prior gives 16"):
        import_checkpoint(pth, tmp_path / "out")


def test_a_pose_prior_inside_the_checkpoint_is_taken_out(prior, build_model, tmp_path):
    save_model(build_model("tiny"), tmp_path / "out")
    write(tmp_path / "hub", [(f"model.spatial.{name}", tensor) for name, tensor in prior.state_dict().items()])
    import_embedded_prior(scan(tmp_path / "hub"), "model.spatial.", tmp_path / "out")
    assert_same(load_pose_prior(tmp_path / "out"), prior)
    assert not list((tmp_path / "out").glob("tmp*"))


def test_nothing_there_is_said(tmp_path, capsys):
    assert main(["import", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]) == 1
    assert "There is no checkpoint at" in capsys.readouterr().err


def test_a_folder_is_not_converted_into_itself(hub):
    folder = hub()
    with pytest.raises(CheckpointError, match="into itself"):
        import_checkpoint(folder, folder)
