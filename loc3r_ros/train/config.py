"""What a training run is made of. YAML files under config/train/ hold recipes; every field has a default."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from loc3r_ros.data.seeds import SeedStream
from loc3r_ros.errors import ConfigError
from loc3r_ros.model.config import build, require
from loc3r_ros.model.losses import LossWeights
from loc3r_ros.world.splits import FIRST_VALIDATION_SEED, Split

Precision = Literal["auto", "fp32", "bf16"]
_NO_MATTER = ("workers", "cache", "validate_every", "save_every", "log_every", "graphs", "micro_batch")
"""Fields that may change when a run is resumed: they change no weight."""


@dataclass(frozen=True)
class Phase:
    """Steps of one kind.

    Attributes:
        steps: optimiser steps.
        batch: scenes in a step, over all devices together.
        frames: pictures of each scene.
        scenes: the first of the training scenes, which this phase uses; 0 uses all.
    """

    steps: int = 1000
    batch: int = 4
    frames: int = 8
    scenes: int = 0

    def __post_init__(self) -> None:
        require(min(self.steps, self.batch) >= 1, "A phase needs at least 1 step and a batch of at least 1.")
        require(self.frames >= 2, f"A phase needs at least 2 frames, not {self.frames}.")
        require(self.scenes >= 0, f"A phase cannot use {self.scenes} scenes.")


@dataclass(frozen=True)
class OptimiserConfig:
    """AdamW with a linear warm-up and a cosine.

    Attributes:
        rate: the highest learning rate.
        warmup: steps until it is reached.
        final: share of it that is left at the end.
        weight_decay: of matrices; vectors have none.
        beta2: decay of the second moment.
        clip: largest norm of the gradient.
        muon: the layers' matrices take orthogonal steps instead (see `train.optimiser`); not under FSDP.
        muon_decay: weight decay of those, which bounds what a layer adds: 1 / (rate * decay) steps are remembered.
    """

    rate: float = 1e-3
    warmup: int = 100
    final: float = 0.0
    weight_decay: float = 0.01
    beta2: float = 0.99
    clip: float = 1.0
    muon: bool = False
    muon_decay: float = 0.0


@dataclass(frozen=True)
class DataConfig:
    """Where scenes come from.

    Attributes:
        first: first training seed.
        scenes: training scenes; they come again when all were seen.
        validation_first: first validation seed.
        validation_scenes: scenes that curves are measured on.
        walk_frames: pictures of a scene; a phase takes its frames from them.
        workers: processes that render; 0 renders in the training process.
        cache: root folder of rendered scenes and frozen features; empty keeps them for the time of the run only.
        situations: the most described observers of a scene.
    """

    first: int = 0
    scenes: int = 900_000
    validation_first: int = FIRST_VALIDATION_SEED
    validation_scenes: int = 16
    walk_frames: int = 32
    workers: int = 2
    cache: str = ""
    situations: int = 8

    def __post_init__(self) -> None:
        require(self.walk_frames >= 2, f"data.walk_frames must be at least 2, not {self.walk_frames}.")

    @property
    def all_scenes(self) -> int:
        """Training and validation scenes together."""
        return self.scenes + self.validation_scenes

    def stream(self, seed: int, scenes: int = 0) -> SeedStream:
        """Return the training seeds, or the first of them, in the order of a run's seed."""
        return SeedStream(Split.TRAIN, self.first, scenes or self.scenes, seed)

    def seeds(self) -> range:
        """Return the training seeds."""
        return range(self.first, self.first + self.scenes)

    def validation_seeds(self) -> range:
        """Return the validation seeds."""
        SeedStream(Split.VALIDATION, self.validation_first, self.validation_scenes)
        return range(self.validation_first, self.validation_first + self.validation_scenes)


@dataclass(frozen=True)
class PoseConfig:
    """The pose stage.

    Attributes:
        max_step: largest step between two pictures of a clip, in pictures of the walk.
        stride: point maps are learned at every stride-th pixel; the patch is a multiple of it.
        every: point maps are learned for one in so many pictures of a clip, counted back from its last.
        weight: of the pose in CUT3R's objective.
        motion: weight of the motion between near pictures (see `cut3r.losses.motion_loss`).
        backwards: half of the clips go against the order of the walk.
        matching: weight of lessons in where to look (see `train.matching`); 0 gives none.
        comparing: a new network begins with cross-attention that compares (see `model.cut3r.beginning`).
    """

    max_step: int = 2
    stride: int = 4
    every: int = 1
    weight: float = 1.0
    motion: float = 0.0
    backwards: bool = True
    matching: float = 0.0
    comparing: bool = False

    def __post_init__(self) -> None:
        require(
            min(self.max_step, self.stride, self.every) >= 1,
            "pose.max_step, pose.stride and pose.every must be at least 1.",
        )


