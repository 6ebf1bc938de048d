"""Ablations: what a trained model says, straight from PyTorch, and the command that trains and compares them."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from loc3r_ros.cli import main
from loc3r_ros.data.suffixes import UNSUPERVISED, Suffix, pose_text
from loc3r_ros.export.source import load_source
from loc3r_ros.train.ablation import Exam, blindfold, examine, pose_in
from loc3r_ros.train.features import View
from loc3r_ros.train.joint_stage import JointStage, SceneTexts
from loc3r_ros.train.packing import join_texts
from loc3r_ros.train.stages import joint_source
from loc3r_ros.world.balance import Balancer

CPU = torch.device("cpu")
SEEDS = (1_000_000, 1_000_001)


@pytest.fixture(scope="module")
def exam(tiny_model, recipe):
    """Return a function: recipe changes -> the exam of the first scene, and its stage."""

    def make(**joint):
        config = recipe()
        config = replace(config, joint=replace(config.joint, **joint))
        stage = JointStage(load_source(tiny_model), config)
        stage.prepare(CPU, bf16=False)
        stage.module.eval()
        return Exam(stage, config, SEEDS[0], CPU), stage

    return make


def test_poses_are_those_that_training_measures(exam, recipe):
    given, stage = exam()
    found = given.take(Balancer())
    assert found.truth.shape == found.estimate.shape == (len(given.truth.situations), 3)
    # The same through the whole forward pass of training, one situation a time.
    for situation, truth, estimate in zip(given.truth.situations, found.truth, found.estimate, strict=True):
        scores = stage.module(stage.pack([SceneTexts(join_texts([stage.maker.locate(situation)]), View(SEEDS[0]))], 3))
        assert float(scores["position_m"]) == pytest.approx(np.hypot(*(estimate - truth)[:2]), rel=1e-4)


def test_an_answer_is_right_where_the_model_would_say_it(exam):
    given, stage = exam()
    prompt = stage.maker.template.ask("What is this?", "").ids
    said = []
    for _ in range(3):
        hidden = given._read([answered(prompt, said)])[1]
        said.append(int(stage.module.model.language.logits(hidden[-1]).argmax()))
    others = [[*said[:2], said[2] + 1], [said[0] + 1, *said[1:]]]
    assert given._are_right([answered(prompt, ids) for ids in (said, *others, said[:2])]) == [True, False, False, True]


def answered(prompt, answer):
    """A text whose answer has these ids."""
    answer = np.array(answer, np.int64)
    labels = np.concatenate([np.full_like(prompt, UNSUPERVISED), answer])
    return Suffix("what", np.concatenate([prompt, answer]), labels, -1, -1, None)


def test_a_pose_in_words(exam):
    for pose in ((1.2, -0.4, 2.0), (-3.0, 0.0, -math.pi / 2)):
        np.testing.assert_allclose(pose_in(pose_text(pose)), pose, atol=0.05)
    assert np.isnan(pose_in("1.0 2.0")).all() and np.isnan(pose_in("sofa")).all()
    found = exam(pose_as_text=True)[0].take(Balancer())
    assert found.estimate.shape == found.truth.shape
    assert np.isnan(found.estimate).any(axis=1).all()  # random weights say no pose


def test_who_is_blindfolded_sees_all_scenes_alike(tiny_model, recipe, tmp_path):
    blindfold(tiny_model, tmp_path / "blind")
    stage = JointStage(joint_source(recipe(), tmp_path / "blind"), recipe())
    stage.prepare(CPU, bf16=False)
    for features in stage.features.take([View(seed) for seed in SEEDS], np.arange(8)):
        assert torch.equal(*features) and features.isfinite().all()
    assert stage.store.truth(SEEDS[0]).situations != stage.store.truth(SEEDS[1]).situations
    (first, _) = examine(joint_source(recipe(), tmp_path / "blind"), recipe(), SEEDS, CPU)
    assert np.isfinite(first.estimate).all() and len(first.answers) > 5


SHORT = [
    "phases=[{steps: 2, batch: 1, frames: 2}]",
    "data.workers=0",
    "data.scenes=3",
    "data.validation_scenes=1",
    "data.walk_frames=8",
]


@pytest.mark.slow
def test_the_table(tiny_model, tmp_path, capsys):
    out = tmp_path / "out.json"
    changes = [word for change in [*SHORT, f"data.cache={tmp_path / 'cache'}"] for word in ("--set", change)]
    command = ["ablate", "--model", str(tiny_model), "--json", str(out), "--runs", str(tmp_path / "runs"), *changes]
    command += ["--seeds", "1100000:1100002", "--only", "situation", "text", "blind"]
    assert main([*command, "--minutes", "0.0001"]) == 0
    assert "Give the same command again" in capsys.readouterr().out
    assert not out.exists()
    assert main(command) == 0
    report = json.loads(out.read_text())
    assert report["situation"]["acc_1.0m"]["count"] >= 4
    assert report["text"]["acc_1.0m"]["value"] == 0.0
    assert report["blind"]["types"].keys() == report["situation"]["types"].keys()
    assert report["run"]["seeds"] == "1100000:1100002"
    printed = capsys.readouterr().out
    assert "| situation only |" in printed and "| text alone: trained without pictures |" in printed
    assert (tmp_path / "runs" / "situation_3" / "curves.png").exists()
