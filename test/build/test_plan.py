"""What a build needs: counted for the 7B as its design pages count it, and refused where it does not fit."""

import dataclasses

import pytest

from loc3r_ros.build.machine import free_memory
from loc3r_ros.build.plan import Weights, plan_build, planned_manifest, shortages
from loc3r_ros.errors import ConfigError
from loc3r_ros.export.outline import outline

MATRICES = 6_525_288_448
"""Weights of the 7B's blocks."""


@pytest.fixture(scope="module")
def seven():
    return outline("7b", "fp16", 40)


def plan(made, precision, matrices=MATRICES):
    weights = {name: Weights(size, matrices if name == "language" else 0) for name, size in made.weights.items()}
    return plan_build(planned_manifest(made.manifest, precision), weights, made.table)


def test_the_outline_counts_the_7b(seven):
    assert seven.weights["language"] / 1e9 == pytest.approx(14.14, abs=0.1)  # heads beside the blocks and the logits
    assert seven.weights["vision"] == 2 * (397_747_744 + 16_980_992)
    assert seven.weights["pose_prior"] / 2e6 == pytest.approx(793.3 - 60.6 - 26.8 - 18.9 + 15.6, rel=0.02)
    assert seven.table == 2 * 544_997_376
    assert seven.manifest.model == ""


@pytest.mark.parametrize(("precision", "gigabytes"), [("fp16", 14.19), ("int8", 14.19), ("int4", 4.6)])
def test_weights_of_the_language_graph(seven, precision, gigabytes):
    language = plan(seven, precision).graphs[-1]
    assert language.weights / 1e9 == pytest.approx(gigabytes, abs=0.05)
    assert language.precision == precision
    assert [graph.precision for graph in plan(seven, precision).graphs[:2]] == ["fp16", "fp16"]


def test_the_7b_builds_within_64_gb(seven):
    whole = plan(seven, "fp16")
    assert whole.build_bytes(is_streaming=False) < 60e9
    assert whole.build_bytes(is_streaming=True) == whole.build_bytes(is_streaming=False) - whole.graphs[-1].source
    assert plan(seven, "int4").build_bytes(is_streaming=False) < 29e9
    assert plan(seven, "int4").run_bytes < 20e9


def test_caches_are_those_of_the_memory_and_its_rebuild(seven):
    rows = 2 * (44 + 40 * 211) + 2 * 1536
    assert plan(seven, "fp16").cache == rows * 57_344


def test_shapes_become_profiles(seven):
    prior, vision, language = plan(seven, "fp16").graphs
    assert prior.profiles == vision.profiles == []
    assert [profile["embeddings"] for profile in language.profiles] == [
        ((1, 3584), (1, 3584), (1, 3584)),
        ((1, 3584), (211, 3584), (1536, 3584)),
    ]


def test_too_little_is_named(seven):
    small = plan(seven, "int4")
    assert shortages(small, True, memory=int(60e9), disk=int(60e9)) == []
    found = shortages(small, True, memory=int(16e9), disk=int(1e9))
    assert [text.partition(":")[0] for text in found] == ["memory to build", "disk"]
    assert found[1].endswith("1.0 GB are free")
    found = shortages(small, True, memory=int(60e9), disk=int(60e9), gpu=int(12e9))
    assert [text.partition(":")[0] for text in found] == ["memory of the GPU"]


def test_what_cannot_be_built_is_refused(seven):
    single = dataclasses.replace(seven.manifest, precision="fp32")
    with pytest.raises(ConfigError, match="--precision fp16"):
        planned_manifest(single, "int4")
    with pytest.raises(ConfigError, match="--precision fp16"):
        planned_manifest(seven.manifest, "fp32")
    with pytest.raises(ConfigError, match="quantised for CPUs"):
        planned_manifest(dataclasses.replace(seven.manifest, precision="int4"), "int4")
    with pytest.raises(ConfigError, match="Only ONNX engines"):
        planned_manifest(planned_manifest(seven.manifest, "fp16"), "fp16")
    assert planned_manifest(single, "fp32").graphs["vision"].file == "vision.plan"


def test_this_machine_has_memory():
    assert 1e8 < free_memory() < 1e14
