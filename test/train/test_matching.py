"""Lessons in where to look: true places from geometry, and a new network that compares frames from the beginning."""

from dataclasses import replace

import pytest
import torch

from loc3r_ros.errors import ConfigError
from loc3r_ros.model.config import preset
from loc3r_ros.model.cut3r import Cut3R
from loc3r_ros.model.cut3r.beginning import begin_comparing
from loc3r_ros.model.cut3r.losses import make_targets
from loc3r_ros.train.matching import around, check_matching, matching_loss, true_places, watching

GRID, PIXELS = 4, 3
SIDE = GRID * PIXELS
MATRIX = torch.tensor([[10.0, 0, (SIDE - 1) / 2], [0, 10.0, (SIDE - 1) / 2], [0, 0, 1]])[None]


def seen_twice(second_t_first):
    """Return the truth of a wall 2 m in front of the first camera, seen by two cameras."""
    pose = torch.stack([torch.eye(4), torch.linalg.inv(second_t_first)])[None]
    return make_targets(torch.zeros(1, 2, 3, SIDE, SIDE), torch.full((1, 2, SIDE, SIDE), 2.0), MATRIX, pose)


def centres():
    row, column = torch.meshgrid(torch.arange(GRID), torch.arange(GRID), indexing="ij")
    return torch.stack([column, row], dim=-1).flatten(0, 1).float()


def test_a_camera_that_stays_sees_each_patch_in_its_place():
    at, known = true_places(seen_twice(torch.eye(4)), MATRIX, GRID)
    torch.testing.assert_close(at[0, 0], centres())
    assert known.all()


def test_a_camera_that_moves_sees_the_patches_shifted():
    moved = torch.eye(4)
    moved[0, 3] = -2.0 * PIXELS / 10  # the camera goes right by one patch at 2 m
    at, known = true_places(seen_twice(moved), MATRIX, GRID)
    torch.testing.assert_close(at[0, 0], centres() + torch.tensor([1.0, 0.0]))
    assert (known[0, 0].view(GRID, GRID) == torch.tensor([True, True, True, False])).all()


def test_a_frame_is_compared_with_the_one_before_it():
    moved = torch.eye(4)
    moved[0, 3] = 2.0 * PIXELS / 10
    pose = torch.stack([torch.eye(4), moved, moved @ moved])[None]
    truth = make_targets(torch.zeros(1, 3, 3, SIDE, SIDE), torch.full((1, 3, SIDE, SIDE), 2.0), MATRIX, pose)
    at, known = true_places(truth, MATRIX, GRID)
    torch.testing.assert_close(at[0, 0], centres() + torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(at[0, 1], at[0, 0])
    assert torch.equal(known[0, 0], known[0, 1])


def test_what_lies_behind_the_first_camera_is_unknown():
    moved = torch.eye(4)
    moved[2, 3] = 5.0
    _, known = true_places(seen_twice(moved), MATRIX, GRID)
    assert not known.any()


def test_weights_of_the_patches_around_a_place():
    at = torch.tensor([[[1.25, 2.5], [0.0, 3.0], [-0.4, 3.4]]])
    weights = around(at, GRID)[0].view(3, GRID, GRID)
    torch.testing.assert_close(weights.sum(dim=(1, 2)), torch.ones(3))
    torch.testing.assert_close(weights[0, 2, 1], torch.tensor(0.375))
    assert weights[1, 3, 0] == 1 and weights[2, 3, 0] == 1


def test_the_loss_is_least_where_the_look_is_right():
    truth = seen_twice(torch.eye(4))
    right = (torch.eye(GRID**2)[None, None, None] * 20).log_softmax(dim=-1)
    wrong = right.roll(1, dims=-1)
    assert matching_loss(right, truth, MATRIX) < 1e-3 < matching_loss(wrong, truth, MATRIX)


@pytest.fixture
def config():
    sizes = {"patch_size": 8, "image_size": (32, 32), "state_tokens": 16, "encoder_dim": 64, "decoder_dim": 64}
    return replace(preset("tiny").pose_prior, **sizes)


def test_a_new_network_looks_at_what_is_alike_and_copies_places(config):
    torch.manual_seed(0)
    network = Cut3R(config)
    begin_comparing(network)
    images = torch.randn(1, 1, 3, 32, 32).expand(1, 3, 3, 32, 32)  # the same picture three times
    with watching(network) as looks:
        network(images)
    assert len(looks) == 2
    own_place = looks[0].exp().diagonal(dim1=-2, dim2=-1).mean()
    assert own_place > 2 / config.state_tokens
    network(images)
    assert len(looks) == 2  # nobody watches any more


def test_lessons_teach(config):
    torch.manual_seed(0)
    network = Cut3R(config)
    images = torch.randn(1, 2, 3, 32, 32)
    with watching(network) as looks:
        network(images)
    truth = make_targets(images, torch.full((1, 2, 32, 32), 2.0), MATRIX, torch.eye(4).expand(1, 2, 4, 4))
    matching_loss(torch.stack(looks, dim=1), truth, MATRIX).backward()
    assert network.register_tokens.weight.grad.abs().max() > 0


@pytest.mark.parametrize("change", [{"state_tokens": 8}, {"image_size": (24, 24), "state_tokens": 9}])
def test_a_state_that_does_not_lie_over_the_patches_is_refused(config, change):
    check_matching(config)
    with pytest.raises(ConfigError, match="state tokens"):
        check_matching(replace(config, **change))
