"""A run that pauses is the run that does not: weights, optimiser, data and log, bit for bit."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from loc3r_ros.errors import CheckpointError, ConfigError
from loc3r_ros.train.config import OptimiserConfig, Phase
from loc3r_ros.train.log import read_log
from loc3r_ros.train.loop import Limits, TrainingError, train
from loc3r_ros.train.stages import make_stage

PHASES = (Phase(3, 2, 2), Phase(1, 2, 3))


def go(name, config, model, folder, **limits):
    return train(name, make_stage(name, config, model), config, folder / "run", folder / "model", Limits(**limits))


def tensors(folder):
    return {file.relative_to(folder): file.read_bytes() for file in sorted(folder.rglob("*.safetensors"))}


@pytest.mark.parametrize(("name", "muon"), [("vision", False), ("pose", False), ("joint", False), ("joint", True)])
def test_two_and_two_steps_are_four(name, muon, tiny_model, recipe, tmp_path):
    optimiser = OptimiserConfig(rate=3e-3, warmup=2, muon=muon)
    config = recipe(phases=PHASES, save_every=1, optimiser=optimiser)
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        shutil.copytree(tiny_model, folder / "model")
    assert go(name, config, tiny_model, one) == 4
    assert go(name, config, tiny_model, two, until=2) == 2
    assert go(name, config, tiny_model, two, until=3) == 3
    paused = read_log(two / "run")
    assert go(name, config, tiny_model, two) == 4
    assert tensors(one) == tensors(two)
    assert len(list((two / "run" / "checkpoints").iterdir())) == 2
    times = ("seconds", "cpu_seconds")
    logs = [[{k: v for k, v in record.items() if k not in times} for record in read_log(f / "run")] for f in (one, two)]
    assert logs[0] == logs[1] and [record["step"] for record in logs[0]] == [1, 2, 3, 4, 4]
    assert read_log(two / "run")[:3] == paused
    for file in ("optimizer.bin", "optimizer_1.bin")[: 1 + muon]:
        optimisers = [torch.load(f / "run" / "checkpoints" / "00000004" / file) for f in (one, two)]
        moments = [[value for state in one["state"].values() for value in state.values()] for one in optimisers]
        assert all(torch.equal(a, b) for a, b in zip(*moments, strict=True)) and moments[0]
    assert tensors(one / "model") != tensors(tiny_model)


def test_what_was_logged_after_the_checkpoint_is_done_again(tiny_model, recipe, tmp_path):
    config = recipe()
    go("pose", config, tiny_model, tmp_path, until=1)
    file = tmp_path / "run" / "log.jsonl"
    file.write_text(file.read_text() + json.dumps({"step": 2, "split": "train", "loss": 99}) + '\n{"step": 3, "los')
    go("pose", config, tiny_model, tmp_path, until=2)
    assert [record["step"] for record in read_log(tmp_path / "run")] == [1, 2]
    assert all(record["loss"] < 99 for record in read_log(tmp_path / "run"))


def test_minutes_pause_a_run(tiny_model, recipe, tmp_path):
    assert go("pose", recipe(), tiny_model, tmp_path, minutes=1e-9) == 0


def test_another_recipe_does_not_resume(tiny_model, recipe, tmp_path):
    config = recipe()
    go("pose", config, tiny_model, tmp_path, until=1)
    with pytest.raises(ConfigError, match=r"another recipe \(seed differ\)"):
        go("pose", replace(config, seed=9), tiny_model, tmp_path)
    with pytest.raises(ConfigError, match="stage differ"):
        go("vision", config, tiny_model, tmp_path)
    harmless = replace(config, save_every=1, data=replace(config.data, workers=1))
    assert go("pose", harmless, tiny_model, tmp_path, until=2) == 2
    progress = tmp_path / "run" / "checkpoints" / "00000002" / "progress.json"
    progress.write_text(json.dumps({"step": 2, "processes": 8}))
    with pytest.raises(CheckpointError, match="written by 8 processes"):
        go("pose", config, tiny_model, tmp_path)


def test_micro_batches_make_one_step(tiny_model, recipe, tmp_path):
    config = recipe(steps=1)
    go("pose", config, tiny_model, tmp_path / "whole")
    go("pose", replace(config, micro_batch=1), tiny_model, tmp_path / "parts")
    whole, parts = (read_log(tmp_path / name / "run")[0] for name in ("whole", "parts"))
    assert whole["scenes"] == parts["scenes"] == 2
    for name in ("pose", "rgb", "translation_m"):  # means over frames, of which every scene has as many
        assert parts[name] == pytest.approx(whole[name], rel=1e-4)
    assert parts["gradient"] == pytest.approx(whole["gradient"], rel=0.2)


def test_a_loss_that_is_not_finite_ends_the_run(tiny_model, recipe, tmp_path):
    config = recipe()
    stage = make_stage("pose", config, tiny_model)
    with torch.no_grad():
        stage.module.network.pose_token.fill_(torch.nan)
    with pytest.raises(TrainingError, match=r"loss of step 0 is nan: lower optimiser\.rate"):
        train("pose", stage, config, tmp_path / "run", tmp_path / "model")


def test_what_is_not_finite_is_not_kept_though_it_is_not_logged_yet(tiny_model, recipe, tmp_path):
    config = recipe(log_every=100, save_every=2)
    stage = make_stage("pose", config, tiny_model)
    with torch.no_grad():
        stage.module.network.pose_token.fill_(torch.nan)
    with pytest.raises(TrainingError, match="loss of step 1 is nan"):
        train("pose", stage, config, tmp_path / "run", tmp_path / "model")
    assert not (tmp_path / "run" / "checkpoints").exists()
