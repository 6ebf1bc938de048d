"""What words mean: what a token that names a piece of furniture looks at.

A name looks at the patches that show it, and says where they lie; what other tokens look at is in `train.references`.

LLaVA-Video, from which the paper begins, finds what words name. A language model that begins with random weights
learns the bird's-eye view in minutes, but does not find the way from a word to what it names (docs/nano.md). These
lessons show it: half of the heads of some layers are taught where to look, as those of the pose prior are
(`train.matching`), the layout head is asked for the named thing's place, and the language model for its colour.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention, rotate_half

from loc3r_ros.data.mentions import ANY_COLOUR
from loc3r_ros.data.suffixes import UNSUPERVISED
from loc3r_ros.model.language import LanguageModel
from loc3r_ros.model.losses import masked_mean
from loc3r_ros.train.packing import Texts

Inputs = dict[str, Any]
Passes = Mapping[int, list[Inputs]]
"""Layer -> the inputs of its attention in each pass."""
ONE_COLOUR = 0.8
"""Share of what is seen of a thing beyond which a colour is the thing's."""


class Taught(NamedTuple):
    """Layers in which tokens are taught where to look.

    The first layer joins a colour and its noun, so that the second can tell what is named; by the middle one the
    patches know where they lie, and after it the words know, too. Answers come last: they need what words and poses
    know, and two layers to put it together.

    Attributes:
        words: where names look at patches.
        poses: where `<Pos>` looks at the name of what is nearest, and `<Ori>` at that of what is in front.
        relations: where each looks at the other's, and with the other half of the heads at what is at the sides.
        answers: where answers look at names, and with the other half of the heads at poses.
        choices: where answers look at the name that is the answer.
    """

    words: list[int]
    poses: int
    relations: int
    answers: int
    choices: int

    @classmethod
    def of(cls, language: LanguageModel) -> Taught:
        """Return those of a language model."""
        last = len(language.layers) - 1
        middle = min(max(1, last // 2), last)
        poses = min(middle + 1, last)
        answers = max(poses, last - 1)
        return cls(sorted({min(1, last), middle}), poses, min(poses + 1, answers), answers, last)

    @property
    def layers(self) -> set[int]:
        """All of them."""
        return {*self.words, self.poses, self.relations, self.answers, self.choices}


def attention_of(language: LanguageModel, layer: int) -> Qwen2Attention:
    """Return a layer's attention."""
    return cast(Qwen2Attention, language.layers[layer].self_attn)


def half_of(count: int, later: bool) -> slice:
    """Return the later or the earlier half of heads; one head is both."""
    return slice(count // 2, None) if later else slice(max(1, count // 2))


@contextmanager
def watching(language: LanguageModel) -> Iterator[Passes]:
    """Keep the inputs of the taught layers' attention, pass by pass."""
    inputs: defaultdict[int, list[Inputs]] = defaultdict(list)

    def watch(attention: nn.Module, _: tuple[Any, ...], given: Inputs) -> None:
        inputs[cast(Qwen2Attention, attention).layer_idx].append(given)

    handles = [
        attention_of(language, layer).register_forward_pre_hook(watch, with_kwargs=True)
        for layer in Taught.of(language).layers
    ]
    try:
        yield inputs
    finally:
        for handle in handles:
            handle.remove()


def log_look(
    attention: Qwen2Attention,
    inputs: Inputs,
    keys: Tensor,
    columns: Tensor,
    seen: Tensor | None = None,
    later: bool = True,
    sharpness: float = 1.0,
) -> Tensor:
    """Return the (B, heads / 2, M, P) log attention of tokens to P tokens of a cache, in half of the heads.

    Args:
        attention: of a taught layer.
        inputs: hidden states (B, S, width) and rotary embedding of a pass, as `watching` collects them.
        keys: (B, kv_heads, P, head_dim) of the layer's cache.
        columns: (B, M) of the tokens.
        seen: (B, M, P) bool, what each token sees; all where None.
        later: whether in the later half.
        sharpness: of these heads: what is returned, to this power and 1 in sum again, is how they look.
    """
    cosine, sine = (columns_of(part, columns)[:, None] for part in inputs["position_embeddings"])
    queries = attention.q_proj(columns_of(inputs["hidden_states"], columns))
    queries = queries.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
    queries = queries * cosine + rotate_half(queries) * sine
    keys = keys.repeat_interleave(attention.num_key_value_groups, dim=1)
    heads = half_of(queries.shape[1], later)
    scale = attention.scaling / sharpness
    look = (queries[:, heads] @ keys[:, heads].transpose(-1, -2).to(queries.dtype)).float() * scale
    if seen is not None:
        look = look.masked_fill(~seen[:, None], torch.finfo(torch.float32).min)
    return look.log_softmax(dim=-1)


def look_loss(log_look: Tensor, share: Tensor) -> Tensor:
    """Return the cross-entropy between where tokens look and where they are to look.

    Args:
        log_look: (B, heads, M, P) of M tokens at P others, such as all frames' patches.
        share: (B, G, M, P) what each of G groups of heads is to look at, 1 in sum; 0 where a token is not taught.
    """
    entropy = -(share[:, :, None] * log_look.unflatten(1, (share.shape[1], -1))).sum(dim=-1).mean(dim=(1, 2))
    return masked_mean(entropy, share.sum(dim=(1, 3)) > 0)


def showing(category: Tensor, colour: Tensor, named: Tensor, coloured: Tensor) -> Tensor:
    """Return (B, M, F, R, R) bool, which cells of the pictures show each named thing.

    Args:
        category: (B, F, R, R) classes of the pictures' cells.
        colour: (B, F, R, R) their colours.
        named: (B, M) classes; NOTHING is shown nowhere.
        coloured: (B, M) colours, ANY_COLOUR where all will do.
    """
    shows = category[:, None] == named[..., None, None, None]
    wanted = coloured[..., None, None, None]
    return shows & ((wanted == ANY_COLOUR) | (colour[:, None] == wanted))


def mean_over(shows: Tensor, values: Tensor, hit: Tensor) -> tuple[Tensor, Tensor]:
    """Return (B, M, N) the means of values over the cells that show each named thing, and (B, M) bool if any does.

    Args:
        shows: (B, M, F, R, R) bool.
        values: (B, F * R * R, N).
        hit: (B, F * R * R) bool whether a cell has a value.
    """
    weight = (shows.flatten(2) & hit[:, None]).to(values.dtype)
    total = weight.sum(dim=-1)
    return weight @ values / total.clamp_min(1.0)[..., None], total > 0


def cells_within(cells: int, patches: int, pixels: float, device: torch.device) -> Tensor:
    """Return (patches, cells), along a side, 1 where a cell's middle lies in a patch and 0 elsewhere.

    Args:
        cells: along a side.
        patches: along a side.
        pixels: side of a patch, in cells.
        device: of the result.
    """
    middles = torch.arange(cells, device=device) + 0.5
    return ((middles / pixels).floor() == torch.arange(patches, device=device)[:, None]).float()


def shares(shows: Tensor, patches: int, pixels: float) -> Tensor:
    """Return (B, M, F, patches * patches): the share that each patch has in what is seen of each named thing.

    Args:
        shows: (B, M, F, R, R) bool.
        patches: along a side.
        pixels: side of a patch, in cells.
    """
    within = cells_within(shows.shape[-1], patches, pixels, shows.device)
    seen = torch.einsum("pr,bmfrc,qc->bmfpq", within, shows.float(), within).flatten(3)
    return seen / seen.sum(dim=(2, 3), keepdim=True).clamp_min(1.0)


def colour_words(shows: Tensor, colour: Tensor, words: Tensor, texts: Texts) -> Tensor:
    """Return (B, M) the word for the colour of each named thing.

    UNSUPERVISED where it is not seen or has many, and where the name is part of an answer, which goes on otherwise.

    Args:
        shows: (B, M, F, R, R) bool.
        colour: (B, F, R, R) colours of the pictures' cells.
        words: (K,) of each colour.
        texts: that name the things.
    """
    each = (colour.flatten(1)[..., None] == torch.arange(len(words), device=words.device)).float()
    counts = shows.flatten(2).float() @ each
    most, best = counts.max(dim=-1)
    followed = (texts.named[..., None] == texts.before[:, None]) & (texts.answer != UNSUPERVISED)[:, None]
    known = (most > ONE_COLOUR * counts.sum(dim=-1)) & ~followed.any(dim=-1)
    return torch.where(known, words[best], UNSUPERVISED)


def columns_of(values: Tensor, columns: Tensor) -> Tensor:
    """Return (B, M, ...) the values (B or 1, S, width) at columns (B, M)."""
    return values.expand(len(columns), -1, -1).gather(1, columns[..., None].expand(-1, -1, values.shape[-1]))
