"""Stages are timed beside their floors, and engines that are there may be named."""

import pytest

from loc3r_ros.benchmarks import stages
from loc3r_ros.benchmarks._ceilings import Ceilings

CEILINGS = Ceilings({"fp32": 1e11, "int8": 4e11, "int4": 1e11}, 2e10)


@pytest.fixture(autouse=True)
def known_limits(monkeypatch):
    monkeypatch.setattr(stages, "measure_ceilings", lambda: CEILINGS)


def test_engines_that_are_there(engine_folder):
    folder = engine_folder("tiny")
    rows = {row.name: row for row in stages.measure(engines=str(folder), threads=1, keyframes=2, rounds=1)}
    for stage in ("pose prior", "vision", "append", "question of 40 tokens", "decode"):
        cpu = rows[f"{folder.name}: {stage}"].value
        share = rows[f"{folder.name}: {stage}, share of the limit"]
        assert 0 < share.value < 100 and "GFLOP" in share.note and "of the copy limit" in share.note and cpu > 0
    parts = sum(rows[f"{folder.name}: {part}"].value for part in ("resize", "pose prior", "vision", "append"))
    assert rows[f"{folder.name}: frame kept"].value == pytest.approx(parts)
    assert f"{folder.name}: resize, share of the limit" not in rows
    assert not any(name.startswith("torch") for name in rows)


@pytest.mark.slow
def test_all_precisions_and_torch_in_one_run():
    rows = {row.name: row.value for row in stages.measure("tiny", threads=1, keyframes=2, rounds=1)}
    for precision in stages.PRECISIONS:
        assert rows[f"torch / {precision}: frame"] > 0 and rows[f"{precision}: size of the folder"] > 0
    assert rows["fp32 / int8: question of 40 tokens"] > 0
    assert not any(name.startswith("fp32 / torch") for name in rows)


def test_ratios_are_of_sums():
    slow, fast = {"a": (4.0, 8.0), "b": (2.0, 2.0)}, {"a": (1.0, 1.0), "b": (2.0, 4.0)}
    assert stages.ratio(slow, fast, ("a", "b"), 0) == 2 and stages.ratio(slow, fast, ("a", "b"), 1) == 2
    assert stages.ratio(slow, fast, ("a",), 1) == 8
