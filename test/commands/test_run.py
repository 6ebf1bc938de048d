"""`loc3r run` on bags and videos made here and on the recorded walk, with engines of random weights."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from loc3r_ros import cli

sys.path.insert(0, str(Path(__file__).parents[1] / "bags"))  # its functions write bags
from test_bags import BASE_T_CAMERA, PERIOD, START, base_at, picture, robot_bag, write

SITUATION = "I am standing beside the sofa, facing the TV."
QUESTION = "How many chairs are there?"


@pytest.fixture(scope="module")
def engines(engine_folder):
    return engine_folder("tiny")


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return robot_bag(tmp_path_factory.mktemp("recordings") / "robot")


def run(capsys, recording, engines, out, *options):
    """Run the verb; return exit code, standard output and error."""
    code = cli.main(["run", str(recording), "--engines", str(engines), "--out", str(out), "--threads", "1", *options])
    return code, *capsys.readouterr()


@pytest.mark.slow
def test_a_bag_gives_places_answers_numbers_and_a_picture(capsys, bag, engines, tmp_path):
    code, out, _ = run(
        capsys, bag, engines, tmp_path, "--where", SITUATION, "--where", "I am here.", "--ask", QUESTION,
        "--situation", SITUATION,
    )  # fmt: skip
    assert code == 0
    assert "10 frames, 10 of them with odometry" in out
    assert SITUATION in out
    assert QUESTION in out
    report = json.loads((tmp_path / "report.json").read_text())
    assert [place["situation"] for place in report["places"]] == [SITUATION, "I am here."]
    for place in (report["robot"], *report["places"], report["answers"][0]["place"]):
        assert np.isfinite([place["x"], place["y"], place["heading"]]).all()
        assert np.linalg.eigvalsh(place["covariance"]).min() > 0
        assert sum(place["heading_distribution"]) == pytest.approx(1.0)
        assert place["anchor_id"] == report["frame"]["anchor_id"]
    assert report["answers"][0]["question"] == QUESTION
    image = cv2.imread(str(tmp_path / "top_view.png"))
    assert image.shape[0] > 500
    assert image.std() > 5


@pytest.mark.slow
def test_keyframes_lie_to_each_other_as_odometry_has_them(capsys, bag, engines, tmp_path):
    assert run(capsys, bag, engines, tmp_path)[0] == 0
    keyframes = json.loads((tmp_path / "report.json").read_text())["keyframes"]
    assert [keyframe["source"] for keyframe in keyframes] == ["odom"] * len(keyframes)
    found = np.array([(keyframe["x"], keyframe["y"]) for keyframe in keyframes])
    true = np.array([(base_at((k["stamp"] - START) / PERIOD) @ BASE_T_CAMERA)[:2, 3] for k in keyframes])
    steps = [np.linalg.norm(np.diff(points, axis=0), axis=1) for points in (found, true)]
    assert len(keyframes) > 1
    np.testing.assert_allclose(*steps, atol=1e-6)


@pytest.mark.slow
def test_a_video_is_read_with_its_colours_and_times(capsys, engines, tmp_path):
    video = tmp_path / "walk.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"MJPG"), 5.0, (64, 48))
    for i in range(8):
        writer.write(cv2.cvtColor(picture(i, 64, 48), cv2.COLOR_RGB2BGR))
    writer.release()
    code, out, error = run(capsys, video, engines, tmp_path / "out", "--ask", QUESTION)
    assert code == 0, error
    assert "8 frames, 0 of them with odometry" in out
    keyframes = json.loads((tmp_path / "out" / "report.json").read_text())["keyframes"]
    assert all(keyframe["stamp"] % 200_000_000 == 0 for keyframe in keyframes)
    assert keyframes[0]["source"] == "anchor"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("nothing.mp4", None, "There is no recording"),
        ("nothing.mcap", None, "There is no bag"),
        ("text.mp4", b"this is no video", "no video that OpenCV can decode"),
        ("text.mcap", b"this is no bag", "cannot be read"),
    ],
)
def test_a_recording_that_cannot_be_read_is_a_sentence(capsys, engines, tmp_path, name, content, sentence):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    code, _, error = run(capsys, tmp_path / name, engines, tmp_path / "out")
    assert code == 1
    assert error.startswith("loc3r run: ")
    assert sentence in error
    assert not (tmp_path / "out").exists()


def test_engines_that_are_not_there_are_told_before_the_recording_is_read(capsys, tmp_path):
    code, _, error = run(capsys, tmp_path / "nothing.mp4", tmp_path / "none", tmp_path / "out")
    assert code == 1
    assert "none" in error
    assert "nothing.mp4" not in error


def test_without_engines_it_says_how_to_get_some(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("loc3r_ros.resources.SHIPPED_ENGINES", "engines/not_shipped")
    assert cli.main(["run", str(tmp_path)]) == 1
    assert "loc3r export --random nano" in capsys.readouterr().err


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_a_sentence_after_the_answers(capsys, bag, engines, tmp_path):
    (tmp_path / "file").write_text("in the way")
    code, out, error = run(capsys, bag, engines, tmp_path / "file")
    assert code == 1
    assert "10 frames" in out
    assert "--out" in error


@pytest.mark.slow
@pytest.mark.shared_data
def test_the_recorded_walk_comes_through_without_a_lost_frame(capsys, shared, engines, tmp_path):
    code, _, error = run(capsys, shared / "data" / "hololens_office", engines, tmp_path, "--where", SITUATION)
    assert code == 0, error
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["watched"]["frames"] == 125
    assert len(report["keyframes"]) >= 3  # of the 4 that this model was made for
    assert all(keyframe["x"] is not None for keyframe in report["keyframes"])


def test_a_bag_without_images_is_a_sentence(capsys, bag, engines, tmp_path):
    from test_bags import odometry

    write(tmp_path / "bag", {"/odom": [(START, odometry(START, base_at(0)))]})
    code, _, error = run(capsys, tmp_path / "bag", engines, tmp_path / "out")
    assert code == 1
    assert "no image topic" in error
