"""The 7B's recipes, full and with adapters, on a tiny checkpoint in LLaVA-Video's official layout."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from loc3r_ros.cli import main
from loc3r_ros.model.checkpoint import load_model, save_pose_prior
from loc3r_ros.model.config import preset
from loc3r_ros.model.cut3r import Cut3R
from loc3r_ros.model.loc3r import Loc3R

RECIPES = Path(__file__).parents[2] / "config" / "train"
PRIOR = replace(preset("tiny").pose_prior, image_size=(48, 48))
SHORT = [
    "phases=[{steps: 2, batch: 2, frames: 2}]",
    "data.workers=0",
    "data.scenes=3",
    "data.validation_scenes=1",
    "data.cache=''",
    "data.walk_frames=4",
    "optimiser.rate=1e-3",
    "optimiser.warmup=1",
]


@pytest.fixture(scope="module")
def imported(tmp_path_factory, official_config, write_official):
    """A folder with a pose prior, into which a checkpoint of LLaVA-Video (bf16, no heads) was imported."""
    hub, model = tmp_path_factory.mktemp("hub"), tmp_path_factory.mktemp("model")
    config = replace(official_config, pose_prior=PRIOR)
    torch.manual_seed(0)
    write_official(hub, Loc3R(config), with_heads=False)
    config.save(model / "config.json")
    save_pose_prior(Cut3R(PRIOR), model)
    assert main(["import", str(hub), "--out", str(model)]) == 0
    return model


@pytest.mark.parametrize("recipe", ["7b_full", "7b_lora"])
def test_two_steps_from_the_official_layout(imported, tmp_path, recipe):
    out = tmp_path / "out"
    command = ["train", "joint", "--config", str(RECIPES / f"{recipe}.yaml"), "--model", str(imported)]
    short = [*SHORT, "joint.lora_rank=4"] if "lora" in recipe else SHORT
    changes = [word for change in short for word in ("--set", change)]
    assert main([*command, "--out", str(out), "--run", str(tmp_path / "run"), *changes]) == 0
    before, after = load_model(imported).state_dict(), load_model(out).state_dict()
    moved = {name for name, tensor in after.items() if not torch.equal(tensor.float(), before[name].float())}
    assert not any(name.startswith("vision.") for name in moved)
    for part in ("projector", "camera", "heads.layout", "heads.position", "heads.orientation", "newline"):
        assert any(name.startswith(part) for name in moved), part
    weights = {name for name in after if name.startswith("language.layers.") and name.endswith("proj.weight")}
    assert weights <= moved
    norms = {name for name in after if name.startswith("language.") and "norm" in name}
    rows = (after["language.embed_tokens.weight"] != before["language.embed_tokens.weight"].float()).any(1)
    if "lora" in recipe:
        assert not norms & moved and rows.nonzero().flatten().tolist() == [3, 4]
    else:
        assert norms <= moved and rows.sum() > 10
    assert load_model(out).config == load_model(imported).config
    assert {path.name for path in out.iterdir()} >= {"config.json", "pose_prior.safetensors", "tokenizer.json"}


@pytest.fixture
def _another_precision():
    """Accelerate keeps one precision for each process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.usefixtures("_another_precision")
def test_bf16_keeps_frozen_weights_in_half_the_memory(imported, tmp_path):
    changes = [word for change in [*SHORT, "joint.lora_rank=4", "precision=bf16"] for word in ("--set", change)]
    command = ["train", "joint", "--config", str(RECIPES / "7b_lora.yaml"), "--model", str(imported), "--until", "1"]
    assert main([*command, "--out", str(tmp_path / "out"), "--run", str(tmp_path / "run"), *changes]) == 0
    tensors = load_model(tmp_path / "out").state_dict()
    assert tensors["language.layers.0.mlp.up_proj.weight"].dtype == torch.bfloat16
    assert tensors["heads.layout.weight"].dtype == torch.float32
