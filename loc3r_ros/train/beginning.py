"""How the language model begins where it learns from nothing."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention

from loc3r_ros.data.mentions import Names, Words, only_id
from loc3r_ros.data.suffixes import UNSUPERVISED
from loc3r_ros.model.language import LanguageModel, frequencies
from loc3r_ros.model.loc3r import Loc3R
from loc3r_ros.prompt.tokenizer import TextTokenizer
from loc3r_ros.train.grounding import Taught, attention_of, half_of
from loc3r_ros.train.lessons import SHARPNESS, readings
from loc3r_ros.world.furniture import CATEGORIES
from loc3r_ros.world.language import plural

EMBEDDING = 0.3
"""Standard deviation of what enters the first layer: words, newlines, projected patches and cameras."""
LOGITS = 0.0625
"""Of a word's weights times the last norm, so that the first guesses at words are nearly even."""
SHARED, FORM = 0.8, 0.4
"""Parts that the forms of a word share, and that one form of all words shares, in what enters; the rest is its own."""
HEAD = 0.1
"""Of the last layers of the heads, against what keeps their size."""
NEARNESS = 3.5
"""Bias of queries and keys of the heads that look back: over half of their attention falls on the token before."""
FAINT = 0.3
"""Weight of the contents in those heads."""
COPIED = 0.25
"""Size of what a taught head hands on, of what it looks at."""
SAID = {"forward": (0, 1), "backward": (0, -1), "left": (1, 1), "right": (1, -1), "yes": (2, 1), "no": (2, -1)}
"""Words that say what answers know: number of the direction (forward, left, towards a side), and its sign."""
ALONG = 3.0
"""Size of the part of these words that lies along the direction."""
SLOWEST = 0.015
"""Rotation per token, radians, below which a pair of channels says too little of where its neighbours stand."""


@torch.no_grad()
def begin_reading(model: Loc3R, tokenizer: TextTokenizer) -> None:
    """Set the weights of a new model but its vision tower, so that what a token is can be read in every layer.

    Qwen2's own 0.02 suits wide models. In a narrow one it drowns the embeddings after one layer, and what the deeper
    layers are to match is lost. Here linear layers keep the size of what they get, and the 2 L additions to the
    residual stream share one unit (Radford et al., "GPT-2", 2019). Half of the first layer's heads look at the token
    before, which every language model learns to do and which joins "red" and "sofa"; from random weights that takes
    longer than all the rest (docs/nano.md). The forms of a word begin alike: " red" is asked about, "red" is answered,
    and without that each answer would have to be learnt as a new word. Heads that are taught where to look hand on
    what they find there, in the words for it and as the layout head reads it, so that what patches know names will
    know, and then poses and answers. The random numbers are torch's global ones.
    """
    language = model.language
    additions = 2 * len(language.layers)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and not name.startswith("vision."):
            shrink = additions**-0.5 if name.endswith(("o_proj", "down_proj")) else 1.0
            _draw(module, shrink)
    for mlp in (model.projector, model.camera):
        if mlp is not None:
            _draw(mlp[-1], EMBEDDING)
    for head in (model.heads.layout, model.heads.position[-1], model.heads.orientation[-1]):
        _draw(head, HEAD)
    nn.init.normal_(language.embed_tokens.weight, std=EMBEDDING)
    _share_words(language.embed_tokens.weight, word_forms(tokenizer))
    _say(language.embed_tokens.weight, tokenizer)
    nn.init.normal_(model.newline, std=EMBEDDING)
    nn.init.constant_(language.norm.weight, LOGITS / EMBEDDING)
    _look_back(language)
    _hand_on(model, Names.of(tokenizer))


class Form(NamedTuple):
    """A word as a token.

    Attributes:
        token: its id.
        word: number of the word.
        kind: number of the form: with a space before it or not, with a capital or not, one piece of furniture or many.
    """

    token: int
    word: int
    kind: int


def word_forms(tokenizer: TextTokenizer) -> list[Form]:
    """Return the words of a vocabulary, such as " red", "red" and "Red"; " sofas" is a form of "sofa"."""
    words: dict[str, int] = {}
    singular = {plural(name).lower(): name.lower() for name in CATEGORIES}
    forms = []
    for token in range(tokenizer.size):
        text = tokenizer.decode([token])
        if (word := text.removeprefix(" ")).isalpha():
            one = singular.get(word.lower(), word.lower())
            kind = 4 * (one != word.lower()) + 2 * text.startswith(" ") + word[0].isupper()
            forms.append(Form(token, words.setdefault(one, len(words)), kind))
    return forms


def _share_words(embeddings: Tensor, forms: list[Form]) -> None:
    if not forms:
        return
    tokens, word, kind = torch.tensor(forms).T
    parts = [torch.randn(int(which.max()) + 1, embeddings.shape[1]) * EMBEDDING for which in (word, kind)]
    own = math.sqrt(1 - SHARED**2 - FORM**2)
    embeddings[tokens] = SHARED * parts[0][word] + FORM * parts[1][kind] + own * embeddings[tokens]


