"""Tiny models and recipes that the tests of training share."""

from dataclasses import replace

import pytest
import torch

from loc3r_ros.data.dense import CLASSES, COLOUR_NAMES
from loc3r_ros.data.mentions import Names
from loc3r_ros.model import language as language_module
from loc3r_ros.model.checkpoint import load_model, save_model, save_pose_prior, save_vision
from loc3r_ros.model.config import Loc3RConfig
from loc3r_ros.model.cut3r import Cut3R
from loc3r_ros.model.loc3r import Loc3R
from loc3r_ros.train.config import DataConfig, JointConfig, OptimiserConfig, Phase, TrainConfig
from loc3r_ros.train.grounding import attention_of
from loc3r_ros.train.joint_stage import JointStage
from loc3r_ros.train.plan import tasks_at
from loc3r_ros.train.stages import joint_source, make_tokenizer


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A tiny model's folder with random weights, large enough for every part to matter; tests must not change it."""
    folder = tmp_path_factory.mktemp("tiny_model")
    make_tokenizer(TrainConfig(size="tiny"), folder)
    config = Loc3RConfig.load(folder / "config.json")
    torch.manual_seed(0)
    model, prior = Loc3R(config), Cut3R(config.pose_prior)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    save_model(model, folder)
    save_pose_prior(prior, folder)
    save_vision(model.vision, folder)
    return folder


@pytest.fixture(scope="session")
def recipe(tmp_path_factory):
    """Return a function that makes a short recipe without worker processes; all share their rendered scenes."""
    cache = str(tmp_path_factory.mktemp("cache"))

    def make(steps=4, batch=2, frames=3, **changes):
        config = TrainConfig(
            size="tiny",
            phases=(Phase(steps, batch, frames),),
            optimiser=OptimiserConfig(rate=3e-3, warmup=2),
            data=DataConfig(scenes=12, validation_scenes=1, walk_frames=8, workers=0, cache=cache),
            joint=JointConfig(suffixes=4),
            validate_every=1000,
            save_every=1000,
        )
        return replace(config, **changes)

    return make


@pytest.fixture(scope="session")
def same_tensors():
    """Return a function that says whether two folders hold the same model, bit for bit."""

    def same(one, other):
        first, second = (load_model(folder).state_dict() for folder in (one, other))
        return all(torch.equal(tensor, second[name]) for name, tensor in first.items())

    return same


@pytest.fixture(scope="session")
def batch_of():
    """Return a function that prepares a stage and makes the batch of some tasks on the CPU."""

    def make(stage, tasks):
        stage.prepare(torch.device("cpu"), bf16=False)
        stage.begin()
        return stage.collate([stage.loader(task) for task in tasks], tasks)

    return make


@pytest.fixture(scope="module")
def lesson(tiny_model, recipe, batch_of):
    """A stage with lessons and a batch of it; its tokenizer has no words, so that its letter "o" names the floor."""
    config = recipe(from_scratch=False, joint=JointConfig(suffixes=3, grounding=0.5, mirror=True))
    stage = JointStage(joint_source(config, tiny_model), config)
    batch_of(stage, tasks_at(config, 0))
    (letter,) = stage.source.tokenizer.encode("o", 1)
    names = Names({(letter,): CLASSES.index("floor")}, {}, answers=tuple(range(len(COLOUR_NAMES))))
    stage.loader = replace(stage.loader, names=names)
    return stage, batch_of(stage, tasks_at(config, 0))


@pytest.fixture
def payments(monkeypatch):
    """Return a function that gives a list which gets the attention weights of a layer, pass by pass."""

    def pay(language, layer):
        attention, mask, paid = attention_of(language, layer), language_module.attention_mask, []
        monkeypatch.setattr(attention.config, "_attn_implementation", "eager")  # returns its weights
        monkeypatch.setattr(language_module, "attention_mask", lambda *inputs: added(mask(*inputs), *inputs))
        attention.register_forward_hook(lambda _, __, outputs: paid.append(outputs[1]))
        return paid

    return pay


def added(mask, length, start, *_):
    """Return a mask as the eager attention of transformers wants it: what is added to the logits."""
    mask = torch.ones(length, start + length, dtype=torch.bool).tril(start)[None, None] if mask is None else mask
    return torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
