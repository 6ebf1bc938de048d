"""The joint stage: projector, camera MLP, language model and heads learn to localize, to lay out and to answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loc3r_ros.data.dense import COLOUR_NAMES
from loc3r_ros.data.mentions import Names
from loc3r_ros.data.scenes import mirrored
from loc3r_ros.data.store import SceneStore
from loc3r_ros.data.suffixes import SuffixMaker, draw_suffixes
from loc3r_ros.export.source import Source
from loc3r_ros.model.checkpoint import CONFIG_FILE, save_pose_prior
from loc3r_ros.model.checkpoint_files import write
from loc3r_ros.prompt.template import PromptTemplate
from loc3r_ros.train.config import TrainConfig
from loc3r_ros.train.features import FeatureShelf, View
from loc3r_ros.train.grounding import colour_words, mean_over, shares, showing
from loc3r_ros.train.joint_model import JointModel
from loc3r_ros.train.lora import merge_lora
from loc3r_ros.train.packing import JointBatch, Room, Shown, TextRow, Texts, even_frames, join_texts, pack_texts
from loc3r_ros.train.plan import Task
from loc3r_ros.train.scenes import balanced_questions, open_store, render_scenes
from loc3r_ros.train.shelf import Shelf
from loc3r_ros.train.stage import Stage
from loc3r_ros.train.surfaces import cell_rays, facing, facing_of_patches, lying, things_in_patches
from loc3r_ros.train.towers import FrozenTowers
from loc3r_ros.world.draw import Draw

MAP = ("layout", "layout_valid")
"""What is learned of the pictures of a scene."""
SEEN = ("category", "colour", "normal", "cell_depth", "pose")
"""What lessons learn of them as well."""


class SceneTexts(NamedTuple):
    """The texts of a scene, or of what a mirror shows of it."""

    row: TextRow
    view: View


@dataclass(frozen=True)
class TextLoader:
    """Writes the texts of scenes.

    Attributes:
        store: of the scenes.
        maker: writes suffixes.
        count: the most texts of a scene.
        seed: of the run.
        mirror: a mirror shows half of the scenes.
        room: for the texts of a scene, None where it has no bounds.
        names: finds what the texts name.
        balanced: by seed of the scene, the questions that keep the answers in balance.
    """

    store: SceneStore
    maker: SuffixMaker
    count: int
    seed: int
    mirror: bool
    room: Room | None
    names: Names
    balanced: Mapping[int, Sequence[int]]

    def __call__(self, task: Task) -> SceneTexts:
        """Return the texts of a task's scene."""
        draw = Draw(self.seed, f"texts at {task.position}")
        truth = self.store.truth(task.seed)
        view = View(task.seed, self.mirror and draw.chance(0.5))
        if view.mirrored:
            truth = mirrored(truth)
        questions = [truth.questions[number] for number in self.balanced[task.seed]]
        suffixes = draw_suffixes(self.maker, truth, questions, self.count, draw)
        return SceneTexts(join_texts(self.room.choose(suffixes) if self.room else suffixes, self.names), view)


