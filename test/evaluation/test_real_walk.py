import json
from dataclasses import dataclass

import numpy as np
import pytest

from loc3r_ros.cli import main
from loc3r_ros.errors import BagError
from loc3r_ros.evaluation.real_walk import Walk, draw_walk, score_walk, walk_through
from loc3r_ros.evaluation.report import walk_to_markdown
from loc3r_ros.evaluation.run import Shot, shots_of

SEED = 1_100_000
ABOUT = {"name": "nano", "precision": "fp16", "backend": "onnxruntime", "walk": "office"}


@dataclass(frozen=True)
class MadeUpWalk(Walk):
    """A walk that needs no bag."""

    recorded: tuple[Shot, ...] = ()

    def shots(self):
        return iter(self.recorded)


@pytest.fixture
def walk(plan, tmp_path):
    return MadeUpWalk(tmp_path, "", "/truth", tuple(shots_of(plan(2).load(SEED, 8))))


def test_even_shots(walk):
    assert [shot.stamp for shot in walk.even_shots(3)] == [walk.recorded[i].stamp for i in (0, 4, 7)]
    assert len(walk.even_shots(100)) == 8
    with pytest.raises(BagError, match="1 images with a true pose on /truth"):
        MadeUpWalk(walk.path, "", "/truth", walk.recorded[:1]).even_shots(3)


def test_an_oracle_on_a_walk(walk, subject, plan):
    """Its cameras are exact but for their scale."""
    situation, question = plan(2).load(SEED, 8).situations[0], "is there a sofa?"
    record = walk_through(subject(scale=1.25, noise=1e-6), walk, 8, [situation.text], [question])
    report = score_walk(record)
    for name in ("video", "robot"):
        assert report[name]["aligned_m"]["value"] == pytest.approx(0.0, abs=1e-9)
        assert report[name]["scale"]["value"] == pytest.approx(0.8)
        assert report[name]["aligned_rigid_m"]["value"] == pytest.approx(0.25 * report[name]["still_m"]["value"])
        assert report[name]["poses"] == 8
    (answer,) = report["answers"]
    assert answer["question"] == question and answer["answer"] in ("yes", "no")
    assert report["places"][0]["x"] == pytest.approx(situation.pose[0], abs=1e-4)
    text = walk_to_markdown(report | {"run": ABOUT}, ["walk.png"])
    assert f"- {question} **{answer['answer']}** (1.00)" in text
    assert "| 1 video, 8 keyframes |" in text
    lines = draw_walk(record).axes[1].lines
    np.testing.assert_allclose(lines[0].get_xydata(), lines[1].get_xydata(), atol=1e-9)


@pytest.mark.slow
@pytest.mark.shared_data
def test_the_recorded_walk(engine_folder, shared, tmp_path, capsys):
    bag, out = shared / "data" / "hololens_office", tmp_path / "walk.json"
    command = ["evaluate", "--engines", str(engine_folder("tiny")), "--walk", str(bag), "--json", str(out)]
    assert main([*command, "--pictures", str(tmp_path / "pictures"), "--ask", "How many sofas are there?"]) == 0
    report = json.loads(out.read_text())
    assert report["robot"]["still_m"]["value"] > 2.0
    assert len(report["answers"]) == 1
    assert report["run"]["walk"] == "hololens_office"
    assert "(pictures/walk.png)" in out.with_suffix(".md").read_text()
    assert (tmp_path / "pictures" / "walk.png").exists()
    assert main([*command, "--pose-topic", "/nowhere"]) == 1
    assert "has no topic /nowhere" in capsys.readouterr().err
