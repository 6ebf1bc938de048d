"""What words mean: what a token that names a piece of furniture looks at, and what `<Pos>` and `<Ori>` look at.

A name looks at the patches that show it, and says where they lie; `<Pos>` looks at the name of what is nearest, `<Ori>`
at that of what is in front.

LLaVA-Video, from which the paper begins, finds what words name. A language model that begins with random weights
learns the bird's-eye view in minutes, but does not find the way from a word to what it names (docs/nano.md). These
lessons show it: half of the heads of some layers are taught where to look, as those of the pose prior are
(`train.matching`), and the layout head is asked for the named thing's place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention, rotate_half

from loc3r_ros.data.mentions import ANY_COLOUR
from loc3r_ros.model.language import LanguageModel
from loc3r_ros.model.losses import masked_mean
from loc3r_ros.train.packing import Texts

Inputs = dict[str, Any]


def taught(language: LanguageModel) -> tuple[list[int], int]:
    """Return the layers in which words are taught where to look, and the one in which `<Pos>` and `<Ori>` are.

    The first layer joins a colour and its noun, so that the second can tell what is named; by the middle one the
    patches know where they lie, and after it the words know, too.
    """
    middle = len(language.layers) // 2
    return sorted({1, middle}), min(middle + 1, len(language.layers) - 1)


def attention_of(language: LanguageModel, layer: int) -> Qwen2Attention:
    """Return a layer's attention."""
    return cast(Qwen2Attention, language.layers[layer].self_attn)


@contextmanager
def watching(language: LanguageModel) -> Iterator[dict[int, Inputs]]:
    """Keep the inputs of the taught layers' attention in the last pass."""
    inputs: dict[int, Inputs] = {}

    def watch(attention: nn.Module, _: tuple[Any, ...], given: Inputs) -> None:
        inputs[cast(Qwen2Attention, attention).layer_idx] = given

    words, pose = taught(language)
    handles = [
        attention_of(language, layer).register_forward_pre_hook(watch, with_kwargs=True) for layer in {*words, pose}
    ]
    try:
        yield inputs
    finally:
        for handle in handles:
            handle.remove()


def log_look(
    attention: Qwen2Attention, inputs: Inputs, keys: Tensor, columns: Tensor, seen: Tensor | None = None
) -> Tensor:
    """Return the (B, heads / 2, M, P) log attention of tokens to P tokens of a cache, in the later heads.

    Args:
        attention: of a taught layer.
        inputs: hidden states (B, S, width) and rotary embedding of a pass, as `watching` collects them.
        keys: (B, kv_heads, P, head_dim) of the layer's cache.
        columns: (B, M) of the tokens.
        seen: (B, M, P) bool, what each token sees; all where None.
    """
    cosine, sine = (columns_of(part, columns)[:, None] for part in inputs["position_embeddings"])
    queries = attention.q_proj(columns_of(inputs["hidden_states"], columns))
    queries = queries.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
    queries = queries * cosine + rotate_half(queries) * sine
    keys = keys.repeat_interleave(attention.num_key_value_groups, dim=1)
    half = queries.shape[1] // 2
    look = (queries[:, half:] @ keys[:, half:].transpose(-1, -2).to(queries.dtype)).float() * attention.scaling
    if seen is not None:
        look = look.masked_fill(~seen[:, None], torch.finfo(torch.float32).min)
    return look.log_softmax(dim=-1)


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


class Referred(NamedTuple):
    """What `<Pos>` and `<Ori>` of each text refer to, those of all positions first.

    Attributes:
        columns: (B, 2 K) of the tokens.
        names: (B, 2 K) columns of the mentions that they refer to.
        known: (B, 2 K) whether there is one.
    """

    columns: Tensor
    names: Tensor
    known: Tensor


def referred(texts: Texts, where: Tensor, known: Tensor) -> Referred:
    """Return the mention nearest to each described observer, for `<Pos>`, and the one most in front, for `<Ori>`.

    Args:
        texts: with M mentions.
        where: (B, M, 2) places of what they name.
        known: (B, M) whether they are known.
    """
    number = torch.arange(texts.posed.shape[1], device=where.device)[None, :, None]
    mine = (texts.text.gather(1, texts.named)[:, None] == number) & known[:, None] & texts.posed[..., None]
    mine &= texts.named[:, None] < texts.position[..., None]
    offset = where[:, None] - texts.pose[:, :, None, :2]
    turn = torch.atan2(offset[..., 1], offset[..., 0]) - texts.pose[:, :, None, 2]
    aside = 1 - turn.cos()
    far = torch.cat((offset.norm(dim=-1), aside), dim=1).masked_fill(~torch.cat((mine, mine), dim=1), torch.inf)
    names = texts.named.gather(1, far.argmin(dim=-1))
    return Referred(torch.cat((texts.position, texts.orientation), dim=1), names, mine.any(dim=-1).repeat(1, 2))


def refer_loss(attention: Qwen2Attention, inputs: Inputs, keys: Tensor, texts: Texts, to: Referred) -> Tensor:
    """Return the cross-entropy between where `<Pos>` and `<Ori>` look and what they refer to.

    Args:
        attention: of the layer that is taught that.
        inputs: of its pass over the texts.
        keys: (B, kv_heads, P + S, head_dim) of the layer, for P tokens before the S tokens of the texts.
        texts: the texts.
        to: what is referred to.
    """
    size = texts.ids.shape[1]
    before = keys.shape[2] - size
    own = texts.text[:, None] == texts.text.gather(1, to.columns)[..., None]
    own &= torch.arange(size, device=keys.device) <= to.columns[..., None]
    seen = torch.cat((own.new_ones(*own.shape[:2], before), own), dim=-1)
    look = log_look(attention, inputs, keys, to.columns, seen)
    at = (before + to.names)[:, None, :, None].expand(-1, look.shape[1], -1, 1)
    return masked_mean(-look.gather(-1, at).squeeze(-1).mean(dim=1), to.known)


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