class JointStage(Stage):
    """Trains all of a model but its vision tower and pose prior.

    Args:
        source: the model, its pose prior and its tokenizer.
        config: of the run.
    """

    loader: TextLoader

    def __init__(self, source: Source, config: TrainConfig) -> None:
        joint = config.joint
        self.source, self.config = source, config
        self.model_config = source.model.config
        self.towers = FrozenTowers(source.model.vision, source.prior, self.model_config)
        self.module: JointModel = JointModel(
            source.model, joint.objective, joint.lora_rank, joint.lora_alpha, joint.recompute, joint.grounding
        )
        template = PromptTemplate(source.tokenizer)
        self.prefix = template.prefix
        self.maker = SuffixMaker(template, joint.pose_as_text)
        self.store = open_store(self.model_config, config.data)
        self.room = Room(joint.tokens, joint.suffixes) if joint.tokens else None
        self.is_static = self.room is not None and not joint.recompute
        names = Names.of(source.tokenizer)
        self.loader = TextLoader(
            self.store, self.maker, joint.suffixes, config.seed, joint.mirror, self.room, names, {}
        )

    def prepare(self, device: torch.device, bf16: bool) -> None:
        """Move the frozen networks, and make room for what they see."""
        self.towers.to(device, torch.bfloat16 if bf16 else torch.float32)
        if self.config.joint.lora_rank and bf16:
            for parameter in self.module.parameters():
                if not parameter.requires_grad:
                    parameter.data = parameter.data.bfloat16()
        capacity = self.config.data.all_scenes
        fields = MAP + SEEN if self.config.joint.grounding else MAP
        self.layouts = Shelf(self.store, fields, capacity, device)
        form = self.store.form
        self.rays = cell_rays(form.size, form.cells, form.cell_pixels).to(device)
        views = capacity * (1 + self.config.joint.mirror)
        self.features = FeatureShelf(self.towers, self.store, self.model_config, views, device)

    def begin(self) -> None:
        """Render what is missing, choose the questions, and show the scenes to the frozen networks."""
        data = self.config.data
        render_scenes(self.store, data)
        self.loader = replace(self.loader, balanced=balanced_questions(self.store, data))
        sides = (False, True) if self.config.joint.mirror else (False,)
        self.features.bring([View(seed, side) for seed in data.seeds() for side in sides])

    def collate(self, items: Sequence[SceneTexts], tasks: Sequence[Task]) -> JointBatch:
        """Pack scenes and their texts."""
        return self.pack(items, tasks[0].frames, self.room)

    def pack(self, scenes: Sequence[SceneTexts], frames: int, room: Room | None = None) -> JointBatch:
        """Join scenes; of each walk's frames, `frames` are taken evenly, the first and the last among them."""
        kept = even_frames(self.store.form.frames, frames)
        vision, camera = self.features.take([scene.view for scene in scenes], kept)
        truth = self._truth([scene.view for scene in scenes], kept)
        texts = pack_texts([scene.row for scene in scenes], vision.device, room)
        patches = self.model_config.layout.patch_indices(len(kept), len(self.prefix))
        return JointBatch(
            prefix=torch.from_numpy(self.prefix).to(vision.device, non_blocking=True),
            vision=vision,
            camera=camera,
            layout=truth["layout"].flatten(2, 3),
            layout_valid=truth["layout_valid"].flatten(2, 3),
            patches=torch.from_numpy(patches).to(vision.device, non_blocking=True),
            shown=self._shown(truth, texts) if self.config.joint.grounding else None,
            texts=texts,
        )

    def _truth(self, views: Sequence[View], frames: NDArray[np.intp]) -> dict[str, Tensor]:
        """Return (B, T, rows, columns, ...) places of the patches, whether they are valid, and of cells with lessons.

        These are `category` and `colour` of what they show, where it is `lying`, `facing` which way, and `hit`, if any.
        """
        taken = self.layouts.take([view.seed for view in views], frames)
        chosen = torch.tensor([view.mirrored for view in views]).to(taken["layout"].device, non_blocking=True)
        chosen = chosen[:, None, None, None]
        vectors = {"layout": taken.pop("layout")}
        if self.config.joint.grounding:
            depth, pose = taken.pop("cell_depth"), taken.pop("pose")
            vectors |= {"lying": lying(depth, pose, self.rays), "facing": facing(taken.pop("normal"), pose)}
            taken["hit"] = depth > 0
        truth = {name: torch.where(chosen, values.flip(3), values) for name, values in taken.items()}
        for name, vector in vectors.items():
            other = torch.stack((vector[..., 0], -vector[..., 1]), dim=-1).flip(3)
            truth[name] = torch.where(chosen[..., None], other, vector)
        return truth | self._places_of_things(truth) if self.config.joint.grounding else truth

    def _places_of_things(self, truth: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return places of patches and whether they are valid: one that has no place of its own has that of its thing.

        The pixels of a small thing and of what is far behind it have no place together, but names look there.
        """
        layout, valid, colour, form = truth["layout"], truth["layout_valid"], truth["colour"], self.store.form
        # Furniture alone has a colour, and things look alike that share it with their category.
        things = torch.where(colour >= 0, truth["category"].long() * len(COLOUR_NAMES) + colour.long(), -1)
        place, known = things_in_patches(things, truth["lying"], form.patches, form.patch_pixels / form.cell_pixels)
        more = known.view_as(valid) & ~valid
        return {
            "layout": torch.where(more[..., None], place.view_as(layout).to(layout.dtype), layout),
            "layout_valid": valid | more,
        }

    def _shown(self, truth: Mapping[str, Tensor], texts: Texts) -> Shown:
        form = self.store.form
        patches, pixels = form.patches, form.patch_pixels / form.cell_pixels
        shows = showing(truth["category"], truth["colour"], texts.category, texts.colour)
        words = torch.tensor(self.loader.names.answers, device=shows.device)
        tint = colour_words(shows, truth["colour"], words, texts)
        cells = torch.cat((truth["lying"], truth["facing"]), dim=-1).flatten(1, 3)
        means, known = mean_over(shows, cells, truth["hit"].flatten(1))
        where, front = means.chunk(2, dim=-1)
        return Shown(
            share=shares(shows, patches, pixels),
            where=where,
            front=front,
            known=known,
            tint=tint,
            facing=facing_of_patches(truth["facing"], patches, pixels),
        )

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
