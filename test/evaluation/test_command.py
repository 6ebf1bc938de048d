import json
import runpy
import shutil
from pathlib import Path

import pytest

from loc3r_ros.cli import main
from loc3r_ros.engines.manifest import Calibration, Manifest
from loc3r_ros.evaluation.calibration import NEUTRAL
from loc3r_ros.evaluation.engines import load_engines
from loc3r_ros.export.source import load_calibration


@pytest.mark.parametrize(
    ("seeds", "options", "words"),
    [
        ("0:200", [], "hold train scenes: use test scenes (from 1100000 up) or validation scenes"),
        ("1100000:1100200", ["--calibrate"], "hold test scenes: use validation scenes"),
        ("many", [], "is no range of seeds"),
    ],
)
def test_seeds_are_refused_with_a_sentence(seeds, options, words, tmp_path, capsys):
    json_file = tmp_path / "out.json"
    code = main(["evaluate", "--engines", str(tmp_path), "--seeds", seeds, "--json", str(json_file), *options])
    assert code == 1
    assert words in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_engines_that_are_not_there(tmp_path, capsys):
    missing = tmp_path / "missing"
    assert main(["evaluate", "--engines", str(missing), "--seeds", "1100000:1100002", "--json", "x.json"]) == 1
    assert f"{missing} is not a folder of engines" in capsys.readouterr().err


@pytest.fixture
def folder(engine_folder, tmp_path):
    """A copy of the tiny engines, whose manifest may be changed."""
    return shutil.copytree(engine_folder("tiny"), tmp_path / "engines")


@pytest.mark.slow
def test_numbers_table_and_pictures(folder, tmp_path, capsys):
    out, pictures = tmp_path / "out" / "tiny.json", tmp_path / "out" / "pictures"
    command = ["evaluate", "--engines", str(folder), "--seeds", "1100000:1100002", "--walks", "0", "--json", str(out)]
    assert main([*command, "--pictures", str(pictures)]) == 0
    printed = capsys.readouterr()
    report = json.loads(out.read_text())
    assert {"acc_0.5m", "acc_1.0m", "acc_15deg", "acc_30deg"} <= set(report)
    assert report["scenes"] == 2
    assert report["run"]["fingerprint"] == Manifest.read(folder).fingerprint
    assert "on 2 test scenes" in printed.out
    assert "100%" in printed.err, "there is a progress bar"
    table = out.with_suffix(".md").read_text()
    assert "(pictures/scene_1100001.png)" in table
    assert (pictures / "scene_1100001.png").exists()
    first = out.read_text()
    assert main(command) == 0  # all is done: it is scored again
    assert out.read_text() == first
    assert main([*command, "--questions", "2"]) == 1
    assert "other engines, seeds or options" in capsys.readouterr().err


def test_the_command_can_be_imported_by_its_processes():
    runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "loc3r"), run_name="__mp_main__")


@pytest.mark.slow
def test_several_processes_come_to_the_same(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("loc3r_ros.evaluation.processes.BLOCK", 1)
    command = ["evaluate", "--engines", str(folder), "--seeds", "1100000:1100002", "--walks", "0", "--json"]
    records = []
    for processes in (1, 2):
        out = tmp_path / f"{processes}.json"
        assert main([*command, str(out), "--processes", str(processes)]) == 0
        records.append(out.with_suffix(".records.jsonl").read_text())
    assert records[0] == records[1]
    assert records[0].count("\n") == 1 + 2


@pytest.mark.slow
def test_the_calibration_goes_into_the_manifest(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("loc3r_ros.evaluation.calibration.MIN_PLACES", 2)
    assert load_engines(folder, NEUTRAL).manifest.calibration == NEUTRAL
    before, out = Manifest.read(folder), tmp_path / "fit.json"
    command = ["evaluate", "--engines", str(folder), "--seeds", "1000000:1000002", "--json", str(out), "--calibrate"]
    assert main([*command, "--model", str(tmp_path)]) == 0
    after = Manifest.read(folder)
    assert after.calibration != before.calibration
    assert after.files == before.files
    assert load_calibration(tmp_path) == after.calibration and load_calibration(folder) == Calibration()
    after.verify(folder)
    report = json.loads(out.read_text())
    assert report["calibration"]["sigma_scale"] == after.calibration.sigma_scale
    assert report["after"]["position"]["calibration_error"] <= report["before"]["position"]["calibration_error"]
    assert "calibration error of the position" in capsys.readouterr().out
