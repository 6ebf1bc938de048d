"""From a recipe to a stage, the tokenizer and the frozen networks."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from loc3r_ros.cli import main
from loc3r_ros.errors import CheckpointError, ConfigError
from loc3r_ros.export.source import load_source
from loc3r_ros.model.checkpoint import load_model, load_pose_prior
from loc3r_ros.model.config import Loc3RConfig, preset
from loc3r_ros.prompt.tokenizer import TextTokenizer
from loc3r_ros.train.config import TrainConfig
from loc3r_ros.train.joint_stage import JointStage
from loc3r_ros.train.plan import tasks_at
from loc3r_ros.train.stage import scaled_pixels
from loc3r_ros.train.stages import joint_source, make_stage, make_tokenizer
from loc3r_ros.world.balance import Balancer
from loc3r_ros.world.language import vocabulary

CPU = torch.device("cpu")
RECIPES = Path(__file__).parents[2] / "config" / "train"


def test_every_word_of_the_world_is_one_token_of_nanos(tmp_path):
    tokenizer = make_tokenizer(TrainConfig(size="nano"), tmp_path)
    for word in vocabulary():
        whole = word.partition("'")[0]
        for text in (whole, f" {whole}"):
            assert len(tokenizer.encode(text, limit=10)) == 1, text
    assert tokenizer.size <= 2048
    text = "Could you tell me how far the wooden table is from the kitchen door?"
    assert len(tokenizer.encode(text, limit=100)) < 1.7 * len(text.split())
    config = Loc3RConfig.load(tmp_path / "config.json")
    assert config == preset("nano")
    again = tmp_path / "again"
    make_tokenizer(TrainConfig(size="nano"), again)
    assert (again / "tokenizer.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()


def test_weights_follow_the_seed(tiny_model, recipe):
    def weights(name, seed):
        return torch.cat([p.flatten() for p in make_stage(name, recipe(seed=seed), tiny_model).module.parameters()])

    for name in ("vision", "pose", "joint"):
        assert torch.equal(weights(name, 1), weights(name, 1)) and not torch.equal(weights(name, 1), weights(name, 2))


def test_the_joint_stage_keeps_the_trained_tower(tiny_model, recipe):
    stage = make_stage("joint", recipe(), tiny_model)
    tower = load_model(tiny_model).vision.state_dict()
    assert all(torch.equal(tensor, tower[name]) for name, tensor in stage.towers.vision.state_dict().items())
    assert not any(parameter.requires_grad for parameter in stage.towers.vision.parameters())
    assert not any("vision" in name for name in stage.module.state_dict())


def test_without_camera_tokens(tiny_model, recipe, batch_of, tmp_path):
    for from_scratch in (True, False):
        config = recipe(from_scratch=from_scratch)
        config = replace(config, joint=replace(config.joint, camera=False))
        stage = make_stage("joint", config, tiny_model)
        tasks = tasks_at(config, 0)
        stage.module(batch_of(stage, tasks))["loss"].backward()
        stage.save(stage.module.state_dict(), tmp_path / str(from_scratch))
        model = load_source(tmp_path / str(from_scratch)).model
        assert model.camera is None and not model.config.video.camera
    with pytest.raises(ConfigError, match=r"no camera tokens: set joint\.camera to false"):
        joint_source(recipe(), tmp_path / "True")


def test_camera_tokens_are_those_that_the_robot_gets(tiny_model, recipe, batch_of):
    config = recipe()
    stage = JointStage(joint_source(config, tiny_model), config)
    (task,) = tasks_at(config, 0)[:1]
    tokens = batch_of(stage, [task._replace(frames=config.data.walk_frames)]).camera[0]
    prior = load_pose_prior(tiny_model)
    state = prior.initial_state()
    rgb = torch.from_numpy(stage.store.read(task.seed)["rgb"].copy())
    with torch.no_grad():
        for frame, token in zip(scaled_pixels(rgb), tokens, strict=True):
            seen, state = prior.step(frame[None], state)
            torch.testing.assert_close(token.float(), seen.camera_token[0], atol=2e-3, rtol=2e-3)


def test_features_are_computed_once(tiny_model, recipe, batch_of, monkeypatch, tmp_path):
    config = recipe()
    config = replace(config, data=replace(config.data, scenes=2, cache=str(tmp_path)))
    tasks, batches = tasks_at(config, 0), []
    for _ in range(2):
        stage = make_stage("joint", config, tiny_model)
        batches.append(batch_of(stage, tasks))
        monkeypatch.setattr("loc3r_ros.train.towers.FrozenTowers.see", None)  # the second stage has nothing to look at
    flat = [[part for part in (*batch[:-1], *batch.texts) if part is not None] for batch in batches]
    assert all(torch.equal(a, b) for a, b in zip(*flat, strict=True))


def test_scenes_rendered_ahead_are_those_of_the_stages(tiny_model, recipe, tmp_path, capsys):
    config = recipe()
    changes = ["data.scenes=3", "data.validation_scenes=1", "data.walk_frames=4", f"data.cache={tmp_path / 'cache'}"]
    command = ["train", "scenes", "--config", str(RECIPES / "nano_scenes.yaml"), "--model", str(tiny_model)]
    command += [word for change in changes for word in ("--set", change)]
    for rendered in (4, 0):
        assert main(command) == 0
        assert f": {rendered} scenes rendered, 4 in all." in capsys.readouterr().out
    data = replace(config.data, scenes=3, walk_frames=4, cache=str(tmp_path / "cache"))
    stage = make_stage("joint", replace(config, data=data), tiny_model)
    assert all(stage.store.has(seed) for seed in (*data.seeds(), *data.validation_seeds()))
    assert not stage.store.has(3)


def test_questions_are_chosen_so_that_no_words_betray_the_answer(tiny_model, recipe):
    config = recipe()
    stage = make_stage("joint", config, tiny_model)
    stage.prepare(CPU, bf16=False)
    stage.begin()
    balancer, left = Balancer(), 0
    for seed in config.data.seeds():
        questions = stage.store.questions(seed)
        taken = [number for number, question in enumerate(questions) if balancer.take(question)]
        assert stage.loader.balanced[seed] == taken
        left += len(questions) - len(taken)
    assert left > 0


def test_the_cache_knows_what_it_depends_on(tiny_model, recipe):
    stage = make_stage("joint", recipe(), tiny_model)
    key = stage.towers.key(32)
    assert key == make_stage("joint", recipe(seed=5), tiny_model).towers.key(32) != stage.towers.key(16)
    with torch.no_grad():
        stage.towers.prior.pose_token[0, 0, 0] += 1e-3
    assert stage.towers.key(32) != key
    changed = stage.towers.key(32)
    stage.towers.to(CPU, torch.bfloat16)
    assert stage.towers.key(32) != changed


def test_what_is_missing_is_said(tiny_model, recipe, tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        make_stage("vision", recipe(), tmp_path)
    TextTokenizer.load(tiny_model).save(tmp_path)
    config = Loc3RConfig.load(tiny_model / "config.json")
    config.save(tmp_path / "config.json")
    with pytest.raises(CheckpointError, match=r"no vision\.safetensors: train it first"):
        make_stage("joint", recipe(), tmp_path)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing"):
        make_stage("joint", recipe(from_scratch=False), tmp_path)
    replace(config, pose_prior=replace(config.pose_prior, route="cut3r")).save(tmp_path / "config.json")
    with pytest.raises(ConfigError, match=r"change pose_prior\.route"):
        make_stage("pose", recipe(), tmp_path)
    with pytest.raises(ConfigError, match="no training stage 'all'"):
        make_stage("all", recipe(), tiny_model)
