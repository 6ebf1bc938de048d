import json
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.patches import Ellipse

from loc3r_ros.evaluation.pictures import draw_record, draw_uncertainty, ellipse, write_pictures
from loc3r_ros.evaluation.report import cell, table, to_markdown, without_nan, write_json
from loc3r_ros.evaluation.score import score

ABOUT = {
    "name": "nano",
    "precision": "fp16",
    "backend": "onnxruntime",
    "split": "test",
    "seeds": "1100000:1100120",
    "frames": 4,
}


@pytest.fixture(scope="module")
def report(records):
    return score(records) | {"run": ABOUT}


def test_the_json_is_json_and_its_top_level_holds_the_accuracies(report, tmp_path):
    write_json(tmp_path / "new" / "report.json", report)
    read = json.loads((tmp_path / "new" / "report.json").read_text())
    assert read["acc_1.0m"] == report["localization"]["video"]["acc_1.0m"]["value"] == 100.0
    assert list(read)[:5] == ["acc_0.5m", "acc_1.0m", "acc_15deg", "acc_30deg", "scenes"]
    assert read["uncertainty"]["position"]["rank_correlation"] is None
    assert read["questions"]["types"]["is"]["score"]["video"] == {
        "value": 100.0,
        "low": 100.0,
        "high": 100.0,
        "count": 360,
    }


def test_what_is_not_a_number_is_null():
    assert without_nan({"a": [float("nan"), 1.0], "b": (float("inf"), "x", 2)}) == {
        "a": [None, 1.0],
        "b": [None, "x", 2],
    }


def test_tables(report):
    text = to_markdown(report, ["pictures/scene_1.png"])
    assert "| **the video** | 100.0 [100.0, 100.0] | 100.0 [100.0, 100.0] |" in text
    assert "on 120 test scenes" in text
    assert "120 videos, 480 keyframes" in text
    assert "2 long walks, 80 keyframes" in text
    assert "![scene_1](pictures/scene_1.png)" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    widths = [row.count("|") for row in rows]
    starts = [i for i, row in enumerate(rows) if row.startswith("| ---")]
    for start, end in zip(starts, [*(i - 1 for i in starts[1:]), len(rows)], strict=True):
        assert len(set(widths[start - 1 : end])) == 1, "a table has as many cells in every row"


def test_a_report_without_questions_or_walks(records):
    bare = [replace(record, asked=[], walk=None) for record in records[:3]]
    text = to_markdown(score(bare) | {"run": ABOUT})
    assert "## Questions" not in text
    assert "long walks" not in text


def test_cells():
    assert cell({"value": 1.26, "low": 1.0, "high": 2.0}) == "1.3 [1.0, 2.0]"
    assert cell({"value": float("nan"), "low": 0.0, "high": 0.0}) == "-"
    assert table(["a", "b"], [["x", "1"]]) == "| a | b |\n| --- | ---: |\n| x | 1 |"


def test_an_ellipse_has_the_axes_of_its_covariance():
    turn = np.radians(30.0)
    axes = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    covariance = axes @ np.diag([0.25, 4.0]) @ axes.T
    drawn = ellipse(np.array([1.0, 2.0]), covariance, 2, "red")
    assert isinstance(drawn, Ellipse)
    assert (drawn.width, drawn.height) == pytest.approx((2.0, 8.0))
    assert drawn.angle % 180 == pytest.approx(30.0)


def test_ellipses_are_turned_into_the_world(records):
    """An estimate that is unsure along the anchor's x axis, in a world where that axis points to 60 degrees."""
    place = records[0].placements[0]
    unsure = replace(place.estimates["video"], covariance=np.diag([4.0, 1.0, 0.01]))
    place = replace(place, estimates={"video": unsure})
    turned = replace(records[0], placements=[place], world_t_anchor=np.array([0.0, 0.0, np.radians(60.0)]))
    (drawn, _) = (patch for patch in draw_record(turned).axes[0].patches if isinstance(patch, Ellipse))
    longest = drawn.angle + (90.0 if drawn.height > drawn.width else 0.0)
    assert longest % 180 == pytest.approx(60.0)


def test_pictures_are_written(records, tmp_path):
    from loc3r_ros.world.generate import make_scene

    files = write_pictures(records[:1], tmp_path / "new")
    assert [file.name for file in files] == ["uncertainty.png", "scene_1100000.png"]
    assert all(file.stat().st_size > 5000 for file in files)
    axes = draw_record(records[0]).axes[0]
    assert sum(isinstance(patch, Ellipse) for patch in axes.patches) == 8  # four situations are drawn
    assert len(axes.patches) - 8 >= len(make_scene(records[0].seed).furniture)
    assert draw_uncertainty([]).axes[0].get_xlabel() == "predicted sigma, m"
