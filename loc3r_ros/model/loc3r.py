"""Loc3R-VLM: frames, camera tokens and text in; places, layout and words out (arXiv 2603.18002).

The sequence is `[prefix text][video][text]`. All that varies stands after the video and attention is causal, so the
robot appends `frame_tokens` to a cache once and each question costs only its own tokens; training runs the same pieces
over whole batches in `forward`. The pose prior is a network of its own: its camera tokens are inputs here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from loc3r_ros.model.config import Loc3RConfig
from loc3r_ros.model.heads import Gaussian, Heads
from loc3r_ros.model.language import LanguageModel
from loc3r_ros.model.projector import two_layer_mlp
from loc3r_ros.model.vision import VisionTower, pool_patches

INITIAL_STD = 0.02
"""Standard deviation of new weights, as in Qwen2."""


@dataclass(frozen=True)
class VideoBatch:
    """Videos with text, batched.

    Attributes:
        prefix: (P,) ids before the video, the same for all.
        pixels: (B, F, 3, size, size) frames in [-1, 1].
        camera: (B, F, camera_dim) camera tokens of the pose prior, or None where the config has none.
        text: (B, S) ids after the video, padded on the right with any id.
        text_lengths: (B,) tokens of each text.
        frame_mask: (B, F) bool, False for frames that are padding; None where all are real.
    """

    prefix: Tensor
    pixels: Tensor
    camera: Tensor | None
    text: Tensor
    text_lengths: Tensor
    frame_mask: Tensor | None = None


@dataclass(frozen=True)
class Predictions:
    """What the model says of a batch.

    Attributes:
        text_hidden: (B, S, hidden_size) hidden states of the text; `LanguageModel.logits` turns them into words.
        layout: where each patch lies, (B, F, patches, 2).
        position: where the described observer stands, (B, 2); meaningless where the text has no `<Pos>`.
        heading_logits: (B, heading_bins); meaningless where the text has no `<Ori>`.
    """

    text_hidden: Tensor
    layout: Gaussian
    position: Gaussian
    heading_logits: Tensor


class Loc3R(nn.Module):
    """The vision-language model at any size."""

    def __init__(self, config: Loc3RConfig) -> None:
        super().__init__()
        self.config = config
        width = config.language.hidden_size
        self.vision = VisionTower(config.vision)
        self.projector = two_layer_mlp(config.vision.hidden_size, width, width)
        self.newline = nn.Parameter(torch.empty(width))
        self.camera = two_layer_mlp(config.pose_prior.camera_dim, width, width) if config.video.camera else None
        self.language = LanguageModel(config.language)
        self.heads = Heads(width, config.head_hidden or width, config.heading_bins)
        self.apply(_initialise)
        nn.init.normal_(self.newline, std=INITIAL_STD)

    def encode_frames(self, pixels: Tensor) -> Tensor:
        """Return pooled patch tokens (N, patches, hidden_size) of frames (N, 3, size, size) in [-1, 1]."""
        patches = self.projector(self.vision(pixels))
        return pool_patches(patches, self.config.video.pool, self.config.video.pool_stride)

    def frame_tokens(self, patches: Tensor, camera: Tensor | None) -> Tensor:
        """Lay out the tokens of frames: camera token, patches and newlines.

        Args:
            patches: (N, patches, hidden_size) from `encode_frames`.
            camera: (N, camera_dim) camera tokens, or None where the config has none.

        Returns:
            (N, tokens_per_frame, hidden_size).
        """
        tokens = self.with_newlines(patches)
        if self.camera is None:
            return tokens
        assert camera is not None, "this model's frames begin with a camera token"
        first = self.camera(camera.to(self.newline.dtype)).to(tokens.dtype)
        return torch.cat((first[:, None], tokens), dim=1)

    def with_newlines(self, patches: Tensor) -> Tensor:
        """Return patches (N, patches, hidden_size) with the newline tokens inside frames: all but the camera token."""
        count, _, width = patches.shape
        layout = self.config.layout
        newline = self.newline.to(patches.dtype)
        if layout.newline == "grid":
            rows = patches.view(count, layout.rows, layout.columns, width)
            ends = newline.expand(count, layout.rows, 1, width)
            return torch.cat((rows, ends), dim=2).flatten(1, 2)
        if layout.newline == "frame":
            return torch.cat((patches, newline.expand(count, 1, width)), dim=1)
        return patches

    def video_tokens(self, pixels: Tensor, camera: Tensor | None) -> Tensor:
        """Return all tokens of videos, (B, layout.video_tokens(F), hidden_size).

        Args:
            pixels: (B, F, 3, size, size) in [-1, 1].
            camera: (B, F, camera_dim), or None where the config has none.
        """
        frames = self.frame_tokens(
            self.encode_frames(pixels.flatten(0, 1)), None if camera is None else camera.flatten(0, 1)
        )
        tokens = frames.unflatten(0, pixels.shape[:2]).flatten(1, 2)
        tail = self.newline.to(tokens.dtype).expand(len(tokens), self.config.layout.tail_tokens, -1)
        return torch.cat((tokens, tail), dim=1)

    def forward(self, batch: VideoBatch) -> Predictions:
        """Run whole videos with their texts."""
        embeddings = self.embed(batch)
        seen = self.seen(batch)
        positions = None if seen is None else (seen.long().cumsum(dim=1) - 1).clamp_min(0)
        hidden, _ = self.language(embeddings, positions=positions, seen=seen)
        start, frames = len(batch.prefix), batch.pixels.shape[1]
        layout = self.config.layout
        patches = torch.from_numpy(layout.patch_indices(frames, start)).to(hidden.device)
        text = hidden[:, start + layout.video_tokens(frames) :]
        return Predictions(
            text_hidden=text,
            layout=self.heads.layout_of(hidden[:, patches]),
            position=self.heads.position_of(at_token(text, batch.text, self.config.language.position_token)),
            heading_logits=self.heads.heading_logits(
                at_token(text, batch.text, self.config.language.orientation_token)
            ),
        )

    def embed(self, batch: VideoBatch) -> Tensor:
        """Return the embeddings of the whole sequences, (B, P + video + S, hidden_size)."""
        embed = self.language.embed_tokens
        video = self.video_tokens(batch.pixels, batch.camera)
        prefix = embed(batch.prefix).expand(len(video), -1, -1)
        return torch.cat((prefix, video.to(prefix.dtype), embed(batch.text)), dim=1)

    def seen(self, batch: VideoBatch) -> Tensor | None:
        """Return the (B, P + video + S) bool mask of real tokens, or None where padding is only at the right end."""
        if batch.frame_mask is None:
            return None  # nobody before the padding looks at it
        layout, mask = self.config.layout, batch.frame_mask
        video = mask.repeat_interleave(layout.tokens_per_frame, dim=1)
        prefix = mask.new_ones(len(mask), len(batch.prefix))
        tail = mask.new_ones(len(mask), layout.tail_tokens)
        columns = torch.arange(batch.text.shape[1], device=mask.device)
        return torch.cat((prefix, video, tail, columns < batch.text_lengths[:, None]), dim=1)


def at_token(hidden: Tensor, ids: Tensor, token: int) -> Tensor:
    """Return the hidden state (B, hidden_size) at the first `token` of each row of ids (B, S); column 0 without one."""
    column = (ids == token).int().argmax(dim=1)
    return hidden.gather(1, column[:, None, None].expand(-1, 1, hidden.shape[-1])).squeeze(1)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding):
        nn.init.normal_(module.weight, std=INITIAL_STD)
        if isinstance(bias := getattr(module, "bias", None), Tensor):
            nn.init.zeros_(bias)
