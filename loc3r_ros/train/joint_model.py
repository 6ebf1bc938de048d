"""Loc3R-VLM behind its frozen networks, with the joint objective."""

from __future__ import annotations

import math
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (  # torch's own name for what FSDP users import
    apply_activation_checkpointing,
)
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer

from loc3r_ros.data.suffixes import UNSUPERVISED
from loc3r_ros.model.circular import circular_mean
from loc3r_ros.model.heads import Gaussian
from loc3r_ros.model.language import Cache
from loc3r_ros.model.loc3r import Loc3R
from loc3r_ros.model.losses import (
    Losses,
    LossWeights,
    heading_divergence,
    language_loss,
    masked_mean,
)
from loc3r_ros.model.vision import pool_patches
from loc3r_ros.train.grounding import columns_of, watching
from loc3r_ros.train.lessons import LOOKS, PLACES, Lessons, Watched, total
from loc3r_ros.train.lora import add_lora
from loc3r_ros.train.packing import JointBatch, Texts, visible


class JointModel(nn.Module):
    """What the joint stage trains: the model without its vision tower, which stays frozen elsewhere.

    Args:
        model: its tower is taken out.
        weights: of the losses.
        lora_rank: rank of low-rank adapters in the language model's layers; 0 trains all of them.
        lora_alpha: adapters are scaled by alpha / rank.
        recompute: recompute activations in the backward pass.
        grounding: weight of lessons in what words name.
    """

    special_ids: Tensor

    def __init__(
        self,
        model: Loc3R,
        weights: LossWeights,
        lora_rank: int = 0,
        lora_alpha: float = 16.0,
        recompute: bool = False,
        grounding: float = 0.0,
    ) -> None:
        super().__init__()
        self.grounding = grounding
        self.lessons = Lessons(model.config.language.hidden_size, weights)
        model.vision = nn.Identity()  # type: ignore[assignment]
        self.model = model
        self.weights = weights
        # Adapters leave the embeddings as they are, but `<Pos>` and `<Ori>` are new to the language model.
        self.special = nn.Parameter(torch.zeros(2, model.config.language.hidden_size)) if lora_rank else None
        if lora_rank:
            model.language.requires_grad_(False)
            add_lora(model.language.layers, lora_rank, lora_alpha)
            ids = [model.config.language.position_token, model.config.language.orientation_token]
            self.register_buffer("special_ids", torch.tensor(ids), persistent=False)
        if recompute:
            apply_activation_checkpointing(
                model.language, check_fn=lambda module: isinstance(module, Qwen2DecoderLayer)
            )

    def forward(self, batch: JointBatch) -> dict[str, Tensor]:
        """Return the loss and its parts, and how right poses (and, in evaluation, answers) are."""
        with ExitStack() as stack:
            passes = stack.enter_context(watching(self.model.language)) if self.grounding else {}
            layout, text, cache = self.hidden(batch)
        heads, texts = self.model.heads, batch.texts
        position = heads.position_of(columns_of(text, texts.position))
        heading = heads.heading_logits(columns_of(text, texts.orientation))
        losses = Losses(
            language=language_loss(self.model.language, columns_of(text, texts.before), texts.answer),
            layout=self.weights.place(heads.layout_of(layout), batch.layout, batch.layout_valid),
            position=self.weights.place(position, texts.pose[..., :2], texts.posed),
            orientation=heading_divergence(heading, texts.pose[..., 2], texts.posed, self.weights.heading_sigma),
        )
        scores = pose_scores(position, heading, texts)
        if not self.training:
            scores["answers_right"] = self.answers_right(text, texts)
            scores["layout_m"] = masked_mean(
                (heads.layout_of(layout).mean - batch.layout).norm(dim=-1), batch.layout_valid
            )
        loss, lessons = losses.total(self.weights), {}
        if self.grounding:
            lessons = self.lessons(self.model, batch, text, Watched(passes, cache))
            loss = loss + self.grounding * total(lessons, LOOKS) + self.weights.layout * total(lessons, PLACES)
        return {"loss": loss, **vars(losses), **lessons, **scores}

    def hidden(self, batch: JointBatch) -> tuple[Tensor, Tensor, Cache]:
        """Return the hidden states of patches (B, F, patches, width) and texts (B, S, width), and the cache of both."""
        model, texts = self.model, batch.texts
        before = torch.cat(
            (self.embed(batch.prefix).expand(len(batch.vision), -1, -1), self.video_tokens(batch)), dim=1
        )
        video, cache = model.language(before)
        length = before.shape[1]
        text, cache = model.language(
            self.embed(texts.ids), cache, positions=length + texts.place, seen=visible(texts.text, length)
        )
        seen = video.index_select(1, batch.patches.flatten()).unflatten(1, batch.patches.shape)
        return seen, text, cache

    def video_tokens(self, batch: JointBatch) -> Tensor:
        """Return all tokens of the videos, (B, tokens, width), from their features."""
        model, config = self.model, self.model.config
        projected = model.projector(batch.vision.flatten(0, 1).float())
        patches = pool_patches(projected, config.video.pool, config.video.pool_stride)
        camera = batch.camera.flatten(0, 1).float() if config.video.camera else None
        tokens = model.frame_tokens(patches, camera).unflatten(0, batch.vision.shape[:2]).flatten(1, 2)
        tail = model.newline.to(tokens.dtype).expand(len(tokens), config.layout.tail_tokens, -1)
        return torch.cat((tokens, tail), dim=1)

    def embed(self, ids: Tensor) -> Tensor:
        """Return the embeddings of ids."""
        embeddings = self.model.language.embed_tokens(ids)
        if self.special is None:
            return embeddings.float()
        return embeddings.float() + (ids[..., None] == self.special_ids).float() @ self.special

    def answers_right(self, text: Tensor, texts: Texts) -> Tensor:
        """Return the share of answers of which every token is the likeliest."""
        likeliest = self.model.language.logits(columns_of(text, texts.before)).argmax(-1)
        supervised = texts.answer != UNSUPERVISED
        wrong = supervised & (likeliest != texts.answer)
        number = texts.text.gather(1, texts.before).clamp_min(0)
        none = torch.zeros_like(texts.posed, dtype=torch.float32)
        mistakes, asked = (none.scatter_add(1, number, which.float()) for which in (wrong, supervised))
        return masked_mean((mistakes == 0).float(), asked > 0)


def pose_scores(position: Gaussian, heading: Tensor, texts: Texts) -> dict[str, Tensor]:
    """Return the mean error of the position, metres, and the shares of poses within the paper's limits."""
    error = (position.mean - texts.pose[..., :2]).norm(dim=-1).detach()
    turn = circular_mean(heading.detach().softmax(-1)) - texts.pose[..., 2]
    turn = (torch.remainder(turn + math.pi, 2 * math.pi) - math.pi).abs() * 180 / math.pi
    limits = {"acc_0.5m": error < 0.5, "acc_1.0m": error < 1.0, "acc_15deg": turn < 15, "acc_30deg": turn < 30}
    scores = {name: masked_mean(within.float(), texts.posed) for name, within in limits.items()}
    return {"position_m": masked_mean(error, texts.posed), **scores}
