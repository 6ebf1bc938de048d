"""What words mean: what a token that names a piece of furniture looks at, and what `<Pos>`, `<Ori>` and answers do.

A name looks at the patches that show it, and says where they lie; `<Pos>` looks at the name of what is nearest, `<Ori>`
at that of what is in front; an answer looks at the first and the last name in its question, and at `<Pos>` and `<Ori>`
if it is asked from somewhere, each with a part of the heads.

LLaVA-Video, from which the paper begins, finds what words name. A language model that begins with random weights
learns the bird's-eye view in minutes, but does not find the way from a word to what it names (docs/nano.md). These
lessons show it: half of the heads of some layers are taught where to look, as those of the pose prior are
(`train.matching`), the layout head is asked for the named thing's place, and the language model for its colour.
"""

from __future__ import annotations

from collections.abc import Iterator
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
ONE_COLOUR = 0.8
"""Share of what is seen of a thing beyond which a colour is the thing's."""


class Taught(NamedTuple):
    """Layers in which tokens are taught where to look.

    The first layer joins a colour and its noun, so that the second can tell what is named; by the middle one the
    patches know where they lie, and after it the words know, too. Answers come last: they need what words and poses
    know, and a layer to put it together.

    Attributes:
        words: where names look at patches.
        poses: where `<Pos>` and `<Ori>` look at names.
        answers: where answers look at names, and with the other half of the heads at poses.
    """

    words: list[int]
    poses: int
    answers: int

    @classmethod
    def of(cls, language: LanguageModel) -> Taught:
        """Return those of a language model."""
        last = len(language.layers) - 1
        middle = min(max(1, last // 2), last)
        poses = min(middle + 1, last)
        return cls(sorted({min(1, last), middle}), poses, max(poses, last - 1))

    @property
    def layers(self) -> set[int]:
        """All of them."""
        return {*self.words, self.poses, self.answers}


def attention_of(language: LanguageModel, layer: int) -> Qwen2Attention:
    """Return a layer's attention."""
    return cast(Qwen2Attention, language.layers[layer].self_attn)


def half_of(count: int, later: bool) -> slice:
    """Return the later or the earlier half of heads; one head is both."""
    return slice(count // 2, None) if later else slice(max(1, count // 2))


@contextmanager
def watching(language: LanguageModel) -> Iterator[dict[int, Inputs]]:
    """Keep the inputs of the taught layers' attention in the last pass."""
    inputs: dict[int, Inputs] = {}

    def watch(attention: nn.Module, _: tuple[Any, ...], given: Inputs) -> None:
        inputs[cast(Qwen2Attention, attention).layer_idx] = given

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
) -> Tensor:
    """Return the (B, heads / 2, M, P) log attention of tokens to P tokens of a cache, in half of the heads.

    Args:
        attention: of a taught layer.
        inputs: hidden states (B, S, width) and rotary embedding of a pass, as `watching` collects them.
        keys: (B, kv_heads, P, head_dim) of the layer's cache.
        columns: (B, M) of the tokens.
        seen: (B, M, P) bool, what each token sees; all where None.
        later: whether in the later half.
    """
    cosine, sine = (columns_of(part, columns)[:, None] for part in inputs["position_embeddings"])
    queries = attention.q_proj(columns_of(inputs["hidden_states"], columns))
    queries = queries.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
    queries = queries * cosine + rotate_half(queries) * sine
    keys = keys.repeat_interleave(attention.num_key_value_groups, dim=1)
    heads = half_of(queries.shape[1], later)
    look = (queries[:, heads] @ keys[:, heads].transpose(-1, -2).to(queries.dtype)).float() * attention.scaling
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
    """What tokens of texts refer to.

    Attributes:
        columns: (B, C) of the tokens.
        share: (B, G, C, S) of the texts' tokens in what each refers to, 1 in sum, for G groups of heads; 0 where it
            refers to nothing.
    """

    columns: Tensor
    share: Tensor


def pose_references(texts: Texts, where: Tensor, known: Tensor) -> Referred:
    """Return for `<Pos>` of each text the mention nearest to the described observer, for `<Ori>` the one most in front.

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
    mine = torch.cat((mine, mine), dim=1)
    nearest = torch.cat((offset.norm(dim=-1), aside), dim=1).masked_fill(~mine, torch.inf).argmin(dim=-1)
    chosen = mine & (torch.arange(mine.shape[-1], device=where.device) == nearest[..., None])
    columns = torch.cat((texts.position, texts.orientation), dim=1)
    return Referred(columns, _shared(texts, texts.named, chosen[:, None]))


def answer_references(texts: Texts) -> tuple[Referred, Referred]:
    """Return what the tokens that an answer follows refer to.

    First the names in the question: the first one for one group of heads, the last for the other, since what is asked
    is often how two things lie to each other. Then the pose that is asked from: `<Pos>` and `<Ori>`.
    """
    names = _shared(texts, texts.named, torch.stack(question_names(texts), dim=1))
    text = texts.text.gather(1, texts.before).clamp_min(0)
    asked = (texts.answer != UNSUPERVISED)[..., None]
    posed = asked & texts.posed.gather(1, text)[..., None]
    mine = posed & (torch.arange(texts.posed.shape[1], device=text.device) == text[..., None])
    poses = [_shared(texts, columns, mine[:, None]) for columns in (texts.position, texts.orientation)]
    return Referred(texts.before, names), Referred(texts.before, torch.cat(poses, dim=1))


def question_names(texts: Texts) -> tuple[Tensor, Tensor]:
    """Return (B, A, M) bool: of M mentions the first and the last in the question to each of A tokens of answers."""
    number = texts.text.gather(1, texts.before)
    named, begins = texts.named[:, None], texts.orientation.gather(1, number.clamp_min(0))
    question = (texts.answer != UNSUPERVISED)[..., None]
    question = question & (texts.text.gather(1, texts.named)[:, None] == number[..., None])
    question &= (named > begins[..., None]) & (named <= texts.before[..., None])
    order = question.long()
    return question & (order.cumsum(-1) == 1), question & (order.flip(-1).cumsum(-1).flip(-1) == 1)


def seen_from(texts: Texts, where: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the things that are asked about lie, seen from where it is asked, and how far from each other.

    Args:
        texts: with A tokens of answers and M mentions.
        where: (B, M, 2) places of what they name.
        known: (B, M) whether they are known.

    Returns:
        (B, A, 5) metres: forward and left of the first and of the last name, and the distance between both; and
        (B, A, 5) bool, what of that is known.
    """
    text = texts.text.gather(1, texts.before).clamp_min(0)
    pose, posed = columns_of(texts.pose, text), texts.posed.gather(1, text)
    cosine, sine = pose[..., 2].cos(), pose[..., 2].sin()
    places, there, views = [], [], []
    for names in question_names(texts):
        place = names.float() @ where
        ahead = place - pose[..., :2]
        forward, left = ahead[..., 0] * cosine + ahead[..., 1] * sine, ahead[..., 1] * cosine - ahead[..., 0] * sine
        places.append(place)
        there.append((names & known[:, None]).any(dim=-1))
        views += [forward, left]
    distance = (places[0] - places[1]).norm(dim=-1)
    seen = [there[0] & posed] * 2 + [there[1] & posed] * 2 + [there[0] & there[1]]
    return torch.stack([*views, distance], dim=-1), torch.stack(seen, dim=-1)


def _shared(texts: Texts, columns: Tensor, chosen: Tensor) -> Tensor:
    """Return (B, G, C, S) shares of 1 in the chosen one, (B, G, C, N) bool, of N columns (B, N)."""
    none = torch.zeros(*chosen.shape[:3], texts.ids.shape[1], device=chosen.device)
    return none.scatter_add(-1, columns[:, None, None].expand_as(chosen), chosen.float())


def refer_loss(
    attention: Qwen2Attention, inputs: Inputs, keys: Tensor, texts: Texts, to: Referred, later: bool = True
) -> Tensor:
    """Return the cross-entropy between where tokens of texts look and what they refer to.

    Args:
        attention: of the layer that is taught that.
        inputs: of its pass over the texts.
        keys: (B, kv_heads, P + S, head_dim) of the layer, for P tokens before the S tokens of the texts.
        texts: the texts.
        to: what is referred to.
        later: whether the later half of the heads is taught.
    """
    size = texts.ids.shape[1]
    before = keys.shape[2] - size
    own = texts.text[:, None] == texts.text.gather(1, to.columns)[..., None]
    own &= torch.arange(size, device=keys.device) <= to.columns[..., None]
    seen = torch.cat((own.new_ones(*own.shape[:2], before), own), dim=-1)
    return look_loss(log_look(attention, inputs, keys, to.columns, seen, later)[..., before:], to.share)


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


def shares(shows: Tensor, patches: int, pixels: float) -> Tensor:
    """Return (B, M, F, patches * patches): the share that each patch has in what is seen of each named thing.

    Args:
        shows: (B, M, F, R, R) bool.
        patches: along a side.
        pixels: side of a patch, in cells.
    """
    cells = torch.arange(shows.shape[-1], device=shows.device)
    within = (((cells + 0.5) / pixels).floor() == torch.arange(patches, device=shows.device)[:, None]).float()
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
