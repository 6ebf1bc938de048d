"""What words mean: a token that names a piece of furniture looks at the patches that show it, and says where they lie.

LLaVA-Video, from which the paper begins, finds what words name. A language model that begins with random weights
learns the bird's-eye view in minutes, but does not find the way from a word to what it names (docs/nano.md). These
lessons show it: half of the heads of two layers are taught where to look, as those of the pose prior are
(`train.matching`), and the layout head is asked for the named thing's place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention, rotate_half

from loc3r_ros.data.mentions import ANY_COLOUR
from loc3r_ros.model.language import KeyValues, LanguageModel
from loc3r_ros.model.losses import masked_mean

Inputs = dict[str, Any]


def taught(language: LanguageModel) -> dict[int, Qwen2Attention]:
    """Return the layers that are taught where to look, and their attention.

    The first layer joins a colour and its noun, so that the second can tell what is named; by the middle one the
    patches know where they lie.
    """
    layers = sorted({1, len(language.layers) // 2})
    return {layer: cast(Qwen2Attention, language.layers[layer].self_attn) for layer in layers}


@contextmanager
def watching(language: LanguageModel) -> Iterator[dict[int, Inputs]]:
    """Keep the inputs of the taught layers' attention in the last pass."""
    inputs: dict[int, Inputs] = {}

    def watch(attention: nn.Module, _: tuple[Any, ...], given: Inputs) -> None:
        inputs[cast(Qwen2Attention, attention).layer_idx] = given  # type: ignore[index]

    handles = [attention.register_forward_pre_hook(watch, with_kwargs=True) for attention in taught(language).values()]
    try:
        yield inputs
    finally:
        for handle in handles:
            handle.remove()


def log_look(attention: Qwen2Attention, inputs: Inputs, cache: KeyValues, columns: Tensor) -> Tensor:
    """Return the (B, heads / 2, M, P) log attention of tokens to the P tokens of a cache, in the later heads.

    Args:
        attention: of a taught layer.
        inputs: hidden states (B, S, width) and rotary embedding of a pass, as `watching` collects them.
        cache: the layer's keys.
        columns: (B, M) of the tokens.
    """
    cosine, sine = (columns_of(part, columns)[:, None] for part in inputs["position_embeddings"])
    queries = attention.q_proj(columns_of(inputs["hidden_states"], columns))
    queries = queries.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
    queries = queries * cosine + rotate_half(queries) * sine
    keys = cache.keys.repeat_interleave(attention.num_key_value_groups, dim=1)
    half = queries.shape[1] // 2
    look = queries[:, half:] @ keys[:, half:].transpose(-1, -2).to(queries.dtype)
    return (look.float() * attention.scaling).log_softmax(dim=-1)


def look_loss(log_look: Tensor, shown: Tensor) -> Tensor:
    """Return the cross-entropy between where mentions look and the patches that show what they name.

    Args:
        log_look: (B, heads, M, patches) of all frames' patches.
        shown: (B, M, patches) share of each patch, 1 in sum; 0 where nothing is shown.
    """
    entropy = -(shown[:, None] * log_look).sum(dim=-1).mean(dim=1)
    return masked_mean(entropy, shown.sum(dim=-1) > 0)


def places(shown: Tensor, layout: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Return (B, M, 2) where the named things lie, and (B, M) bool whether that is known.

    Args:
        shown: (B, M, patches).
        layout: (B, patches, 2) metres.
        valid: (B, patches) bool.
    """
    weight = shown * valid[:, None]
    total = weight.sum(dim=-1)
    where = torch.where(valid[..., None], layout, torch.zeros_like(layout))
    return weight @ where / total.clamp_min(1e-6)[..., None], total > 0


def shares(category: Tensor, colour: Tensor, named: Tensor, coloured: Tensor, patches: int, pixels: float) -> Tensor:
    """Return (B, M, F, patches * patches): the share that each patch has in what is seen of each named thing.

    Args:
        category: (B, F, R, R) classes of the pictures' cells.
        colour: (B, F, R, R) their colours.
        named: (B, M) classes; NOTHING is shown nowhere.
        coloured: (B, M) colours, ANY_COLOUR where all will do.
        patches: along a side.
        pixels: side of a patch, in cells.
    """
    shows = category[:, None] == named[..., None, None, None]
    wanted = coloured[..., None, None, None]
    shows &= (wanted == ANY_COLOUR) | (colour[:, None] == wanted)
    cells = torch.arange(category.shape[-1], device=category.device)
    within = ((cells + 0.5) / pixels).floor() == torch.arange(patches, device=category.device)[:, None]
    seen = torch.einsum("pr,bmfrc,qc->bmfpq", within.float(), shows.float(), within.float()).flatten(3)
    return seen / seen.sum(dim=(2, 3), keepdim=True).clamp_min(1.0)


def columns_of(values: Tensor, columns: Tensor) -> Tensor:
    """Return (B, M, ...) the values (B or 1, S, width) at columns (B, M)."""
    return values.expand(len(columns), -1, -1).gather(1, columns[..., None].expand(-1, -1, values.shape[-1]))
