"""What the lessons ask of names, poses and answers."""

import math
from dataclasses import fields

import torch

from loc3r_ros.model.losses import Losses
from loc3r_ros.train.config import JointConfig
from loc3r_ros.train.joint_stage import JointStage
from loc3r_ros.train.lessons import LOOKS, PLACES, poses_in_places, readings
from loc3r_ros.train.plan import tasks_at
from loc3r_ros.train.stages import joint_source


def test_poses_are_two_places():
    class Texts:
        pose = torch.tensor([[[1.0, 2.0, math.pi / 2], [0.0, 0.0, math.pi]]])
        posed = torch.tensor([[True, False]])
        position, orientation = torch.tensor([[3, 8]]), torch.tensor([[4, 9]])

    columns, places, known = poses_in_places(Texts)
    assert columns.tolist() == [[3, 8, 4, 9]] and known.tolist() == [[True, False, True, False]]
    torch.testing.assert_close(places[0], torch.tensor([[1.0, 2.0], [0.0, 0.0], [1.0, 3.0], [-1.0, 0.0]]))


def test_what_is_said_is_read_in_directions_that_never_change():
    known = readings(192)
    directions = torch.cat((known.seen, known.side[:, None], known.amount[:, None], known.front, known.apart), dim=1)
    torch.testing.assert_close(directions.T @ directions, torch.eye(11))
    assert all(torch.equal(one, other) for one, other in zip(known, readings(192), strict=True))
    assert [tuple(one.shape) for one in readings(3)] == [(3, 5), (3,), (3,), (3, 2), (3, 2)]


def test_lessons_say_where_small_things_before_far_walls_lie(tiny_model, recipe, batch_of):
    def batch(grounding):
        config = recipe(from_scratch=False, joint=JointConfig(suffixes=3, grounding=grounding, mirror=True))
        return batch_of(JointStage(joint_source(config, tiny_model), config), tasks_at(config, 0))

    own, more = batch(0.0), batch(0.5)
    gained = more.layout_valid & ~own.layout_valid
    assert gained.any() and (more.layout_valid >= own.layout_valid).all()
    assert torch.equal(more.layout[~gained], own.layout[~gained])
    assert not torch.isclose(more.layout[gained], own.layout[gained]).all(dim=-1).any()


@torch.no_grad()
def test_every_lesson_counts_in_the_loss(lesson):
    stage, batch = lesson
    module, taught = stage.module.eval(), {}
    handle = module.lessons.register_forward_hook(lambda _, __, lessons: taught.update(lessons))
    scalars = module(batch)
    handle.remove()
    assert set(taught) == {*LOOKS, *PLACES} and len(LOOKS) + len(PLACES) == len(taught)
    plain = Losses(*(scalars[field.name] for field in fields(Losses))).total(module.weights)
    looks, places = (sum(taught[name] for name in names) for names in (LOOKS, PLACES))
    expected = plain + module.grounding * looks + module.weights.layout * places
    torch.testing.assert_close(scalars["loss"], expected)


@torch.no_grad()
def test_where_things_lie_is_said_before_the_last_layer_and_at_which_side_after_it(lesson):
    stage, batch = lesson
    last = stage.module.model.language.layers[-1].mlp.down_proj.weight
    before = stage.module.eval()(batch)
    kept = last.clone()
    last.add_(torch.randn_like(last))
    after = stage.module(batch)
    last.copy_(kept)
    assert before["aside"] > 0 and torch.equal(before["aside"], after["aside"])
    assert before["towards"] > 0 and not torch.equal(before["towards"], after["towards"])
    assert torch.equal(before["amount"], after["amount"]) and torch.equal(before["asked"], after["asked"])
