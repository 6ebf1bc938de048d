"""What tokens of texts refer to: `<Pos>` and `<Ori>` to what the situation names, answers to what the question asks."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention

from loc3r_ros.data.mentions import FIRST_SIDE
from loc3r_ros.data.suffixes import UNSUPERVISED
from loc3r_ros.train.grounding import Inputs, columns_of, log_look, look_loss
from loc3r_ros.train.packing import Texts


class Referred(NamedTuple):
    """What tokens of texts refer to.

    Attributes:
        columns: (B, C) of the tokens.
        share: (B, G, C, S) of the texts' tokens in what each refers to, 1 in sum, for G groups of heads; 0 where it
            refers to nothing.
    """

    columns: Tensor
    share: Tensor


class PoseNames(NamedTuple):
    """The mentions, of M, that K described poses refer to.

    Attributes:
        columns: (B, 2 K) of `<Pos>` and `<Ori>`.
        first: (B, 2 K, M) bool, for `<Pos>` the one nearest to the observer, for `<Ori>` the one most in front.
        sides: (B, 2, K, M) bool, which of the others are on the left, and on the right; where none is, those behind.
    """

    columns: Tensor
    first: Tensor
    sides: Tensor


def pose_names(texts: Texts, where: Tensor, known: Tensor) -> PoseNames:
    """Return the mentions that poses refer to.

    Args:
        texts: with K poses and M mentions.
        where: (B, M, 2) places of what they name.
        known: (B, M) whether they are known.
    """
    number = torch.arange(texts.posed.shape[1], device=where.device)[None, :, None]
    mine = (texts.text.gather(1, texts.named)[:, None] == number) & known[:, None] & texts.posed[..., None]
    mine &= texts.named[:, None] < texts.position[..., None]
    offset = where[:, None] - texts.pose[:, :, None, :2]
    turn = torch.atan2(offset[..., 1], offset[..., 0]) - texts.pose[:, :, None, 2]
    ahead, left = turn.cos(), turn.sin()
    nearest, faced = (_least(away, mine) for away in (offset.norm(dim=-1), 1 - ahead))
    rest = mine & ~nearest & ~faced
    behind = rest & (ahead < -left.abs())
    flanks = [rest & (side > ahead.abs()) for side in (left, -left)]
    sides = [torch.where(flank.any(dim=-1, keepdim=True), flank, behind) for flank in flanks]
    columns = torch.cat((texts.position, texts.orientation), dim=1)
    return PoseNames(columns, torch.cat((nearest, faced), dim=1), torch.stack(sides, dim=1))


def _least(values: Tensor, among: Tensor) -> Tensor:
    """Return (B, K, M) bool, of M values (B, K, M) the least among some, (B, K, M) bool; none where there are none."""
    least = values.masked_fill(~among, torch.inf).argmin(dim=-1)
    return among & (torch.arange(among.shape[-1], device=among.device) == least[..., None])


def pose_references(texts: Texts, names: PoseNames) -> tuple[Referred, Referred, Referred]:
    """Return what `<Pos>` and `<Ori>` refer to first, then, and besides.

    First each to its own, then to the other's: on which side of the one the observer stands, and the heading, are told
    by where both lie. Besides one group of heads to what is on the left and the other to what is on the right, since
    two things tell hardly where the observer stands between them; a third does.
    """
    others = torch.cat(names.first.chunk(2, dim=1)[::-1], dim=1)
    groups = (names.first[:, None], others[:, None], names.sides.repeat(1, 1, 2, 1))
    first, then, besides = (_shared(texts, texts.named, group) for group in groups)
    besides = besides / besides.sum(dim=-1, keepdim=True).clamp_min(1.0)
    return Referred(names.columns, first), Referred(names.columns, then), Referred(names.columns, besides)


def poses_apart(texts: Texts, names: PoseNames, where: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far apart poses and what they refer to first lie, which no error of a map changes.

    Args:
        texts: with K poses and M mentions.
        names: that they refer to.
        where: (B, M, 2) places of what is mentioned.

    Returns:
        (B, 2 K, 2) metres along the anchor's axes, for `<Pos>` from what is nearest to the observer, for `<Ori>` from
        there to what is in front; and (B, 2 K) bool whether that is known.
    """
    here = texts.pose[..., :2]
    nearest, faced = (names.first.float() @ where).chunk(2, dim=1)
    return torch.cat((here - nearest, faced - here), dim=1), names.first.any(dim=-1)


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


def chosen_names(texts: Texts) -> Referred:
    """Return for the tokens that an answer follows the name in the question that is the answer, if one of them is."""
    number = texts.text.gather(1, texts.before)
    theirs = texts.text.gather(1, texts.named)
    answers = (texts.named[:, :, None] == texts.before[:, None] + 1) & (texts.answer != UNSUPERVISED)[:, None]
    answered = answers.any(dim=-1)
    same = (theirs[:, :, None] == theirs[:, None]) & (texts.category[:, :, None] == texts.category[:, None])
    asked = (texts.named > texts.orientation.gather(1, theirs.clamp_min(0))) & ~answered
    right = asked & (same & answered[:, None]).any(dim=-1)
    chosen = right[:, None] & (theirs[:, None] == number[..., None]) & (texts.answer != UNSUPERVISED)[..., None]
    return Referred(texts.before, _shared(texts, texts.named, chosen[:, None]))


def towards(texts: Texts, seen: Tensor) -> Tensor:
    """Return how much what is asked about lies at the side that is asked about; where none is, in front.

    Args:
        texts: with A tokens of answers.
        seen: (B, A, 5), of `seen_from`.

    Returns:
        (B, A) cosine of the angle between the side and where the first name lies.
    """
    _, last = question_names(texts)
    side = ((texts.category - FIRST_SIDE).clamp_min(0)[:, None] * last).sum(dim=-1) * (math.pi / 2)
    ahead = F.normalize(seen[..., :2], dim=-1)
    return ahead[..., 0] * side.cos() + ahead[..., 1] * side.sin()


def named_amounts(texts: Texts) -> tuple[Tensor, Tensor]:
    """Return (B, M) the amounts (see `Suffix`) of what M mentions name, and (B, M) bool whether they are known."""
    amount = _amount_at(texts, texts.named)
    return amount, (amount > 0) & (texts.category >= 0)


def asked_amounts(texts: Texts) -> tuple[Tensor, Tensor]:
    """Return (B, A) the amounts (see `Suffix`) that A tokens of answers are asked for, and (B, A) whether they are."""
    amount = _amount_at(texts, texts.before)
    return amount, (amount > 0) & (texts.answer != UNSUPERVISED)


def _amount_at(texts: Texts, columns: Tensor) -> Tensor:
    """Return (B, N) the amounts that the texts of N columns (B, N) are about."""
    return texts.amount.gather(1, texts.text.gather(1, columns).clamp_min(0))


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
