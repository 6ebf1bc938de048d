"""What a trained model knows of scenes, straight from PyTorch.

Engines need camera tokens, `<Pos>` and `<Ori>`; ablations leave them out, so that engines cannot run them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loc3r_ros.data.suffixes import UNSUPERVISED, Suffix
from loc3r_ros.export.source import Source
from loc3r_ros.model.checkpoint import CONFIG_FILE, load_pose_prior, load_vision, save_pose_prior, save_vision
from loc3r_ros.model.circular import circular_mean
from loc3r_ros.model.config import Loc3RConfig
from loc3r_ros.model.language import Cache
from loc3r_ros.prompt.tokenizer import TextTokenizer
from loc3r_ros.train.config import TrainConfig
from loc3r_ros.train.features import View
from loc3r_ros.train.joint_stage import JointStage, SceneTexts
from loc3r_ros.train.packing import JointBatch, Texts, join_texts, pack_texts, visible
from loc3r_ros.world.balance import Balancer

POSE_TOKENS = 24
"""The longest pose in words."""
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
NOWHERE = (math.nan, math.nan, math.nan)


@dataclass(frozen=True, eq=False)
class Examined:
    """What a model says of a scene.

    Attributes:
        seed: of the scene.
        truth: (S, 3) true x, y and heading of its situations in the anchor frame.
        estimate: (S, 3) the model's; NaN where its words are no pose.
        answers: type of each question, and whether the model's answer is the right one, word for word.
    """

    seed: int
    truth: NDArray[np.float64]
    estimate: NDArray[np.float64]
    answers: tuple[tuple[str, bool], ...]


def blindfold(folder: Path, out: Path) -> None:
    """Write a model whose vision tower and pose prior see nothing: all their weights are zero.

    What the joint stage then learns, it learns from words alone.
    """
    tower, prior = load_vision(folder), load_pose_prior(folder)
    for network in (tower, prior):
        for parameter in network.parameters():
            parameter.data.zero_()
    save_vision(tower, out)
    save_pose_prior(prior, out)
    TextTokenizer.load(folder).save(out)
    Loc3RConfig.load(folder / CONFIG_FILE).save(out / CONFIG_FILE)


def examine(source: Source, config: TrainConfig, seeds: Sequence[int], device: torch.device) -> Iterator[Examined]:
    """Yield what a model says of scenes.

    Args:
        source: the model; it is taken apart.
        config: what it was trained with; the frames of the last phase are shown.
        seeds: of the scenes.
        device: that runs it.
    """
    data = replace(config.data, scenes=1, validation_scenes=len(seeds))  # room for these scenes is enough
    stage, balancer = JointStage(source, replace(config, data=data)), Balancer()
    stage.prepare(device, bf16=False)
    stage.module.to(device).eval()
    for seed in seeds:
        yield Exam(stage, config, seed, device).take(balancer)


class Exam:
    """One scene: its video's keys and values, and texts behind it."""

    def __init__(self, stage: JointStage, config: TrainConfig, seed: int, device: torch.device) -> None:
        self.stage, self.truth, self.device = stage, stage.store.truth(seed), device
        self.length, self.video = self._see(
            stage.pack([SceneTexts(join_texts([]), View(seed))], config.phases[-1].frames)
        )

    @torch.no_grad()
    def _see(self, batch: JointBatch) -> tuple[int, Cache]:
        module = self.stage.module
        before = torch.cat((module.embed(batch.prefix)[None], module.video_tokens(batch)), dim=1)
        return before.shape[1], module.model.language(before)[1]

    def take(self, balancer: Balancer) -> Examined:
        """Localize every situation and answer the questions that keep the answers in balance."""
        maker, truth = self.stage.maker, self.truth
        places = [maker.locate(situation) for situation in truth.situations]
        questions = [question for question in truth.questions if balancer.take(question)]
        right = self._are_right([maker.ask(question, truth) for question in questions])
        estimate = self._poses_in_words(places) if maker.pose_as_text else self._poses(places)
        return Examined(
            seed=truth.seed,
            truth=np.array([situation.pose for situation in truth.situations]).reshape(-1, 3),
            estimate=estimate,
            answers=tuple((question.type, is_right) for question, is_right in zip(questions, right, strict=True)),
        )

    @torch.no_grad()
    def _read(self, suffixes: Sequence[Suffix]) -> tuple[Texts, Tensor]:
        """Return texts behind the video, and their (S, width) hidden states."""
        module, texts = self.stage.module, pack_texts([join_texts(suffixes)], self.device)
        hidden, _ = module.model.language(
            module.embed(texts.ids),
            self.video,
            positions=self.length + texts.place,
            seen=visible(texts.text, self.length),
        )
        return texts, hidden[0]

    def _poses(self, places: Sequence[Suffix]) -> NDArray[np.float64]:
        if not places:
            return np.empty((0, 3))
        texts, hidden = self._read(places)
        heads = self.stage.module.model.heads
        position = heads.position_of(hidden[texts.position[0]]).mean
        heading = circular_mean(heads.heading_logits(hidden[texts.orientation[0]]).softmax(-1))
        return torch.cat((position, heading[:, None]), dim=1).detach().cpu().numpy().astype(np.float64)

    def _poses_in_words(self, places: Sequence[Suffix]) -> NDArray[np.float64]:
        asked = [place.ids[place.labels == UNSUPERVISED] for place in places]
        words = self._continue(asked)
        return np.array([pose_in(text) for text in words]).reshape(-1, 3)

    def _continue(self, prompts: Sequence[NDArray[np.int64]]) -> list[str]:
        """Return the likeliest continuation of each prompt, token by token."""
        language, stops = self.stage.module.model.language, self.stage.model_config.language.stop_tokens
        ids, going = list(prompts), set(range(len(prompts)))
        for _ in range(POSE_TOKENS):
            if not going:
                break
            hidden = self._read([_text_of(one) for one in ids])[1]
            last = torch.tensor(np.cumsum([len(one) for one in ids]) - 1, device=self.device)
            likeliest = language.logits(hidden[last]).argmax(-1).tolist()
            going = {number for number in going if likeliest[number] not in stops}
            ids = [np.append(one, likeliest[number]) if number in going else one for number, one in enumerate(ids)]
        decode = self.stage.maker.template.tokenizer.decode
        return [decode(one[len(prompt) :].tolist()) for one, prompt in zip(ids, prompts, strict=True)]

    def _are_right(self, asked: Sequence[Suffix]) -> list[bool]:
        """Return whether each answer is the likeliest, token by token: then it is what the model would say."""
        if not asked:
            return []
        texts, hidden = self._read(asked)
        likeliest = self.stage.module.model.language.logits(hidden[texts.before[0]]).argmax(-1)
        wrong = texts.text[0, texts.before[0]][likeliest != texts.answer[0]]
        mistaken = set(wrong.tolist())
        return [number not in mistaken for number in range(len(asked))]


def pose_in(text: str) -> tuple[float, float, float]:
    """Return the pose that `data.suffixes.pose_text` wrote; NaN where the words are none."""
    numbers = [float(number) for number in NUMBER.findall(text)]
    return (numbers[0], numbers[1], math.radians(numbers[2])) if len(numbers) == 3 else NOWHERE


def _text_of(ids: NDArray[np.int64]) -> Suffix:
    return Suffix("", ids, np.full_like(ids, UNSUPERVISED), -1, -1, None)