def _say(embeddings: Tensor, tokenizer: TextTokenizer) -> None:
    """Let the words for what answers know begin along the directions in which they know it (`train.lessons`)."""
    known = readings(embeddings.shape[1])
    directions = torch.cat((known.seen[:, :2], known.side[:, None]), dim=1)
    for word, (number, sign) in SAID.items():
        if (token := only_id(tokenizer, word)) != UNSUPERVISED:
            embeddings[token] += sign * ALONG * directions[:, number]


def _look_back(language: LanguageModel) -> None:
    """Let half of the first layer's heads look at the token before: equal biases, the query's turned by one place."""
    attention = cast(Qwen2Attention, language.layers[0].self_attn)
    key, query = neighbour_biases(language.config.head_dim, language.config.rope_theta)
    shared = max(1, language.config.kv_heads // 2)
    heads = shared * attention.num_key_value_groups
    for projection, bias, count in ((attention.k_proj, key, shared), (attention.q_proj, query, heads)):
        rows = count * attention.head_dim
        projection.weight[:rows] *= FAINT
        projection.bias[:rows] = bias.repeat(count)


def _hand_on(model: Loc3R, names: Names) -> None:
    """Let the taught half of the heads copy the part of what they look at that says what it is and where.

    Names get it in the directions that it has in patches, so do poses from the first name that they refer to, and
    answers from the first name and at last from that which they choose. A pose's other names, the last name, `<Pos>`
    and `<Ori>` go to directions of their own: a layer can put together what it can tell apart.
    """
    language, config = model.language, model.language.config
    named = [_words(language.embed_tokens.weight, words) for words in (names.colour, names.category)]
    known = readings(config.hidden_size)
    own_words = (known.amount[None], known.front.T)
    blocks = _blocks(torch.cat((model.heads.layout.weight, *own_words, *named)), config.head_dim)
    taught = Taught.of(language)
    for layer in {*taught.words, taught.poses}:
        _copy(attention_of(language, layer), True, blocks[0], (blocks[0], blocks[0]))
    _sharpen(attention_of(language, taught.words[-1]))
    own = [blocks[number % len(blocks)] for number in range(4)]
    if taught.poses < taught.relations < taught.answers:
        relations = attention_of(language, taught.relations)
        _copy(relations, True, own[0], (own[1], own[1]))
        _copy(relations, False, own[0], (own[2], own[3]))
    answers = attention_of(language, taught.answers)
    _copy(answers, True, own[0], (own[0], own[1]))
    _copy(answers, False, own[0], (own[2], own[3]))
    if taught.choices > taught.answers:
        _copy(attention_of(language, taught.choices), True, own[0], (own[0], own[0]))


def _copy(attention: Qwen2Attention, later: bool, read: Tensor, written: tuple[Tensor, Tensor]) -> None:
    """Let half of the heads read (head_dim, width) directions, and each half of those write it to other ones."""
    values = attention.v_proj.weight.unflatten(0, (-1, attention.head_dim))
    outputs = attention.o_proj.weight.unflatten(1, (-1, attention.head_dim))
    values[half_of(len(values), later)] = read
    heads = range(outputs.shape[1])[half_of(outputs.shape[1], later)]
    for number, head in enumerate(heads):
        outputs[:, head] = written[2 * number // len(heads)].T * COPIED


def _sharpen(attention: Qwen2Attention) -> None:
    """Let the later half of the heads look as sharply as they are taught to."""
    for part in (attention.q_proj.weight, attention.q_proj.bias):
        heads = part.unflatten(0, (-1, attention.head_dim))
        heads[half_of(len(heads), later=True)] *= SHARPNESS


def _words(embeddings: Tensor, words: Words) -> Tensor:
    """Return (meanings, width) what the forms of each word begin with."""
    forms: defaultdict[int, set[int]] = defaultdict(set)
    for ids, meaning in words.items():
        forms[meaning].add(ids[-1])
    means = [embeddings[sorted(forms[meaning])].mean(dim=0) for meaning in sorted(forms)]
    return torch.stack(means) if means else embeddings[:0]


def _blocks(directions: Tensor, size: int) -> Tensor:
    """Return (width / size, size, width) orthonormal rows; those of the first block span (N, width) directions."""
    width = directions.shape[1]
    rows = torch.cat((directions, torch.randn(width, width)))[:width]
    return torch.linalg.qr(rows.T)[0].T[: width // size * size].unflatten(0, (-1, size))


def neighbour_biases(head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Return the (head_dim,) biases of keys and queries whose product, rotated, is largest one token back."""
    turns = frequencies(head_dim, theta)
    size = NEARNESS * (turns > SLOWEST)
    key = torch.cat((size, torch.zeros_like(size)))
    return key, torch.cat((size * turns.cos(), -size * turns.sin()))


def _draw(linear: nn.Module, size: float) -> None:
    assert isinstance(linear, nn.Linear)
    nn.init.normal_(linear.weight, std=size / math.sqrt(linear.in_features))
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
