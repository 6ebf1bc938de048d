"""Packed texts behind one video equal separate sequences."""

import numpy as np
import pytest
import torch

from loc3r_ros.data.suffixes import UNSUPERVISED, Suffix
from loc3r_ros.model.checkpoint import load_model
from loc3r_ros.model.loc3r import VideoBatch
from loc3r_ros.train.config import JointConfig
from loc3r_ros.train.joint_model import JointModel
from loc3r_ros.train.joint_stage import JointStage
from loc3r_ros.train.packing import PADDING, Room, even_frames, join_texts, pack_texts
from loc3r_ros.train.plan import tasks_at
from loc3r_ros.train.stages import joint_source

FRAMES = 3


@pytest.fixture(scope="module")
def packed(tiny_model, recipe, batch_of):
    """Two scenes with up to eight texts, as one batch, their pictures and camera tokens."""
    config = recipe(from_scratch=False)
    stage = JointStage(joint_source(config, tiny_model), config)
    tasks = tasks_at(config, 0)
    batch = batch_of(stage, tasks)
    kept = even_frames(8, FRAMES)
    return stage, batch, np.stack([stage.store.read(task.seed)["rgb"][kept] for task in tasks])


def separate(packed, tiny_model):
    """Yield (scene, number, columns of the packed row, prediction of the whole model) for each text."""
    _, batch, rgb = packed
    model = load_model(tiny_model)
    pixels = (torch.from_numpy(rgb).movedim(-1, -3).float() / 255 - 0.5) / 0.5
    for scene in range(2):
        for number in range(int(batch.texts.text[scene].max()) + 1):
            columns = (batch.texts.text[scene] == number).nonzero().flatten()
            text = batch.texts.ids[scene, columns][None]
            whole = VideoBatch(
                batch.prefix, pixels[[scene]], batch.camera[[scene]].float(), text, torch.tensor([len(columns)])
            )
            yield scene, number, columns, model(whole)


@torch.no_grad()
def test_packed_texts_equal_separate_sequences(packed, tiny_model):
    stage, batch, _ = packed
    module = stage.module.eval()
    layout_hidden, text_hidden, _ = module.hidden(batch)
    layout = module.model.heads.layout_of(layout_hidden)
    seen = 0
    for scene, number, columns, alone in separate(packed, tiny_model):
        hidden = text_hidden[scene, columns]
        torch.testing.assert_close(hidden, alone.text_hidden[0], atol=2e-3, rtol=2e-3)  # features are kept in half
        torch.testing.assert_close(layout.mean[scene], alone.layout.mean[0], atol=2e-3, rtol=2e-3)
        position = module.model.heads.position_of(text_hidden[scene, batch.texts.position[scene, number]])
        torch.testing.assert_close(position.mean, alone.position.mean[0], atol=2e-3, rtol=2e-3)
        seen += 1
    assert seen >= 6 and (batch.texts.text == PADDING).any()


def test_texts_do_not_see_each_other(packed):
    stage, batch, _ = packed
    module = stage.module.eval()
    row, other = batch.texts.text[0] == 0, batch.texts.text[0] == 1
    ids = batch.texts.ids.clone()
    ids[0, other] = 7
    with torch.no_grad():
        before = module.hidden(batch)[1][0]
        after = module.hidden(batch._replace(texts=batch.texts._replace(ids=ids)))[1][0]
    assert torch.equal(before[row], after[row]) and not torch.allclose(before[other], after[other])


def test_gradients_are_those_of_separate_sequences(packed, tiny_model, recipe):
    stage, batch, _ = packed
    module = stage.module.eval()
    weight = module.model.language.layers[0].self_attn.k_proj.weight
    text = module.hidden(batch)[1]
    (together,) = torch.autograd.grad(
        sum(text[s, c].square().sum() for s, _, c, _ in separate(packed, tiny_model)), weight
    )
    apart = torch.zeros_like(weight)
    for scene, _, columns, _ in separate(packed, tiny_model):
        rows = batch.texts._replace(
            ids=batch.texts.ids[[scene]][:, columns],
            text=torch.zeros(1, len(columns), dtype=torch.long),
            place=batch.texts.place[[scene]][:, columns],
        )
        one = batch._replace(vision=batch.vision[[scene]], camera=batch.camera[[scene]], texts=rows)
        apart += torch.autograd.grad(module.hidden(one)[1].square().sum(), weight)[0]
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-4 * float(apart.abs().max()))