@dataclass(frozen=True)
class JointConfig:
    """The joint stage.

    Attributes:
        objective: weights of the losses; layout 0 and camera False leave the situation alone (the paper's ablation).
        camera: camera tokens of the pose prior begin the frames.
        pose_as_text: the pose is asked for and answered in words, without `<Pos>` and `<Ori>`.
        mirror: a mirror shows half of the scenes, left is right in pictures and words.
        suffixes: the most situations and questions that share a scene's video in a step.
        tokens: room for them; what finds none is left out, and the rest is padding, so that a GPU may replay steps as
            CUDA graphs. 0 takes all, padded to the longest of a batch.
        grounding: weight of lessons in where tokens look (see `train.grounding`); 0 gives none. The place of what they
            name counts as the layout does.
        lora_rank: rank of low-rank adapters of the language model; 0 trains all of it.
        lora_alpha: adapters are scaled by alpha / rank.
        recompute: recompute the layers' activations in the backward pass: less memory, a third more time.
    """

    objective: LossWeights = field(default_factory=LossWeights)
    camera: bool = True
    pose_as_text: bool = False
    mirror: bool = False
    suffixes: int = 16
    tokens: int = 0
    grounding: float = 0.0
    lora_rank: int = 0
    lora_alpha: float = 16.0
    recompute: bool = False


@dataclass(frozen=True)
class TrainConfig:
    """A run.

    Attributes:
        size: preset of a new model (tokenizer stage); the other stages take the size of the model's folder.
        from_scratch: what is trained starts from random weights; False goes on from those in the model's folder.
        seed: of initial weights and of the order of scenes.
        phases: one after the other.
        optimiser: its numbers; one cosine goes over all phases.
        data: the scenes.
        pose: the pose stage's own.
        joint: the joint stage's own.
        precision: "auto" is bf16 where there is a GPU that has it, else fp32.
        graphs: a GPU replays steps of one shape as CUDA graphs, where a stage allows it.
        micro_batch: scenes that a device takes at once; 0 takes its share of the batch whole.
        validate_every: steps between measurements on validation scenes.
        save_every: steps between checkpoints.
        log_every: steps that a line of the log is the mean of; waiting for a GPU's numbers at each step costs time.
    """

    size: str = "nano"
    from_scratch: bool = True
    seed: int = 0
    phases: tuple[Phase, ...] = (Phase(),)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    data: DataConfig = field(default_factory=DataConfig)
    pose: PoseConfig = field(default_factory=PoseConfig)
    joint: JointConfig = field(default_factory=JointConfig)
    precision: Precision = "auto"
    graphs: bool = True
    micro_batch: int = 0
    validate_every: int = 200
    save_every: int = 200
    log_every: int = 1

    def __post_init__(self) -> None:
        require(bool(self.phases), "A run needs at least one phase.")
        most = max(phase.scenes for phase in self.phases)
        require(most <= self.data.scenes, f"A phase uses {most} scenes, but data.scenes is {self.data.scenes}.")
        every = min(self.validate_every, self.save_every, self.log_every)
        require(every >= 1, "validate_every, save_every and log_every must be at least 1.")
        require(self.precision in ("auto", "fp32", "bf16"), f"precision is {self.precision!r}: auto, fp32 or bf16.")

    @property
    def steps(self) -> int:
        """All steps."""
        return sum(phase.steps for phase in self.phases)

    def what_matters(self) -> dict[str, Any]:
        """Return the fields that must stay when a run is resumed, as plain data."""
        return _without(json.loads(json.dumps(asdict(self))), _NO_MATTER)


def _without(values: Any, names: Iterable[str]) -> Any:
    if isinstance(values, list):
        return [_without(value, names) for value in values]
    if not isinstance(values, dict):
        return values
    return {name: _without(value, names) for name, value in values.items() if name not in names}


def load_config(path: Path, changes: Iterable[str] = ()) -> TrainConfig:
    """Read a recipe.

    Args:
        path: YAML file.
        changes: "field.field=value" each, value as YAML.

    Raises:
        ConfigError: where the file cannot be read, or a field is unknown or has a wrong value.
    """
    try:
        values = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise ConfigError(f"The recipe {path} cannot be read: {error.strerror}.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"The recipe {path} is not YAML: {error}.") from error
    for change in changes:
        _change(values, change)
    return build(TrainConfig, values, f"The recipe {path.name}")


def _change(values: dict[str, Any], change: str) -> None:
    path, equals, value = change.partition("=")
    *parents, name = path.split(".")
    if not equals or not name:
        raise ConfigError(f"--set {change!r} is no change: write field=value, such as optimiser.rate=3e-4.")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {change!r}: {parent} has no fields.")
    parsed = yaml.safe_load(value)
    values[name] = float(parsed) if isinstance(parsed, str) and _is_number(parsed) else parsed


def _is_number(text: str) -> bool:
    """Say whether YAML left a number as text: 3e-4 has no point, so YAML 1.1 calls it a string."""
    try:
        float(text)
    except ValueError:
        return False
    return True
