"""From a model's folder and a recipe to the stage that trains it, and the model's folder itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from loc3r_ros.errors import ConfigError
from loc3r_ros.export.source import Source
from loc3r_ros.model.checkpoint import CONFIG_FILE, load_model, load_pose_prior, load_vision
from loc3r_ros.model.config import Loc3RConfig, preset
from loc3r_ros.model.cut3r import Cut3R
from loc3r_ros.model.cut3r.beginning import begin_comparing
from loc3r_ros.model.loc3r import Loc3R
from loc3r_ros.model.vision import VisionTower
from loc3r_ros.prompt.english import COMMON_WORDS, word_corpus
from loc3r_ros.prompt.tokenizer import END_OF_TEXT, MESSAGE_END, ORIENTATION, POSITION, TextTokenizer
from loc3r_ros.prompt.training import train_tokenizer
from loc3r_ros.train.beginning import begin_reading
from loc3r_ros.train.config import TrainConfig
from loc3r_ros.train.joint_stage import JointStage
from loc3r_ros.train.pose_stage import PoseStage
from loc3r_ros.train.stage import Stage
from loc3r_ros.train.towers import check_route
from loc3r_ros.train.vision_stage import VisionStage
from loc3r_ros.world.language import vocabulary

WORLD_WEIGHT = 10
"""How often a word of the world counts for one of common English."""


def make_tokenizer(config: TrainConfig, folder: Path) -> TextTokenizer:
    """Begin a model's folder: its config, and a tokenizer of the world's words and common English.

    Every word of the world is one token, at the beginning of a text (answers), inside and capitalised.
    """
    size = preset(config.size)
    words = sorted(vocabulary())
    texts = [*word_corpus(words, WORLD_WEIGHT), *words * WORLD_WEIGHT, *word_corpus(COMMON_WORDS)]
    tokenizer = train_tokenizer(texts, size.language.vocab_size)
    language = replace(
        size.language,
        position_token=tokenizer.special(POSITION),
        orientation_token=tokenizer.special(ORIENTATION),
        stop_tokens=(tokenizer.special(MESSAGE_END), tokenizer.special(END_OF_TEXT)),
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(folder)
    replace(size, language=language).save(folder / CONFIG_FILE)
    return tokenizer


def make_stage(name: str, config: TrainConfig, folder: Path) -> Stage:
    """Return a stage.

    Args:
        name: "vision", "pose" or "joint".
        config: the recipe.
        folder: of the model, as the stage before left it.

    Raises:
        ConfigError: the folder is not begun, or there is no such stage.
        CheckpointError: the weights that the stage needs are missing or do not fit.
    """
    torch.manual_seed(config.seed)
    model_config = Loc3RConfig.load(folder / CONFIG_FILE)
    check_route(model_config)
    if name == "vision":
        tower = VisionTower(model_config.vision) if config.from_scratch else load_vision(folder)
        return VisionStage(tower, model_config, config)
    if name == "pose":
        network = _new_pose_prior(config, model_config) if config.from_scratch else load_pose_prior(folder)
        return PoseStage(network, model_config, config)
    if name == "joint":
        return JointStage(joint_source(config, folder), config)
    raise ConfigError(f"There is no training stage {name!r}: choose tokenizer, vision, pose or joint.")


def _new_pose_prior(config: TrainConfig, model_config: Loc3RConfig) -> Cut3R:
    network = Cut3R(model_config.pose_prior)
    if config.pose.comparing:
        begin_comparing(network)
    return network


def joint_source(config: TrainConfig, folder: Path) -> Source:
    """Return the model that the joint stage starts from: trained networks that stay frozen, and what it trains."""
    size = Loc3RConfig.load(folder / CONFIG_FILE)
    if config.joint.camera and not size.video.camera:
        raise ConfigError(f"The model in {folder} has no camera tokens: set joint.camera to false.")
    tokenizer = TextTokenizer.load(folder)
    if config.from_scratch:
        tower = load_vision(folder)
        torch.manual_seed(config.seed)
        model = Loc3R(_with_camera(size, config.joint.camera))
        begin_reading(model, tokenizer)
        model.vision = tower
    else:
        model = load_model(folder, dtype=torch.float32)
        if not config.joint.camera:
            model.config, model.camera = _with_camera(size, False), None
    return Source(model.train(), load_pose_prior(folder), tokenizer)


def _with_camera(config: Loc3RConfig, camera: bool) -> Loc3RConfig:
    return replace(config, video=replace(config.video, camera=camera))
