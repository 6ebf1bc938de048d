"""What the benchmark compares gives the same answers, so that only the cost differs."""

import math
import time

import numpy as np
import pytest
import torch

from loc3r_ros.benchmarks import model, model_7b
from loc3r_ros.benchmarks._timing import interleaved
from loc3r_ros.benchmarks.roofline import linear_weights
from loc3r_ros.engines import EngineSet
from loc3r_ros.export.source import random_source
from loc3r_ros.localizer.question import Question
from loc3r_ros.model.config import preset
from loc3r_ros.prompt.template import PromptTemplate

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def film(engine_folder):
    return model.Film(EngineSet.load(engine_folder("tiny"), threads=1), 4)


@pytest.fixture(scope="module")
def source():
    return random_source(preset("tiny"))


def test_anew_gives_the_cached_answer(film, source):
    prompt = PromptTemplate(source.tokenizer).ask(model.QUESTION, model.SITUATION)
    cached = Question(film.engines, film.sequence(3).snapshot, prompt, 1)
    np.testing.assert_allclose(model.answer_anew(film.engines, film, 3, prompt), cached._logits, atol=1e-4)


@torch.inference_mode()
def test_transformers_has_the_same_weights(source):
    embeddings = torch.randn(1, 9, source.model.config.language.hidden_size)
    hidden, _ = source.model.language(embeddings)
    plain = model.plain_transformers(source)(inputs_embeds=embeddings).logits
    torch.testing.assert_close(plain, source.model.language.logits(hidden), atol=1e-4, rtol=0)


def test_appending_again_leaves_the_sequence(film):
    sequence = film.sequence(2)
    before = sequence.snapshot.cache.read()
    append = model.appending(film.engines, film, sequence, 2)
    append()
    append()
    assert sequence.snapshot.cache.length == len(before["key.0"])
    for name, rows in sequence.snapshot.cache.read().items():
        np.testing.assert_array_equal(rows, before[name])


def test_the_benchmark_of_the_7b_runs_at_any_size():
    rows = {row.name: row.value for row in model_7b.measure("tiny", "cpu", keyframes=2)}
    for name in ("append of a frame, eager", "append of a frame, CUDA graph", "anew / cached", "transformers / cached"):
        assert rows[name] > 0
    share = rows["decode of a token, CUDA graph: share of the copy bandwidth"]
    language, bandwidth = preset("tiny").language, rows["copy bandwidth"]
    read = 2 * (linear_weights(language) + language.vocab_size * language.hidden_size)
    seconds = rows["decode of a token, CUDA graph"] / 1e3
    assert share * bandwidth * 1e9 * seconds / 100 > read, "weights of two bytes, and the cache"


def test_a_stage_that_fails_stops_no_other(monkeypatch):
    def full(*_):
        raise torch.cuda.OutOfMemoryError("no room")

    monkeypatch.setattr(model_7b, "first_token", full)
    rows = {row.name: row for row in model_7b.measure("tiny", "cpu", keyframes=1, rounds=1)}
    assert math.isnan(rows[model_7b.PLAIN].value) and "no room" in rows[model_7b.PLAIN].note
    assert rows["anew / cached"].value > 0 and "transformers / cached" not in rows


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, and it would be measured")
def test_without_a_gpu_it_says_so():
    (row,) = model_7b.measure()
    assert math.isnan(row.value) and "no CUDA GPU" in row.note


def test_functions_are_timed_in_turn():
    calls = []

    def busy():
        calls.append("busy")
        end = time.process_time() + 0.02
        while time.process_time() < end:
            pass

    times = interleaved({"idle": lambda: calls.append("idle"), "busy": busy}, 2)
    assert calls == ["idle", "busy"] * 3
    assert times["busy"][0] >= 0.02 > times["idle"][0]


@pytest.mark.slow
def test_a_cached_question_is_ten_times_cheaper(engine_folder, source):
    """Nano at 32 keyframes, CPU time in one run."""
    engines = EngineSet.load(engine_folder("nano"), threads=1)
    film = model.Film(engines, 32)
    prompt = PromptTemplate(source.tokenizer).ask(model.QUESTION)
    snapshot = film.sequence(32).snapshot
    times = interleaved(
        {
            "cached": lambda: Question(engines, snapshot, prompt, 1),
            "anew": lambda: model.answer_anew(engines, film, 32, prompt),
        },
        3,
    )
    assert times["anew"][0] > 10 * times["cached"][0]