def test_recomputing_changes_nothing(packed, tiny_model, recipe):
    _, batch, _ = packed
    losses, gradients = [], []
    for recompute in (False, True):
        module = JointModel(load_model(tiny_model), recipe().joint.objective, recompute=recompute).train()
        loss = module(batch)["loss"]
        loss.backward()
        losses.append(loss.item())
        gradients.append([p.grad for n, p in sorted(module.state_dict(keep_vars=True).items()) if p.grad is not None])
    assert losses[0] == losses[1] and len(gradients[0]) == len(gradients[1]) > 20
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients, strict=True))


def test_supervision_lies_where_the_answers_are(packed):
    stage, batch, _ = packed
    texts, config = batch.texts, stage.model_config.language
    for scene in range(2):
        posed = texts.posed[scene]
        assert (texts.ids[scene, texts.position[scene][posed]] == config.position_token).all()
        assert (texts.ids[scene, texts.orientation[scene][posed]] == config.orientation_token).all()
        supervised = texts.answer[scene] != UNSUPERVISED
        before = texts.before[scene][supervised]
        assert (texts.answer[scene][supervised] == texts.ids[scene][before + 1]).all() and supervised.any()
        assert (texts.text[scene][before] == texts.text[scene][before + 1]).all()
        assert (texts.text[scene][before] != PADDING).all()
    assert texts.posed.any()


def test_scenes_without_texts_are_padding():
    texts = pack_texts([join_texts([])] * 2, torch.device("cpu"))
    assert texts.ids.shape == (2, 1) and (texts.text == PADDING).all() and not texts.posed.any()


def test_answers_are_right_when_every_token_is(packed):
    stage, batch, _ = packed
    module, texts = stage.module, batch.texts
    rows = module.model.language.embed_tokens.weight.detach()
    hidden = torch.zeros(*texts.ids.shape, rows.shape[1])
    supervised = texts.answer != UNSUPERVISED
    unit = torch.nn.functional.normalize(rows, dim=1)
    best = (unit @ rows.T).argmax(1) == torch.arange(len(rows))
    scene, place = supervised.nonzero(as_tuple=True)
    hidden[scene, texts.before[scene, place]] = unit[texts.answer[scene, place]]
    by_text: dict[tuple[int, int], list[bool]] = {}
    for one, column, answer in zip(scene, texts.before[supervised], texts.answer[supervised], strict=True):
        by_text.setdefault((int(one), int(texts.text[one, column])), []).append(bool(best[answer]))
    answers = [all(likely) for likely in by_text.values()]
    assert float(module.answers_right(hidden, texts)) == pytest.approx(np.mean(answers))
    column = int(texts.before[0, 0])
    hidden[0, column] = -hidden[0, column]
    assert float(module.answers_right(hidden, texts)) == pytest.approx(np.mean(answers) - 1 / len(answers))


@torch.no_grad()
def test_room_beyond_the_texts_changes_nothing(packed, recipe):
    stage, batch, _ = packed
    module = stage.module.eval()
    room = Room(tokens=batch.texts.ids.shape[1] + 20, texts=batch.texts.posed.shape[1] + 3)
    items = [stage.loader(task) for task in tasks_at(stage.config, 0)]
    roomy = stage.pack(items, FRAMES, room)
    assert roomy.texts.ids.shape[1] == room.tokens and roomy.texts.answer.shape[1] == room.answers
    expected, found = module(batch), module(roomy)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-4, rtol=1e-4, msg=name)


def test_batches_have_one_shape_where_there_is_room(tiny_model, recipe, batch_of):
    config = recipe(from_scratch=False, joint=JointConfig(suffixes=6, tokens=150))
    stage = JointStage(joint_source(config, tiny_model), config)
    batch_of(stage, tasks_at(config, 0))
    shapes, lengths = set(), set()
    for step in range(4):
        tasks = tasks_at(config, step)
        texts = stage.collate([stage.loader(task) for task in tasks], tasks).texts
        shapes.add(tuple(part.shape for part in texts))
        lengths |= set((texts.text != PADDING).sum(dim=1).tolist())
    assert stage.is_static and len(shapes) == 1 and max(lengths) <= 150 and len(lengths) > 1


def test_room_is_for_the_first_texts():
    words = [Suffix("", np.arange(n), np.where(np.arange(n) < n - 1, UNSUPERVISED, 1), -1, -1, None) for n in (9, 8, 3)]
    assert [len(one.ids) for one in Room(tokens=12, texts=8).choose(words)] == [9, 3]
    assert [len(one.ids) for one in Room(tokens=99, texts=2).choose(words)] == [9, 8]
    assert [len(one.ids) for one in Room(tokens=20, texts=8).choose(words)] == [9, 8, 3]


def test_frames_are_taken_evenly():
    assert even_frames(32, 32).tolist() == list(range(32))
    assert even_frames(32, 4).tolist() == [0, 10, 21, 31]
    assert even_frames(4, 8).tolist() == [0, 1, 2, 3]
