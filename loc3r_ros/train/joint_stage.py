"""The joint stage: projector, camera MLP, language model and heads learn to localize, to lay out and to answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from loc3r_ros.data.cache import FeatureCache, SceneFeatures
from loc3r_ros.data.scenes import SceneVideo, make_scene_video
from loc3r_ros.data.seeds import with_room
from loc3r_ros.data.suffixes import Suffix, SuffixMaker, draw_suffixes
from loc3r_ros.export.source import Source
from loc3r_ros.model.checkpoint import CONFIG_FILE, save_pose_prior
from loc3r_ros.model.checkpoint_files import write
from loc3r_ros.model.config import Loc3RConfig
from loc3r_ros.prompt.template import PromptTemplate
from loc3r_ros.train.config import TrainConfig
from loc3r_ros.train.joint_model import JointModel
from loc3r_ros.train.lora import merge_lora
from loc3r_ros.train.packing import JointBatch, pack_scenes
from loc3r_ros.train.plan import Task
from loc3r_ros.train.stage import Stage
from loc3r_ros.train.towers import FrozenTowers
from loc3r_ros.world.balance import Balancer
from loc3r_ros.world.draw import Draw


@dataclass(frozen=True)
class SceneLoader:
    """Takes a scene's features from the cache, or renders it."""

    config: Loc3RConfig
    frames: int
    cache: FeatureCache | None

    def __call__(self, task: Task) -> SceneFeatures | SceneVideo:
        """Return the scene of a task, all frames of its walk."""
        kept = self.cache.get(task.seed) if self.cache else None
        return kept or with_room(task.seed, self._render)

    def _render(self, seed: int) -> SceneVideo:
        config = self.config
        size, patches = config.vision.image_size, config.pooled_grid
        return make_scene_video(seed, self.frames, size, patches, config.pixels_per_patch)


class JointStage(Stage):
    """Trains all of a model but its vision tower and pose prior.

    Args:
        source: the model, its pose prior and its tokenizer.
        config: of the run.
    """

    loader: SceneLoader

    def __init__(self, source: Source, config: TrainConfig) -> None:
        joint = config.joint
        self.source, self.config = source, config
        self.model_config = source.model.config
        self.towers = FrozenTowers(source.model.vision, source.prior, self.model_config)
        self.module: JointModel = JointModel(
            source.model, joint.objective, joint.lora_rank, joint.lora_alpha, joint.recompute
        )
        template = PromptTemplate(source.tokenizer)
        self.prefix = template.prefix
        self.maker = SuffixMaker(template, joint.pose_as_text)
        self.loader = SceneLoader(self.model_config, joint.walk_frames, None)

    def new_state(self) -> Balancer:
        """Return what keeps the answers balanced."""
        return Balancer()

    def prepare(self, device: torch.device, bf16: bool) -> None:
        """Move the frozen networks, and open the cache of what they see."""
        self.towers.to(device, torch.bfloat16 if bf16 else torch.float32)
        if self.config.joint.lora_rank and bf16:
            for parameter in self.module.parameters():
                if not parameter.requires_grad:
                    parameter.data = parameter.data.bfloat16()
        if self.config.data.cache:
            cache = FeatureCache.open(Path(self.config.data.cache), self.towers.key(self.config.joint.walk_frames))
            self.loader = replace(self.loader, cache=cache)

    def collate(
        self,
        items: Sequence[SceneFeatures | SceneVideo],
        tasks: Sequence[Task],
        state: Balancer,
        device: torch.device,
    ) -> JointBatch:
        """Pack scenes, and compute and keep the features of those that are new."""
        features = [self.features(item, task.seed) for item, task in zip(items, tasks, strict=True)]
        suffixes = [self._suffixes(one, task, state) for one, task in zip(features, tasks, strict=True)]
        return pack_scenes(self.prefix, features, suffixes, tasks[0].frames, device)

    def features(self, item: SceneFeatures | SceneVideo, seed: int) -> SceneFeatures:
        """Return the features of what the loader made of a seed; new ones are kept where there is a cache."""
        if isinstance(item, SceneFeatures):
            return item
        features = self.towers.see(item)
        if self.loader.cache:
            self.loader.cache.put(seed, features)
        return features

    def _suffixes(self, features: SceneFeatures, task: Task, balancer: Balancer) -> list[Suffix]:
        questions = [question for question in features.truth.questions if balancer.take(question)]
        draw = Draw(self.config.seed, f"texts at {task.position}")
        return draw_suffixes(self.maker, features.truth, questions, self.config.joint.suffixes, draw)

    def save(self, tensors: Mapping[str, Tensor], folder: Path) -> None:
        """Write the whole model: what was trained, the frozen networks and the tokenizer."""
        joint, language = self.config.joint, self.model_config.language
        merged = merge_lora(tensors, joint.lora_alpha / joint.lora_rank) if joint.lora_rank else dict(tensors)
        if (special := merged.pop("special", None)) is not None:
            rows = [language.position_token, language.orientation_token]
            merged["model.language.embed_tokens.weight"][rows] += special.to(
                merged["model.language.embed_tokens.weight"].dtype
            )
        vision = {f"vision.{name}": tensor.cpu() for name, tensor in self.towers.vision.state_dict().items()}
        trained = {name.removeprefix("model."): tensor.cpu() for name, tensor in merged.items()}
        write(folder, (vision | trained).items())
        self.model_config.save(folder / CONFIG_FILE)
        save_pose_prior(self.source.prior, folder)
        self.source.tokenizer.save(folder)
