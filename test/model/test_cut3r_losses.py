"""CUT3R's objective: values by hand, gradients by finite differences, and truth that is not there."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loc3r_ros.errors import ConfigError
from loc3r_ros.model.config import preset
from loc3r_ros.model.cut3r import Cut3R
from loc3r_ros.model.cut3r.heads import pose_matrix
from loc3r_ros.model.cut3r.losses import (
    cut3r_loss,
    make_targets,
    mean_distance,
    motion_loss,
    motions,
    point_loss,
    pose_loss,
    quaternion,
)

ONE = torch.ones(1, dtype=torch.float64)
INTRINSICS = torch.tensor([[[30.0, 0, 15.5], [0, 30.0, 15.5], [0, 0, 1]]])


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def random_poses(count, scale=1.0):
    poses = torch.randn(1, count, 7) * scale
    return pose_matrix(torch.cat([poses[..., :3], torch.nn.functional.normalize(poses[..., 3:], dim=-1)], dim=-1))


def make_batch(frames=3, size=32):
    images = torch.rand(1, frames, 3, size, size) * 2 - 1
    return images, make_targets(images, torch.rand(1, frames, size, size) + 1, INTRINSICS, random_poses(frames))


def test_the_point_loss_is_the_confident_distance():
    points = torch.tensor([3.0, 4.0, 0.0]).view(1, 1, 1, 1, 3)
    confidence = torch.full((1, 1, 1, 1), 2.0)
    valid = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    scales = torch.tensor([2.0]), torch.tensor([2.0])
    loss = point_loss(points, confidence, torch.zeros_like(points), valid, scales)
    assert loss.item() == pytest.approx(2 * 2.5 - 0.2 * np.log(2))


def test_the_best_confidence_is_the_weight_over_the_error():
    """d/dc (c e - 0.2 log c) = 0 at c = 0.2 / e."""
    error, confidence = 0.05, torch.tensor(4.0, dtype=torch.float64, requires_grad=True)
    points = torch.tensor([error, 0, 0], dtype=torch.float64).view(1, 1, 1, 1, 3)
    valid = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    loss = point_loss(points, confidence.view(1, 1, 1, 1), torch.zeros_like(points), valid, (ONE, ONE))
    loss.backward()
    assert confidence.grad.item() == pytest.approx(0, abs=1e-12)


def test_unknown_depth_has_no_influence_and_no_nan():
    images = torch.rand(1, 2, 3, 8, 8)
    depth = torch.full((1, 2, 8, 8), float("nan"))
    depth[0, 0, 0] = torch.tensor([1, 2, 0, -1, torch.inf, 3, 4, torch.nan])
    targets = make_targets(images, depth, INTRINSICS, random_poses(2))
    assert targets.valid.sum() == 4
    points = torch.randn(1, 2, 8, 8, 3, requires_grad=True)
    confidence = torch.full((1, 2, 8, 8), 1.5)
    scale = mean_distance(targets.points_world, targets.valid)
    point_loss(points, confidence, targets.points_self, targets.valid, (scale, scale)).backward()
    assert torch.isfinite(points.grad).all()
    assert ((points.grad != 0).all(dim=-1) == targets.valid).all()


def test_a_frame_without_depth_costs_nothing():
    images, targets = make_batch()
    network = Cut3R(preset("tiny").pose_prior)
    targets = targets._replace(valid=torch.zeros_like(targets.valid))
    losses = cut3r_loss(network(images), targets)
    assert losses.points_self == 0 and losses.points_world == 0
    losses.total().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_the_truth_costs_nothing():
    _, targets = make_batch()
    scale = mean_distance(targets.points_world, targets.valid)
    ones = torch.ones_like(targets.points_self[..., 0])
    assert point_loss(targets.points_self, ones, targets.points_self, targets.valid, (scale, scale)) == 0
    flipped = torch.cat([targets.pose[..., :3], -targets.pose[..., 3:]], dim=-1)
    assert pose_loss(flipped, targets.pose, (scale, scale)) == 0


def test_only_the_metric_loss_sees_the_scale():
    images, targets = make_batch()
    network = Cut3R(preset("tiny").pose_prior)
    with torch.no_grad():
        predictions = network(images)
        bigger = [
            p._replace(
                pose=torch.cat([2 * p.pose[:, :3], p.pose[:, 3:]], dim=-1),
                point_maps=p.point_maps._replace(
                    points_self=2 * p.point_maps.points_self, points_world=2 * p.point_maps.points_world
                ),
            )
            for p in predictions
        ]
    free = [cut3r_loss(p, targets, metric=False).total() for p in (predictions, bigger)]
    metric = [cut3r_loss(p, targets).total() for p in (predictions, bigger)]
    torch.testing.assert_close(free[0], free[1])
    assert (metric[0] - metric[1]).abs() > 1e-3


def test_maps_of_some_frames_are_compared_with_the_truth_of_those():
    images, targets = make_batch()
    network = Cut3R(preset("tiny").pose_prior)
    with torch.no_grad():
        predictions = network(images, every=2)
        some = cut3r_loss(predictions, targets)
        mapped = [t for t, prediction in enumerate(predictions) if prediction.point_maps is not None]
        alone = cut3r_loss([predictions[t] for t in mapped], type(targets)(*(part[:, mapped] for part in targets)))
    assert mapped and mapped[-1] == images.shape[1] - 1 and len(mapped) < images.shape[1]
    for name in ("points_self", "points_world", "rgb"):
        torch.testing.assert_close(getattr(some, name), getattr(alone, name))
    assert some.pose != alone.pose


def test_motions_lead_from_one_camera_to_the_next():
    _, targets = make_batch()
    matrix = pose_matrix(targets.pose)
    moved, turned = motions(targets.pose, 1)
    expected = torch.linalg.inv(matrix[:, :-1]) @ matrix[:, 1:]
    torch.testing.assert_close(moved, expected[..., :3, 3], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(turned, expected[..., :3, :3], atol=1e-5, rtol=1e-4)


def test_the_motion_loss_sees_each_step_and_no_drift():
    _, targets = make_batch()
    true = targets.pose.double()
    scale = true.new_ones(len(true))
    assert motion_loss(true, true, scale) == 0
    elsewhere = pose_matrix(true[:1, 1]) @ pose_matrix(true)
    drifted = torch.cat([elsewhere[..., :3, 3], quaternion(elsewhere[..., :3, :3])], dim=-1)
    assert motion_loss(drifted, true, scale) < 1e-6 < pose_loss(drifted, true, (scale, scale))
    wrong = true.clone()
    wrong[:, 1:, 0] += 0.3
    assert motion_loss(wrong, true, scale) > 0.05
    assert torch.autograd.gradcheck(lambda pose: motion_loss(pose, true, scale), (wrong.requires_grad_(),))


def test_targets_are_consistent():
    """A pixel's world point is its own-view point under the pose, and the first camera is the world."""
    _, targets = make_batch()
    world_t_camera = pose_matrix(targets.pose)
    torch.testing.assert_close(world_t_camera[:, 0], torch.eye(4)[None], atol=1e-5, rtol=0)
    rotated = torch.einsum("btij,bthwj->bthwi", world_t_camera[..., :3, :3], targets.points_self)
    moved = rotated + world_t_camera[..., :3, 3][:, :, None, None]
    torch.testing.assert_close(moved, targets.points_world, atol=1e-4, rtol=1e-4)
    pixel = targets.points_self[0, 1, 20, 7]
    back = INTRINSICS[0] @ (pixel / pixel[2])
    torch.testing.assert_close(back, torch.tensor([7.0, 20.0, 1.0]), atol=1e-4, rtol=0)


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: sum(x * x for x in q) > 1e-2))
def test_quaternions_and_matrices_agree(values):
    q = torch.nn.functional.normalize(torch.tensor(values, dtype=torch.float64), dim=-1)
    rotation = pose_matrix(torch.cat([torch.zeros(3), q]))[:3, :3]
    again = quaternion(rotation)
    assert again[0] >= 0
    assert abs((again * q).sum().item()) == pytest.approx(1, abs=1e-9)


