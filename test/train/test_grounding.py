"""Words are taught to look at what they name."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from loc3r_ros.data.dense import CLASSES, COLOUR_NAMES
from loc3r_ros.data.mentions import ANY_COLOUR, NOTHING, Names
from loc3r_ros.data.suffixes import UNSUPERVISED
from loc3r_ros.model import language as language_module
from loc3r_ros.prompt.tokenizer import TextTokenizer
from loc3r_ros.resources import find_resource
from loc3r_ros.train.config import JointConfig
from loc3r_ros.train.grounding import (
    Taught,
    answer_references,
    attention_of,
    colour_words,
    columns_of,
    log_look,
    look_loss,
    places,
    pose_references,
    question_names,
    refer_loss,
    seen_from,
    shares,
    showing,
    watching,
)
from loc3r_ros.train.joint_stage import JointStage
from loc3r_ros.train.plan import tasks_at
from loc3r_ros.train.stages import joint_source


@pytest.fixture(scope="module")
def lesson(tiny_model, recipe, batch_of):
    """A stage with lessons and a batch of it; its tokenizer has no words, so that its letter "o" names the floor."""
    config = recipe(from_scratch=False, joint=JointConfig(suffixes=3, grounding=0.5, mirror=True))
    stage = JointStage(joint_source(config, tiny_model), config)
    batch_of(stage, tasks_at(config, 0))
    (letter,) = stage.source.tokenizer.encode("o", 1)
    names = Names({(letter,): CLASSES.index("floor")}, {}, answers=tuple(range(len(COLOUR_NAMES))))
    stage.loader = replace(stage.loader, names=names)
    return stage, batch_of(stage, tasks_at(config, 0))


def test_furniture_is_found_in_ids():
    tokenizer = TextTokenizer.load(find_resource("models/nano"))
    ids = np.array(tokenizer.encode("The red sofa is by a bin. How many chairs? TV, blue box", 99))
    found = Names.of(tokenizer).find(ids)
    named = [
        (CLASSES[category], "" if colour == ANY_COLOUR else COLOUR_NAMES[colour])
        for category, colour in zip(found.category, found.colour, strict=True)
    ]
    assert named == [("sofa", "red"), ("bin", ""), ("TV", ""), ("box", "blue")]
    assert [tokenizer.decode([int(ids[at])]).strip() for at in found.column] == ["sofa", "bin", "V", "box"]


def test_each_patch_has_its_share():
    category = torch.full((1, 2, 5, 5), -100)
    colour = category.clone()
    category[0, 0, 0, :4] = 3  # two cells in each of two patches
    category[0, 1, 4, 4] = 3
    colour[0, 0, 0, :4], colour[0, 1, 4, 4] = 1, 2
    category[0, 1, 0, 0] = 5
    named, coloured = torch.tensor([[3, 3, 7, NOTHING]]), torch.tensor([[ANY_COLOUR, 2, ANY_COLOUR, ANY_COLOUR]])
    shown = shares(showing(category, colour, named, coloured), patches=2, pixels=2.5)[0]
    # the middle of cell 2 lies on the border and belongs to the patch behind it
    torch.testing.assert_close(shown[0], torch.tensor([[0.4, 0.4, 0, 0], [0, 0, 0, 0.2]]))
    torch.testing.assert_close(shown[1], torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1.0]]))
    assert (shown[2:] == 0).all()


def test_things_have_the_colour_that_is_seen_of_them(lesson):
    category, colour = torch.full((1, 1, 3, 3), -100), torch.full((1, 1, 3, 3), -100)
    category[0, 0, 0], colour[0, 0, 0] = 3, 1
    category[0, 0, 1], colour[0, 0, 1] = 4, torch.tensor([0, 1, 2])  # of many colours
    named, words = torch.tensor([[3, 4, 5, 3]]), torch.tensor([10, 11, 12])
    texts = lesson[1].texts._replace(
        named=torch.tensor([[1, 2, 3, 7]]), before=torch.tensor([[6, 7]]), answer=torch.tensor([[20, 21]])
    )
    shows = showing(category, colour, named, torch.full((1, 4), ANY_COLOUR))
    assert colour_words(shows, colour, words, texts).tolist() == [[11, UNSUPERVISED, UNSUPERVISED, UNSUPERVISED]]


def test_named_things_lie_where_their_patches_do():
    shown = torch.tensor([[[0.5, 0.25, 0.25], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]])
    layout = torch.tensor([[[1.0, 0.0], [4.0, 3.0], [torch.nan, torch.nan]]])
    where, known = places(shown, layout, torch.tensor([[True, True, False]]))
    assert known.tolist() == [[True, False, False]]
    torch.testing.assert_close(where[0, 0], torch.tensor([2.0, 1.0]))


def test_the_lesson_is_least_where_words_look_at_what_they_name():
    shown = torch.tensor([[[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]])
    looks = [torch.tensor(weights).log().expand(1, 2, 2, 3) for weights in ([0.5, 0.5, 1e-6], [0.6, 0.3, 0.1])]
    right, wrong = (float(look_loss(look, shown[:, None])) for look in looks)
    assert right == pytest.approx(np.log(2)) and wrong > right + 0.1


@torch.no_grad()
def test_what_is_taught_is_the_attention_that_the_layer_pays(lesson, monkeypatch):
    stage, batch = lesson
    module, language = stage.module.eval(), stage.module.model.language
    layer = Taught.of(language).words[0]
    attention, paid = attention_of(language, layer), payments(language, layer, monkeypatch)
    with watching(language) as inputs:
        _, text, cache = module.hidden(batch)
    video = cache[layer].keys.shape[2] - text.shape[1]
    look = log_look(attention, inputs[layer], cache[layer].keys[:, :, :video], batch.texts.named).exp()
    weights = paid[-1][:, look.shape[1] :, :, :video]  # the later heads
    weights = weights / weights.sum(dim=-1, keepdim=True)
    for head in range(look.shape[1]):
        torch.testing.assert_close(look[:, head], columns_of(weights[:, head], batch.texts.named))
    assert (batch.shown.sum(dim=(2, 3)) > 0).sum() >= 4 and len(text) == 2


def payments(language, layer, monkeypatch):
    """Return a list that gets the attention weights of a layer, pass by pass."""
    attention, mask, paid = attention_of(language, layer), language_module.attention_mask, []
    monkeypatch.setattr(attention.config, "_attn_implementation", "eager")  # returns its weights
    monkeypatch.setattr(language_module, "attention_mask", lambda *inputs: added(mask(*inputs), *inputs))
    attention.register_forward_hook(lambda _, __, outputs: paid.append(outputs[1]))
    return paid


def added(mask, length, start, *_):
    """Return a mask as the eager attention of transformers wants it: what is added to the logits."""
    mask = torch.ones(length, start + length, dtype=torch.bool).tril(start)[None, None] if mask is None else mask
    return torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)


def test_words_learn_to_look(lesson):
    stage, batch = lesson
    module = stage.module.train()
    optimiser = torch.optim.Adam(module.parameters(), 3e-3)
    seen = []
    for _ in range(60):
        scalars = module(batch)
        scalars["loss"].backward()
        optimiser.step()
        optimiser.zero_grad()
        seen.append((scalars["look"].item(), scalars["named"].item()))
    shown = batch.shown.flatten(2)
    least = float(look_loss(shown.clamp_min(1e-9).log()[:, None], shown[:, None]))
    assert seen[-1][0] - least < 0.7 * (seen[0][0] - least)
    assert seen[-1][1] < seen[0][1] - 0.3


def test_a_pose_refers_to_what_is_near_and_to_what_is_in_front(lesson):
    texts = lesson[1].texts
    named = torch.tensor([[1, 3, 5, 8, 12]])
    texts = texts._replace(
        ids=torch.zeros(1, 14, dtype=torch.long),
        text=torch.tensor([[0] * 8 + [1] * 6]),
        named=named,
        position=torch.tensor([[6, 10]]),
        orientation=torch.tensor([[7, 11]]),
        pose=torch.tensor([[[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]),
        posed=torch.tensor([[True, True]]),
    )
    # beside it, far ahead, near and unknown; of the other text one before `<Pos>` and one in the question
    where = torch.tensor([[[1.0, 0.6], [5.0, 0.1], [1.1, 0.0], [3.0, 3.0], [0.1, 0.0]]])
    to = pose_references(texts, where, torch.tensor([[True, True, False, True, True]]))
    assert to.columns.tolist() == [[6, 10, 7, 11]]
    assert to.share[:, 0].nonzero()[:, 2].tolist() == [1, 8, 3, 8] and to.share.sum(dim=-1).eq(1).all()
    nowhere = pose_references(texts, where, torch.zeros(1, 5, dtype=torch.bool))
    assert not nowhere.share.any()


def test_an_answer_refers_to_the_names_in_its_question_and_to_where_it_is_asked_from(lesson):
    texts = lesson[1].texts._replace(
        ids=torch.zeros(1, 20, dtype=torch.long),
        text=torch.tensor([[0] * 11 + [1] * 7 + [-1] * 2]),
        named=torch.tensor([[1, 4, 6, 9, 13, 16, 0]]),  # in the situation, twice in the question, in the answer; ...
        position=torch.tensor([[2, 11]]),
        orientation=torch.tensor([[3, 12]]),
        posed=torch.tensor([[True, False]]),
        before=torch.tensor([[8, 9, 15, 0]]),
        answer=torch.tensor([[5, 6, 7, UNSUPERVISED]]),
    )
    first, last = question_names(texts)
    assert [one[0].nonzero().tolist() for one in (first, last)] == [[[0, 1], [1, 1], [2, 4]], [[0, 2], [1, 3], [2, 4]]]
    names, poses = answer_references(texts)
    assert names.share[0].nonzero().tolist() == [[0, 0, 4], [0, 1, 4], [0, 2, 13], [1, 0, 6], [1, 1, 9], [1, 2, 13]]
    assert poses.share[0].nonzero().tolist() == [[0, 0, 2], [0, 1, 2], [1, 0, 3], [1, 1, 3]]
    for to in (names, poses):
        assert torch.equal(to.columns, texts.before) and to.share.max() == 1


def test_what_is_asked_about_lies_where_it_is_seen_from_the_pose(lesson):
    texts = lesson[1].texts._replace(
        ids=torch.zeros(1, 20, dtype=torch.long),
        text=torch.tensor([[0] * 11 + [1] * 7 + [-1] * 2]),
        named=torch.tensor([[1, 4, 6, 13, 15]]),  # in the situation, twice in the question; twice in the other question
        position=torch.tensor([[2, 11]]),
        orientation=torch.tensor([[3, 12]]),
        pose=torch.tensor([[[1.0, 1.0, np.pi / 2], [0.0, 0.0, 0.0]]]),
        posed=torch.tensor([[True, False]]),
        before=torch.tensor([[8, 16, 0]]),
        answer=torch.tensor([[5, 7, UNSUPERVISED]]),
    )
    where = torch.tensor([[[9.0, 9.0], [1.0, 3.0], [4.0, 1.0], [0.0, 0.0], [3.0, 4.0]]])
    metres, known = seen_from(texts, where, torch.tensor([[True, True, True, True, False]]))
    assert known[0].tolist() == [[True] * 5, [False] * 5, [False] * 5]
    # two metres in front, three to the right; from one to the other
    torch.testing.assert_close(metres[0, 0], torch.tensor([2.0, 0.0, 0.0, -3.0, 13**0.5]))
    everything, known = seen_from(texts, where, torch.ones(1, 5, dtype=torch.bool))
    assert known[0, 1].tolist() == [False] * 4 + [True] and float(everything[0, 1, 4]) == 5.0


@torch.no_grad()
def test_each_half_of_the_heads_is_taught_its_own(lesson):
    stage, batch = lesson
    module, language, texts = stage.module.eval(), stage.module.model.language, batch.texts
    layer = Taught.of(language).answers
    attention = attention_of(language, layer)
    with watching(language) as inputs:
        _, _, cache = module.hidden(batch)
    keys = cache[layer].keys
    earlier, later = (log_look(attention, inputs[layer], keys, texts.before, later=half) for half in (False, True))
    assert earlier.shape == later.shape == (*later.shape[:1], language.config.heads // 2, *later.shape[2:])
    size = attention.head_dim * language.config.heads // 2
    attention.q_proj.weight[size:] *= -1
    attention.q_proj.bias[size:] *= -1
    turned = log_look(attention, inputs[layer], keys, texts.before, later=True)
    assert torch.equal(log_look(attention, inputs[layer], keys, texts.before, later=False), earlier)
    assert not torch.allclose(turned, later)
    attention.q_proj.weight[size:] *= -1
    attention.q_proj.bias[size:] *= -1


@torch.no_grad()
def test_the_loss_of_what_a_pose_refers_to_is_of_the_attention_that_the_layer_pays(lesson, monkeypatch):
    stage, batch = lesson
    module, language, texts = stage.module.eval(), stage.module.model.language, batch.texts
    layer = Taught.of(language).poses
    attention, paid = attention_of(language, layer), payments(language, layer, monkeypatch)
    with watching(language) as inputs:
        _, text, cache = module.hidden(batch)
    known = torch.ones(texts.named.shape, dtype=torch.bool)
    to = pose_references(texts, torch.zeros(*texts.named.shape, 2), known)
    taught = to.share[:, 0].sum(dim=-1) > 0
    assert taught.any()
    before = cache[layer].keys.shape[2] - text.shape[1]
    weights = paid[-1][:, paid[-1].shape[1] // 2 :]
    rows = torch.stack([columns_of(weights[:, head], to.columns) for head in range(weights.shape[1])], dim=1)
    paid_to = (rows[..., before:] * to.share).sum(dim=-1)
    expected = -paid_to.log().mean(dim=1)[taught].mean()
    loss = refer_loss(attention, inputs[layer], cache[layer].keys, texts, to)
    torch.testing.assert_close(loss, expected)
