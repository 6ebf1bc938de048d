"""Each stage learns: on scenes that it never saw, it beats the best answer that ignores the pictures."""

import pytest
import torch

from loc3r_ros.train.config import DataConfig, JointConfig, OptimiserConfig, Phase
from loc3r_ros.train.log import read_log
from loc3r_ros.train.loop import train
from loc3r_ros.train.plan import Task
from loc3r_ros.train.stages import make_stage

pytestmark = pytest.mark.slow
VALIDATION = 16


def learn(name, recipe, model, folder, phase, rate, **joint):
    """Train, and return the stage, the validation scalars and the batches that they were measured on."""
    config = recipe(
        phases=(phase,),
        optimiser=OptimiserConfig(rate=rate, warmup=10),
        data=DataConfig(
            workers=0, scenes=joint.pop("scenes", 800_000), validation_scenes=VALIDATION, cache=str(folder)
        ),
        joint=JointConfig(**joint),
    )
    stage = make_stage(name, config, model)
    train(name, stage, config, folder / "run", folder / "out")
    final = read_log(folder / "run")[-1]
    assert (final["split"], final["step"]) == ("validation", phase.steps)
    tasks = [Task(seed, phase.frames, number) for number, seed in enumerate(config.data.validation_seeds())]
    state = stage.new_state()
    return stage, final, [stage.collate([stage.loader(task)], [task], state, torch.device("cpu")) for task in tasks]


def test_the_vision_tower_learns_what_and_where(recipe, tiny_model, tmp_path):
    _, final, batches = learn("vision", recipe, tiny_model, tmp_path, Phase(200, 4, 4), 1e-2)
    category = torch.cat([batch.category.flatten() for batch in batches])
    colour = torch.cat([batch.colour.flatten() for batch in batches])
    depth = torch.cat([batch.depth.flatten() for batch in batches])
    log_depth = depth[depth > 0].log()
    assert final["category_accuracy"] > (category == category.mode()[0]).float().mean() + 0.15
    print(final, (category == category.mode()[0]).float().mean(), (log_depth - log_depth.median()).abs().mean())
    coloured = colour[colour >= 0]
    assert final["colour_accuracy"] > (coloured == coloured.mode()[0]).float().mean() + 0.15
    assert final["depth"] < 0.75 * (log_depth - log_depth.median()).abs().mean()


def test_the_pose_prior_learns_the_shape_of_rooms(recipe, tiny_model, tmp_path):
    stage, _, batches = learn("pose", recipe, tiny_model, tmp_path, Phase(120, 4, 2), 5e-3)
    truth = torch.cat([batch.truth.points_self for batch in batches])
    constant = truth.median(dim=0, keepdim=True).values.median(dim=1, keepdim=True).values
    with torch.no_grad():
        told = torch.cat([predict(stage.module.network, batch.images) for batch in batches])
    error, baseline = ((points - truth).norm(dim=-1).median() for points in (told, constant))
    print(error, baseline)
    assert error < 0.8 * baseline


def predict(network, images):
    return torch.stack([prediction.point_maps.points_self for prediction in network(images)], dim=1)


def test_the_joint_stage_learns_to_lay_out_and_to_answer(recipe, tiny_model, tmp_path):
    changes = {"scenes": 60, "walk_frames": 8, "suffixes": 6}
    _, final, batches = learn("joint", recipe, tiny_model, tmp_path, Phase(100, 2, 4), 5e-3, **changes)
    labels = torch.cat([batch.texts.labels[batch.texts.labels >= 0] for batch in batches])
    share = labels.unique(return_counts=True)[1] / len(labels)
    layout, valid = (torch.cat([getattr(batch, name) for batch in batches]) for name in ("layout", "layout_valid"))
    centre = (layout - layout[valid].mean(0)).norm(dim=-1)[valid].mean()
    assert final["language"] < 0.75 * -(share * share.log()).sum()  # of the best answer that knows no question
    print(final, centre, (share * share.log()).sum())
    assert final["layout_m"] < 0.8 * centre
