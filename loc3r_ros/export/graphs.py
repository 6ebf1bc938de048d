"""The three graphs that run on the robot, as PyTorch modules of named arrays without a batch axis.

Pictures come as uint8 (H, W, 3) RGB, so that a quarter of the bytes travels to the device and scaling is done there.
The language graph reads the cache of the tokens before it from two places, the memory's prefix (shared, never changed)
and the suffix of one question, and gives the cache rows of its own tokens alone: whoever runs it lets these outputs
land where the next rows belong, so no step ever copies a cache.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention, Qwen2DecoderLayer

from loc3r_ros.errors import ConfigError
from loc3r_ros.model.config import LanguageConfig
from loc3r_ros.model.cut3r import Cut3R, Cut3RStep
from loc3r_ros.model.heads import Gaussian
from loc3r_ros.model.language import rotary
from loc3r_ros.model.loc3r import Loc3R


def scaled_pixels(image: Tensor, dtype: torch.dtype) -> Tensor:
    """Return (1, 3, H, W) pixels in [-1, 1] of an (H, W, 3) uint8 image."""
    pixels = (image.to(torch.float32) / 255.0 - 0.5) / 0.5
    return pixels.permute(2, 0, 1)[None].to(dtype)


class PosePriorGraph(nn.Module):
    """One step of the pose prior, and its camera token as the language model takes it."""

    INPUTS = ("image", "state", "memory", "is_first")
    OUTPUTS = ("camera_token", "world_t_camera", "new_state", "new_memory")

    def __init__(self, network: Cut3R, model: Loc3R) -> None:
        super().__init__()
        self.image_size = model.config.pose_prior.image_size
        self.step = Cut3RStep(network, *self.image_size)
        self.dtype = network.pose_token.dtype
        if model.camera is None:
            raise ConfigError(f"The frames of {model.config.name} have no camera token (video.camera is false).")
        self.camera = model.camera

    def forward(self, image: Tensor, state: Tensor, memory: Tensor, is_first: Tensor) -> tuple[Tensor, ...]:
        """Look at one frame.

        Args:
            image: (H, W, 3) uint8 RGB. Where the network sees another size (VLM-3R squashes the vision tower's frame),
                it is resized bilinearly without antialiasing.
            state: (state_size, dim).
            memory: (slots, 2 dim).
            is_first: (1,) bool; the state is then ignored.

        Returns:
            camera token (1, width), world_t_camera (4, 4) float32, new state, new memory.
        """
        pixels = scaled_pixels(image, self.dtype)
        if image.shape[:2] != self.image_size:
            pixels = F.interpolate(pixels, self.image_size, mode="bilinear", align_corners=False)
        token, pose, state, memory = self.step(pixels, state[None], memory[None], is_first)
        return self.camera(token), pose[0].float(), state[0], memory[0]


class VisionGraph(nn.Module):
    """A picture to the tokens of its frame after the camera token, newlines included."""

    INPUTS = ("image",)
    OUTPUTS = ("tokens",)

    def __init__(self, model: Loc3R) -> None:
        super().__init__()
        if model.config.layout.tail_tokens:
            raise ConfigError(
                f"The frames of {model.config.name} cannot be appended one by one: video.newline is "
                f"{model.config.video.newline!r}, whose newline moves with every frame."
            )
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor]:
        """Encode one frame: (size, size, 3) uint8 RGB -> (tokens - 1, width)."""
        patches = self.model.encode_frames(scaled_pixels(image, self.model.newline.dtype))
        return (self.model.with_newlines(patches)[0],)


class LanguageGraph(nn.Module):
    """New tokens on a cached past, and the heads at the rows where they are wanted."""

    INPUTS = (
        "embeddings",
        "start",
        "prefix_length",
        "suffix_length",
        "layout_rows",
        "position_rows",
        "orientation_rows",
        "logit_rows",
    )
    OUTPUTS = ("layout", "position", "orientation", "logits")

    def __init__(self, model: Loc3R) -> None:
        super().__init__()
        self.language = model.language
        self.heads = model.heads
        self.config = model.config.language

    def forward(
        self,
        embeddings: Tensor,
        start: Tensor,
        prefix_length: Tensor,
        suffix_length: Tensor,
        layout_rows: Tensor,
        position_rows: Tensor,
        orientation_rows: Tensor,
        logit_rows: Tensor,
        *caches: Tensor,
    ) -> tuple[Tensor, ...]:
        """Append tokens.

        Args:
            embeddings: (T, width) new tokens.
            start: (1,) int64 position id of the first of them.
            prefix_length: (1,) int64 rows of the prefix that count; what lies behind them is never seen, so that a
                compiler that wants fixed shapes may be given whole buffers.
            suffix_length: (1,) the same of the suffix.
            layout_rows: (A,) int64 rows of `embeddings` that are patches.
            position_rows: (B,) rows of `<Pos>`.
            orientation_rows: (C,) rows of `<Ori>`.
            logit_rows: (D,) rows whose next token is asked for.
            caches: for each layer prefix keys and values (P, kv_heads, head_dim), then for each layer suffix keys and
                values (Q, kv_heads, head_dim). P is at least 1: onnxruntime's CPU kernels crash on an empty inner
                dimension, and the prompt's fixed beginning is always there.

        Returns:
            layout (A, 4) and position (B, 4): x, y, log variances; orientation (C, bins) logits; logits (D, vocab);
            all float32. Then for each layer keys and values of the new tokens (T, kv_heads, head_dim).
        """
        config = self.config
        rows = torch.arange(embeddings.shape[0], device=embeddings.device)
        rotation = rotation_of(start + rows, config, embeddings.dtype)
        prefix, suffix = caches[: 2 * config.layers], caches[2 * config.layers :]
        groups = config.heads // config.kv_heads
        near = blocked_locals(rows, suffix[0], suffix_length).repeat(groups, 1)
        blocked = (blocked_prefix(prefix[0], prefix_length), near)
        states, new = embeddings, []
        for index, layer in enumerate(self.language.layers):
            assert isinstance(layer, Qwen2DecoderLayer)
            pair = slice(2 * index, 2 * index + 2)
            attended, keys, values = attend(
                layer.self_attn, config, layer.input_layernorm(states), rotation, blocked, prefix[pair], suffix[pair]
            )
            states = states + attended
            states = states + layer.mlp(layer.post_attention_layernorm(states))
            new += [keys, values]
        states = self.language.norm(states)
        return (
            packed(self.heads.layout_of(states[layout_rows])),
            packed(self.heads.position_of(states[position_rows])),
            self.heads.heading_logits(states[orientation_rows]),
            self.language.logits(states[logit_rows]).float(),
            *new,
        )


def blocked_prefix(prefix: Tensor, length: Tensor) -> Tensor:
    """Return (P,) float32 to add to the logits of the prefix, whose first `length` rows are seen."""
    columns = torch.arange(prefix.shape[0], device=prefix.device)
    return smallest_where(columns >= length)


def blocked_locals(rows: Tensor, suffix: Tensor, length: Tensor) -> Tensor:
    """Return (T, Q + T) float32 to add to the logits of suffix and new tokens, which see one another causally."""
    columns = torch.arange(suffix.shape[0], device=rows.device)
    old = (columns >= length).expand(rows.shape[0], suffix.shape[0])
    new = rows[None, :] > rows[:, None]
    return smallest_where(torch.cat((old, new), dim=1))


def smallest_where(mask: Tensor) -> Tensor:
    """Return the smallest float32 where `mask` is true, else 0."""
    return torch.zeros(1, device=mask.device).masked_fill(mask, torch.finfo(torch.float32).min)


def packed(gaussian: Gaussian) -> Tensor:
    """Return (..., 4): mean x, y and log variances."""
    return torch.cat((gaussian.mean, gaussian.log_variance), dim=-1)


def attend(
    attention: Qwen2Attention,
    config: LanguageConfig,
    states: Tensor,
    rotation: tuple[Tensor, Tensor],
    blocked: tuple[Tensor, Tensor],
    prefix: tuple[Tensor, ...],
    suffix: tuple[Tensor, ...],
) -> tuple[Tensor, Tensor, Tensor]:
    """Attend to prefix, suffix and the new tokens, which see one another causally; the prefix is not copied.

    Args:
        attention: Qwen2's attention, for its four projections.
        config: sizes.
        states: (T, width) normalised hidden states.
        rotation: cosine and signed sine, (T, 1, head_dim).
        blocked: to add to the logits: (P,) for the prefix; (groups * T, Q + T) for suffix and new tokens, once for each
            head that shares keys; float32.
        prefix: keys and values (P, kv_heads, head_dim).
        suffix: keys and values (Q, kv_heads, head_dim).

    Returns:
        (T, width) and the new keys and values, (T, kv_heads, head_dim).
    """
    groups, dim = config.heads // config.kv_heads, config.head_dim  # -1: sizes that a graph need not compute
    queries = rotated(attention.q_proj(states).view(-1, config.heads, dim), rotation)
    keys = rotated(attention.k_proj(states).view(-1, config.kv_heads, dim), rotation)
    values = attention.v_proj(states).view(-1, config.kv_heads, dim)
    queries = queries.view(-1, config.kv_heads, groups, dim).permute(1, 2, 0, 3)
    queries = queries.reshape(config.kv_heads, -1, dim) * dim**-0.5
    local_keys, local_values = torch.cat((suffix[0], keys)), torch.cat((suffix[1], values))
    far = (queries @ prefix[0].permute(1, 2, 0)).float() + blocked[0]
    near = (queries @ local_keys.permute(1, 2, 0)).float() + blocked[1]
    weights = F.softmax(torch.cat((far, near), dim=-1), dim=-1).to(states.dtype)
    split = blocked[0].shape[0]
    mixed = weights[..., :split] @ prefix[1].permute(1, 0, 2) + weights[..., split:] @ local_values.permute(1, 0, 2)
    mixed = mixed.view(config.kv_heads, groups, -1, dim).permute(2, 0, 1, 3)
    return attention.o_proj(mixed.reshape(-1, config.heads * dim)), keys, values


def rotated(heads: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Return (T, heads, head_dim) turned by rotary embeddings; Qwen2 pairs element d with d + head_dim / 2."""
    cosine, signed_sine = rotation
    first, second = heads.split(heads.shape[-1] // 2, dim=-1)
    return heads * cosine + torch.cat((second, first), dim=-1) * signed_sine


def rotation_of(positions: Tensor, config: LanguageConfig, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return cosine and sine, each (T, 1, head_dim), the sine with the sign that each half of a head takes it with."""
    cosine, sine = (part[0][:, None] for part in rotary(positions[None], config.head_dim, config.rope_theta, dtype))
    first, second = sine.split(config.head_dim // 2, dim=-1)
    return cosine, torch.cat((-first, second), dim=-1)
