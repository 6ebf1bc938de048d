"""What each stage can learn in seconds: to see on unseen scenes, to move, to lay out and to localize on known ones.

What longer runs learn of unseen scenes is in docs/nano.md.
"""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from loc3r_ros.model.config import preset
from loc3r_ros.model.cut3r import Cut3R
from loc3r_ros.model.losses import LossWeights
from loc3r_ros.train.config import DataConfig, JointConfig, OptimiserConfig, Phase
from loc3r_ros.train.log import read_log
from loc3r_ros.train.loop import train
from loc3r_ros.train.plan import Task
from loc3r_ros.train.pose_stage import PoseStage, pose_errors
from loc3r_ros.train.stages import make_stage

pytestmark = pytest.mark.slow


def memorise(batch_of, stage, tasks, steps, rate):
    """Train on one batch, and return it with what the module says of it at the end."""
    batch = batch_of(stage, tasks)
    optimiser = torch.optim.AdamW(stage.module.parameters(), lr=rate, betas=(0.9, 0.99))
    for _ in range(steps):
        stage.module(batch)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(stage.module.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
    with torch.no_grad():
        return batch, stage.module.eval()(batch)


def test_the_vision_tower_learns_what_and_where(recipe, tiny_model, batch_of, tmp_path):
    config = recipe(
        phases=(Phase(120, 4, 4),),
        optimiser=OptimiserConfig(rate=1e-2, warmup=10),
        data=DataConfig(workers=0, validation_scenes=12, walk_frames=4),
    )
    stage = make_stage("vision", config, tiny_model)
    train("vision", stage, config, tmp_path / "run", tmp_path / "out")
    final = read_log(tmp_path / "run")[-1]
    tasks = [Task(seed, 4, 0) for seed in config.data.validation_seeds()]
    batch = batch_of(stage, tasks)
    category, log_depth = batch.category.flatten(), batch.depth[batch.depth > 0].log()
    coloured = batch.colour[batch.colour >= 0]
    assert final["split"] == "validation"
    assert final["category_accuracy"] > (category == category.mode()[0]).float().mean() + 0.15
    assert final["colour_accuracy"] > (coloured == coloured.mode()[0]).float().mean() + 0.15
    assert final["depth"] < 0.75 * (log_depth - log_depth.median()).abs().mean()


def test_the_pose_prior_can_tell_how_cameras_moved(recipe, batch_of):
    torch.manual_seed(0)
    tiny = preset("tiny")
    sizes = {"encoder_dim": 64, "decoder_dim": 64, "patch_size": 8, "decoder_heads": 2, "state_heads": 2}
    config = replace(tiny, pose_prior=replace(tiny.pose_prior, **sizes))
    stage = PoseStage(
        Cut3R(config.pose_prior),
        config,
        recipe(data=DataConfig(workers=0, scenes=5, validation_scenes=1, walk_frames=4)),
    )
    batch, final = memorise(batch_of, stage, [Task(seed, 2, 0) for seed in range(5)], 100, 2e-3)
    pose = batch.truth.pose[:, 1:]
    constant = torch.cat((pose[..., :3].mean(0), F.normalize(pose[..., 3:].mean(0), dim=-1)), dim=-1)
    moved, turned = pose_errors(F.pad(constant, (0, 0, 1, 0)).expand_as(batch.truth.pose), batch.truth.pose)
    assert final["translation_m"] < 0.6 * moved and final["rotation_deg"] < 0.6 * turned


def test_the_joint_stage_can_lay_out_localize_and_answer(recipe, tiny_model, batch_of):
    objective = LossWeights(layout=0.5, situation=0.5)
    config = recipe(joint=JointConfig(suffixes=6, objective=objective))
    stage = make_stage("joint", config, tiny_model)
    batch, final = memorise(batch_of, stage, [Task(seed, 4, seed) for seed in (6, 8)], 140, 4e-3)
    layout, pose = batch.layout[batch.layout_valid], batch.texts.pose[batch.texts.posed]
    labels = batch.texts.answer[batch.texts.answer >= 0]
    share = labels.unique(return_counts=True)[1] / len(labels)
    assert final["layout_m"] < 0.7 * (layout - layout.mean(0)).norm(dim=-1).mean()
    assert final["position_m"] < 0.7 * (pose[:, :2] - pose[:, :2].mean(0)).norm(dim=-1).mean()
    assert final["language"] < 0.5 * -(share * share.log()).sum()
    assert final["acc_30deg"] > 0.6
