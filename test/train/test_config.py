from pathlib import Path

import pytest

from loc3r_ros.errors import ConfigError
from loc3r_ros.model.losses import LossWeights
from loc3r_ros.train.config import Phase, TrainConfig, load_config

RECIPES = sorted((Path(__file__).parents[2] / "config" / "train").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_can_be_read(path):
    config = load_config(path)
    assert config.steps >= 1 and len(config.data.validation_seeds()) == config.data.validation_scenes
    config.data.stream(config.seed)


def test_the_7b_recipes_are_the_papers():
    full, lora = (load_config(path) for path in RECIPES if path.stem.startswith("7b"))
    for config in (full, lora):
        assert not config.from_scratch and config.joint.objective == LossWeights()
        assert config.steps == 4200 and config.phases[0].frames == 32
        assert config.phases[0].batch * config.joint.suffixes == 64
    assert full.optimiser.rate == 1e-5 and (full.joint.lora_rank, lora.joint.lora_rank) == (0, 64)


def test_the_ablations_differ_in_what_they_switch_only():
    configs = {path.stem: load_config(path) for path in RECIPES if "ablation" in path.stem}
    assert len(configs) == 4
    assert len({repr({**vars(config), "joint": None}) for config in configs.values()}) == 1
    joint = {name.rpartition("_")[2]: config.joint for name, config in configs.items()}
    assert {name: (one.objective.layout, one.camera, one.pose_as_text) for name, one in joint.items()} == {
        "situation": (0.0, False, False),
        "layout": (0.5, False, False),
        "camera": (0.5, True, False),
        "text": (0.5, True, True),
    }


def test_changes(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("seed: 3\n")
    changes = ["optimiser.rate=3e-4", "joint.objective.layout=0", "phases=[{steps: 2, batch: 1, frames: 4}]"]
    config = load_config(path, changes)
    assert (config.seed, config.optimiser.rate, config.joint.objective.layout) == (3, 3e-4, 0.0)
    assert config.phases == (Phase(2, 1, 4),)
    path.write_text("")
    assert load_config(path) == TrainConfig()


@pytest.mark.parametrize(
    ("text", "changes", "sentence"),
    [
        ("seeds: 3", [], "recipe.yaml has unknown fields: seeds"),
        ("optimiser: {rate: fast}", [], r"optimiser\.rate must be of type float"),
        ("phases: []", [], "at least one phase"),
        ("phases: [{steps: 0}]", [], "at least 1 step"),
        ("precision: fp8", [], "auto, fp32 or bf16"),
        ("save_every: 0", [], "at least 1"),
        ("seed: [", [], "is not YAML"),
        ("", ["seed"], "write field=value"),
        ("", ["seed.deep=1", "seed.deep.er=1"], "has no fields"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, text, changes, sentence):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        load_config(path, changes)


def test_a_missing_recipe_is_said(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "nowhere.yaml")
