"""The 7B's recipes, full and with adapters, on a tiny checkpoint in LLaVA-Video's official layout."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from loc3r_ros.cli import main
from loc3r_ros.model.checkpoint import load_model, save_pose_prior
from loc3r_ros.model.checkpoint_files import write
from loc3r_ros.model.config import LanguageConfig, Loc3RConfig, VisionConfig, preset
from loc3r_ros.model.cut3r import Cut3R
from loc3r_ros.model.hub_layout import official_name
from loc3r_ros.model.loc3r import Loc3R
from loc3r_ros.prompt.training import train_tokenizer

RECIPES = Path(__file__).parents[2] / "config" / "train"
NEW = ("camera.", "heads.")
PRIOR = replace(preset("tiny").pose_prior, image_size=(48, 48))
CONFIG = Loc3RConfig(
    vision=VisionConfig(hidden_size=32, intermediate_size=32, layers=1, heads=16),
    pose_prior=PRIOR,
    language=LanguageConfig(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=48,
        layers=2,
        heads=4,
        kv_heads=2,
        position_token=3,
        orientation_token=4,
        stop_tokens=(2, 0),
    ),
)
HUB = {
    "model_type": "llava_qwen",
    "mm_vision_tower": "google/siglip-so400m-patch14-384",
    "mm_spatial_pool_mode": "bilinear",
    "mm_newline_position": "grid",
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rope_theta": 1000000.0,
}
SHORT = [
    "phases=[{steps: 2, batch: 2, frames: 2}]",
    "data.workers=0",
    "data.validation_scenes=1",
    "data.cache=''",
    "joint.walk_frames=4",
    "optimiser.rate=1e-3",
    "optimiser.warmup=1",
]


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """A folder with a pose prior, into which a checkpoint of LLaVA-Video (bf16, no heads) was imported."""
    hub, model = tmp_path_factory.mktemp("hub"), tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    tensors = Loc3R(CONFIG).state_dict().items()
    write(hub, ((official_name(name), value.bfloat16()) for name, value in tensors if not name.startswith(NEW)))
    (hub / "config.json").write_text(json.dumps(HUB))
    train_tokenizer(["I am standing in the room"], 300).save(hub)
    CONFIG.save(model / "config.json")
    save_pose_prior(Cut3R(PRIOR), model)
    assert main(["import", str(hub), "--out", str(model)]) == 0
    return model


@pytest.mark.parametrize("recipe", ["7b_full", "7b_lora"])
def test_two_steps_from_the_official_layout(imported, tmp_path, recipe):
    out = tmp_path / "out"
    command = ["train", "joint", "--config", str(RECIPES / f"{recipe}.yaml"), "--model", str(imported)]
    changes = [
        word for change in [*SHORT, "joint.lora_rank=4"][: 8 if "lora" in recipe else 7] for word in ("--set", change)
    ]
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
