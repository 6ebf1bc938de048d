"""Clips as tensors: pictures, depths and poses still agree in a mirror."""

import torch

from loc3r_ros.model.cut3r.losses import make_targets
from loc3r_ros.train.pose_stage import PoseStage, mirrored
from loc3r_ros.train.stages import make_stage


def test_a_mirror_shows_the_same_points_on_the_other_side(tiny_model, recipe):
    stage = make_stage("pose", recipe(), tiny_model)
    assert isinstance(stage, PoseStage)
    stage.prepare(torch.device("cpu"), bf16=False)
    taken = stage.shelf.take([3, 4], torch.arange(3).numpy())
    rgb, depth, pose = taken["rgb"], taken["depth"].float(), taken["pose"]
    other = mirrored(rgb, depth, pose, torch.tensor([False, True]))
    assert torch.equal(other[0][0], rgb[0]) and torch.equal(other[0][1], rgb[1].flip(2))
    truths = [
        make_targets(images.movedim(-1, 2).float(), d, stage.matrix.expand(2, 3, 3), p.float())
        for images, d, p in ((rgb, depth, pose), other)
    ]
    points, mirror = (truth.points_world for truth in truths)
    torch.testing.assert_close(mirror[0], points[0])
    torch.testing.assert_close(mirror[1].flip(2) * torch.tensor([-1.0, 1.0, 1.0]), points[1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(torch.linalg.det(other[2][:, :, :3, :3]), torch.ones(2, 3, dtype=pose.dtype))