def test_point_and_pose_gradients_are_right():
    valid = torch.rand(2, 2, 3, 3) > 0.3
    target = torch.randn(2, 2, 3, 3, 3, dtype=torch.float64)

    def points(x, c):
        scales = mean_distance(x, valid), mean_distance(target, valid)
        return point_loss(x, 1 + c.exp(), target, valid, scales)

    def pose(p):
        return pose_loss(p, pose_target, (ONE.expand(2), ONE.expand(2)))

    pose_target = torch.randn(2, 3, 7, dtype=torch.float64)
    x = torch.randn(2, 2, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    c = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(points, (x, c))
    assert torch.autograd.gradcheck(pose, (torch.randn(2, 3, 7, dtype=torch.float64, requires_grad=True),))


@pytest.mark.parametrize("rule", ["cut3r", "ttt3r"])
def test_gradients_through_a_sequence_are_right(rule):
    """Along random directions of all weights, through encoder, state, memory and heads of three frames."""
    images, targets = make_batch()
    network = Cut3R(replace(preset("tiny").pose_prior, state_rule=rule)).double()
    images = images.double()
    targets = type(targets)(*(t.double() if t.is_floating_point() else t for t in targets))
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(cut3r_loss(network(images), targets).total(), parameters)
    assert all(gradient.abs().max() > 0 for gradient in gradients)
    for _ in range(2):
        directions = [torch.randn_like(parameter) for parameter in parameters]
        step = 1e-6
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                for parameter, direction in zip(parameters, directions, strict=True):
                    parameter += sign * step * direction
                values.append(cut3r_loss(network(images), targets).total().item())
                for parameter, direction in zip(parameters, directions, strict=True):
                    parameter -= sign * step * direction
        slope = sum((g * d).sum().item() for g, d in zip(gradients, directions, strict=True))
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(slope, rel=1e-4)


def test_a_few_steps_lower_the_loss():
    images, targets = make_batch()
    network = Cut3R(preset("tiny").pose_prior)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        losses.append(cut3r_loss(network(images), targets).total())
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]


def test_losses_need_point_maps():
    images, targets = make_batch()
    network = Cut3R(preset("tiny").pose_prior)
    _, predictions = zip(*[(0, p._replace(point_maps=None)) for p in network(images)], strict=True)
    with pytest.raises(ConfigError, match="point maps"):
        cut3r_loss(predictions, targets)
