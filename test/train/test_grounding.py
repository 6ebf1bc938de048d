"""Words are taught to look at what they name."""

import numpy as np
import pytest
import torch

from loc3r_ros.data.dense import CLASSES, COLOUR_NAMES
from loc3r_ros.data.mentions import ANY_COLOUR, FIRST_SIDE, NOTHING, Names
from loc3r_ros.data.suffixes import UNSUPERVISED
from loc3r_ros.prompt.tokenizer import TextTokenizer
from loc3r_ros.resources import find_resource
from loc3r_ros.train.grounding import (
    Taught,
    attention_of,
    colour_words,
    columns_of,
    log_look,
    look_loss,
    mean_over,
    shares,
    showing,
    watching,
)
from loc3r_ros.train.lessons import SHARPNESS
from loc3r_ros.world.language import SIDES


def test_furniture_is_found_in_ids():
    tokenizer = TextTokenizer.load(find_resource("models/nano"))
    ids = np.array(tokenizer.encode("The red sofa is by a bin. How many chairs? TV, grey TV, pink TVs, blue box", 99))
    found = Names.of(tokenizer).find(ids)
    named = [
        (CLASSES[category], "" if colour == ANY_COLOUR else COLOUR_NAMES[colour])
        for category, colour in zip(found.category, found.colour, strict=True)
    ]
    screens = [("TV", ""), ("TV", "grey"), ("TV", "pink")]
    assert named == [("sofa", "red"), ("bin", ""), ("chair", ""), *screens, ("box", "blue")]
    ends = ["sofa", "bin", "chairs", "V", "V", "s", "box"]
    assert [tokenizer.decode([int(ids[at])]).strip() for at in found.column] == ends


def test_sides_are_found_in_ids():
    tokenizer = TextTokenizer.load(find_resource("models/nano"))
    names = Names.of(tokenizer)
    found = [names.find(np.array(tokenizer.encode(f"What is {side}?", 99))) for side in SIDES]
    assert [one.category.tolist() for one in found] == [[FIRST_SIDE + number] for number in range(len(SIDES))]
    assert all(one.colour.tolist() == [ANY_COLOUR] for one in found)


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


def test_named_things_lie_where_the_cells_that_show_them_do():
    shows = torch.zeros(1, 3, 1, 2, 2, dtype=torch.bool)
    shows[0, 0, 0, 0] = shows[0, 0, 0, 1, 0] = shows[0, 1, 0, 1, 1] = True
    lying = torch.tensor([[[1.0, 0.0], [4.0, 3.0], [1.0, 3.0], [9.0, 9.0]]])
    where, known = mean_over(shows, lying, torch.tensor([[True, True, True, False]]))
    assert known.tolist() == [[True, False, False]]
    torch.testing.assert_close(where[0], torch.tensor([[2.0, 2.0], [0.0, 0.0], [0.0, 0.0]]))


def test_all_that_is_seen_lies_somewhere(lesson):
    _, batch = lesson
    shown, furthest = batch.shown, batch.layout.norm(dim=-1).amax()
    assert torch.equal(shown.known, shown.share.sum(dim=(2, 3)) > 0) and shown.known.any()
    assert shown.where[shown.known].norm(dim=-1).max() < furthest + 0.5 and shown.front.norm(dim=-1).max() <= 1.0 + 1e-3


def test_the_lesson_is_least_where_words_look_at_what_they_name():
    shown = torch.tensor([[[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]])
    looks = [torch.tensor(weights).log().expand(1, 2, 2, 3) for weights in ([0.5, 0.5, 1e-6], [0.6, 0.3, 0.1])]
    right, wrong = (float(look_loss(look, shown[:, None])) for look in looks)
    assert right == pytest.approx(np.log(2)) and wrong > right + 0.1


@torch.no_grad()
def test_what_is_taught_is_the_attention_that_the_layer_pays(lesson, payments):
    stage, batch = lesson
    module, language = stage.module.eval(), stage.module.model.language
    layer = Taught.of(language).words[0]
    attention, paid = attention_of(language, layer), payments(language, layer)
    with watching(language) as passes:
        _, text, cache = module.hidden(batch)
    video = cache[layer].keys.shape[2] - text.shape[1]
    look = log_look(attention, passes[layer][-1], cache[layer].keys[:, :, :video], batch.texts.named).exp()
    weights = paid[-1][:, look.shape[1] :, :, :video]  # the later heads
    weights = weights / weights.sum(dim=-1, keepdim=True)
    for head in range(look.shape[1]):
        torch.testing.assert_close(look[:, head], columns_of(weights[:, head], batch.texts.named))
    assert batch.shown.known.sum() >= 4 and len(text) == 2
    soft = log_look(attention, passes[layer][-1], cache[layer].keys[:, :, :video], batch.texts.named, sharpness=3.0)
    torch.testing.assert_close((3.0 * soft).softmax(dim=-1), look)


def test_words_learn_to_look(lesson):
    stage, batch = lesson
    module = stage.module.train()
    optimiser = torch.optim.Adam(module.parameters(), 3e-3)
    seen = []
    for _ in range(80):
        scalars = module(batch)
        scalars["loss"].backward()
        optimiser.step()
        optimiser.zero_grad()
        look = scalars["look"].item() / SHARPNESS  # one layer is taught
        seen.append((look, scalars["named"].item(), scalars["surface"].item()))
    shown = batch.shown.share.flatten(2)
    least = float(look_loss(shown.clamp_min(1e-9).log()[:, None], shown[:, None]))
    assert seen[-1][0] - least < 0.7 * (seen[0][0] - least)
    assert seen[-1][1] < seen[0][1] - 0.3
    assert seen[-1][2] < 0.8 * seen[0][2]


@torch.no_grad()
def test_each_half_of_the_heads_is_taught_its_own(lesson):
    stage, batch = lesson
    module, language, texts = stage.module.eval(), stage.module.model.language, batch.texts
    layer = Taught.of(language).answers
    attention = attention_of(language, layer)
    with watching(language) as passes:
        _, _, cache = module.hidden(batch)
    keys = cache[layer].keys
    earlier, later = (log_look(attention, passes[layer][-1], keys, texts.before, later=half) for half in (False, True))
    assert earlier.shape == later.shape == (*later.shape[:1], language.config.heads // 2, *later.shape[2:])
    size = attention.head_dim * language.config.heads // 2
    attention.q_proj.weight[size:] *= -1
    attention.q_proj.bias[size:] *= -1
    turned = log_look(attention, passes[layer][-1], keys, texts.before, later=True)
    assert torch.equal(log_look(attention, passes[layer][-1], keys, texts.before, later=False), earlier)
    assert not torch.allclose(turned, later)
    attention.q_proj.weight[size:] *= -1
    attention.q_proj.bias[size:] *= -1
