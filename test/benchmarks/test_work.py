"""Work is counted as one counts it by hand, and a machine's limits are what they are."""

import numpy as np
import pytest

from loc3r_ros.benchmarks import _ceilings
from loc3r_ros.benchmarks._work import Work, work_of
from loc3r_ros.engines import Manifest
from loc3r_ros.model.config import preset

SIZES = {"tokens": 9, "prefix": 40, "suffix": 3, "layouts": 2, "positions": 1, "orientations": 1, "predictions": 1}


def by_hand(config, head_hidden):
    """Operations of the language graph at SIZES."""
    language = config.language
    width, kv = language.hidden_size, language.kv_heads * language.head_dim
    block = 2 * width * width + 2 * width * kv + 3 * width * language.intermediate_size
    linear = 2 * 9 * language.layers * block
    attention = 4 * 9 * (40 + 3 + 9) * width * language.layers
    heads = 2 * (2 * width * 4 + 2 * width * head_hidden + head_hidden * (4 + config.heading_bins))
    return linear, attention, heads, 2 * width * language.vocab_size


def test_the_language_graph_as_counted_by_hand(engine_folder):
    folder, config = engine_folder("tiny"), preset("tiny")
    work = work_of(folder, Manifest.read(folder).graphs["language"], SIZES)
    expected = sum(by_hand(config, config.head_hidden or config.language.hidden_size))
    assert work.flops == {"fp32": pytest.approx(expected)}
    language = config.language
    weights = sum(file.stat().st_size for file in folder.glob("language.onnx*"))
    cache = 2 * language.layers * language.kv_heads * language.head_dim * 4 * (40 + 3 + 9)
    assert 0.7 * (weights + cache) < work.traffic < 1.1 * (weights + cache)


@pytest.mark.slow
def test_quantised_products_are_told_apart(engine_folder):
    totals = {}
    for precision in ("fp32", "int8", "int4"):
        folder = engine_folder("nano", precision)
        totals[precision] = work_of(folder, Manifest.read(folder).graphs["language"], SIZES)
    assert set(totals["fp32"].flops) == {"fp32"}
    assert set(totals["int8"].flops) == {"fp32", "int8"} and set(totals["int4"].flops) == {"fp32", "int4"}
    sums = [sum(work.flops.values()) for work in totals.values()]
    np.testing.assert_allclose(sums, sums[0])
    assert totals["int4"].traffic < totals["int8"].traffic < 0.4 * totals["fp32"].traffic


def test_the_floor_is_the_slower_of_products_and_bytes():
    work = Work({"fp32": 10e9, "int8": 40e9}, traffic=8e9)
    assert work.floor({"fp32": 100e9, "int8": 400e9}, bandwidth=80e9) == pytest.approx(0.2)
    assert work.floor({"fp32": 100e9, "int8": 400e9}, bandwidth=10e9) == pytest.approx(0.8)


def test_limits_of_this_machine(monkeypatch):
    monkeypatch.setattr(_ceilings, "SIDE", 256)
    monkeypatch.setattr(_ceilings, "COPIED", 1 << 22)
    monkeypatch.setattr(_ceilings, "ROUNDS", 2)
    ceilings = _ceilings.measure_ceilings()
    assert set(ceilings.products) == {"fp32", "int8", "int4"}
    assert all(1e8 < rate < 1e13 for rate in ceilings.products.values()) and 1e8 < ceilings.bandwidth < 1e12
    assert [row.unit for row in ceilings.rows()] == ["GFLOP/s"] * 3 + ["GB/s"]


def test_convolutions_count_their_window(engine_folder):
    folder, config = engine_folder("tiny"), preset("tiny")
    work = work_of(folder, Manifest.read(folder).graphs["vision"], {})
    vision = config.vision
    patches = (vision.image_size // vision.patch_size) ** 2
    stem = 2 * patches * 3 * vision.patch_size**2 * vision.hidden_size
    block = 2 * patches * (4 * vision.hidden_size**2 + 2 * vision.hidden_size * vision.intermediate_size)
    attention = 4 * patches**2 * vision.hidden_size
    projector = 2 * patches * (vision.hidden_size * config.language.hidden_size + config.language.hidden_size**2)
    known = stem + vision.layers * (block + attention) + projector
    assert known <= work.flops["fp32"] < 1.1 * known, "besides it only pools"
