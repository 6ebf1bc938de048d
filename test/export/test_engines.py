"""Folders of engines equal the model, and appear whole or not at all."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch

from loc3r_ros.cli import main
from loc3r_ros.engines import EngineSet, Manifest
from loc3r_ros.errors import ConfigError, EngineError
from loc3r_ros.export import folder as folders
from loc3r_ros.export import parity
from loc3r_ros.export.folder import export_engines
from loc3r_ros.export.parity import check, compare, difference
from loc3r_ros.export.reference import reference_engines
from loc3r_ros.export.source import Source, load_source, random_source
from loc3r_ros.keyframes import KeyframeBuffer, MotionPolicy
from loc3r_ros.localizer import Localizer
from loc3r_ros.model.checkpoint import save_model, save_pose_prior
from loc3r_ros.model.config import preset
from loc3r_ros.prompt.training import train_tokenizer

torch.set_num_threads(1)


@pytest.mark.parametrize("size", ["tiny", "nano", pytest.param("mid", marks=pytest.mark.slow)])
def test_every_graph_equals_torch(engine_folder, size):
    reference = reference_engines(random_source(preset(size)))
    engines = EngineSet.load(engine_folder(size), threads=1)
    deviations = compare(reference, engines)
    assert {deviation.graph for deviation in deviations} == {"pose_prior", "vision", "language"}
    assert len({deviation.lengths for deviation in deviations if deviation.graph == "language"}) >= 5
    worst = max(deviations, key=lambda deviation: deviation.error)
    assert worst.error < 1e-4, worst
    np.testing.assert_array_equal(engines.embedding, reference.embedding)
    for name, rows in reference.head.items():
        np.testing.assert_allclose(engines.head[name], rows, atol=1e-5)


def test_half_precision_stays_close(engine_folder):
    reference = reference_engines(random_source(preset("tiny")))
    engines = EngineSet.load(engine_folder("tiny", "fp16"), threads=1)
    assert engines.manifest.language.cache_dtype == "float16" and engines.embedding.dtype == np.float16
    assert check(reference, engines) < 5e-2


def test_the_check_notices_another_model(engine_folder):
    other = reference_engines(random_source(preset("tiny"), seed=1))
    with pytest.raises(EngineError, match=r"does not say what the model says: its output '\w"):
        check(other, EngineSet.load(engine_folder("tiny"), threads=1))


def test_a_difference_that_is_not_finite_is_infinite():
    assert difference(np.ones(2), np.array([1.0, np.nan])) == np.inf
    assert difference(np.ones(2), np.ones(3)) == np.inf
    assert difference(np.array([100.0]), np.array([101.0])) == pytest.approx(0.01)


def test_a_failed_export_leaves_what_was_there(engine_folder, tmp_path, monkeypatch):
    target = tmp_path / "engines"
    shutil.copytree(engine_folder("tiny"), target)
    before = Manifest.read(target).to_json()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(folders, "write_graph", fail)
    with pytest.raises(OSError, match="disk full"):
        export_engines(random_source(preset("tiny")), target)
    assert Manifest.read(target).to_json() == before
    assert [path.name for path in tmp_path.iterdir()] == ["engines"]


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="something else"):
        export_engines(random_source(preset("tiny")), tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_an_unknown_precision_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="int3"):
        export_engines(random_source(preset("tiny")), tmp_path / "x", "int3")


def test_a_tokenizer_of_another_model_is_refused():
    source = random_source(preset("tiny"))
    words = [f" {a}{b}{c}" for a in "klmn" for b in "aeiou" for c in "prstz"] * 3
    with pytest.raises(ConfigError, match="knows only 320"):
        Source(source.model, source.prior, train_tokenizer(words, 400))
    language = dataclasses.replace(source.model.config.language, position_token=7)
    model = random_source(preset("tiny")).model
    model.config = dataclasses.replace(model.config, language=language)
    with pytest.raises(ConfigError, match="do not belong together"):
        Source(model, source.prior, source.tokenizer)


def test_the_command_exports_a_checkpoint(tmp_path, capsys):
    source = random_source(preset("tiny"), seed=3)
    save_model(source.model, tmp_path / "model")
    save_pose_prior(source.prior, tmp_path / "model")
    source.tokenizer.save(tmp_path / "model")
    assert main(["export", str(tmp_path / "model"), "--out", str(tmp_path / "engines")]) == 0
    assert "say what the model says" in capsys.readouterr().out
    assert Manifest.read(tmp_path / "engines").model == load_source(tmp_path / "model").manifest("torch", "fp32").model


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    assert main(["export", str(tmp_path / "nothing"), "--out", str(tmp_path / "engines")]) == 1
    assert "nothing" in capsys.readouterr().err


def test_fixed_shapes_say_the_same(engine_folder, tmp_path, monkeypatch):
    """The whole buffer goes in, whatever it holds behind what counts, and the localizer need not know."""
    source = random_source(preset("tiny"))
    assert main(["export", "--random", "tiny", "--out", str(tmp_path / "e"), "--fixed-cache", "6", "--no-check"]) == 0
    engines = EngineSet.load(tmp_path / "e", threads=1)
    shape = engines.language.spec.inputs["prefix_key.0"].shape
    assert shape[0] == engines.prefix_rows == len(source.head_ids) + 6 * engines.manifest.video.tokens
    assert not {"prefix", "suffix"} & set(engines.manifest.dimensions)
    lengths = [run for run in parity.LENGTHS if run[1] <= engines.prefix_rows]
    assert len(lengths) >= 3
    monkeypatch.setattr(parity, "LENGTHS", lengths)
    assert check(reference_engines(source), engines) < 1e-4
    with pytest.raises(ConfigError, match="exported for"):
        Localizer.load(tmp_path / "e", threads=1, keyframes=KeyframeBuffer(9, MotionPolicy()))
    answers = []
    for folder in (tmp_path / "e", engine_folder("tiny")):
        keyframes = KeyframeBuffer(4, MotionPolicy(0.0, 0.0), eviction_block=2)
        localizer = Localizer.load(folder, threads=1, keyframes=keyframes, answer_tokens=6)
        for number in range(6):
            picture = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
            localizer.observe(picture, number * 10**9)
            assert localizer.settle(60)
        answers.append((localizer.locate("Here.").pose, localizer.ask("What?").text))
    np.testing.assert_allclose(answers[0][0], answers[1][0], atol=1e-4)
    assert answers[0][1] == answers[1][1]
