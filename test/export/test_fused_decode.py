"""Fused kernels give the logits and cache rows of the language graph; without a GPU Triton's interpreter runs them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("triton", reason="no Triton here")

from loc3r_ros.benchmarks.model import Film
from loc3r_ros.benchmarks.model_7b import graph_seconds
from loc3r_ros.engines.torch_reference import TorchEngine
from loc3r_ros.export import fused_decode
from loc3r_ros.export.fused_decode import FusedLanguage, Shape
from loc3r_ros.export.graphs import LanguageGraph
from loc3r_ros.export.reference import fits_blocks, reference_engines, torch_graphs
from loc3r_ros.export.source import random_source
from loc3r_ros.localizer.question import Question
from loc3r_ros.model.config import preset
from loc3r_ros.prompt.template import PromptIds

torch.set_num_threads(1)
PROMPT = PromptIds(np.arange(5, 25), 10, 11)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOLERANCE = 2e-4 if DEVICE == "cpu" else 2e-2


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("fixed_frames", [None, 4])
@torch.inference_mode()
def test_answers_are_those_of_the_graph(tied, fixed_frames, monkeypatch):
    monkeypatch.setattr(fused_decode, "BLOCK", 16)
    tiny = preset("tiny")
    source = random_source(replace(tiny, language=replace(tiny.language, hidden_size=64, tie_embeddings=tied)))
    for parameter in source.model.language.parameters():  # far from nothing, biases and gains too
        parameter.add_(0.1 * torch.randn_like(parameter))
    fused = reference_engines(source, "fp32", DEVICE, fixed_frames)
    graph = FusedLanguage(LanguageGraph(source.model).eval())
    graph.shapes = dict.fromkeys(graph.shapes, Shape(16, 32, 4, 1))
    spec, device = fused.manifest.graphs["language"], torch.device(DEVICE)
    plain = replace(fused, language=TorchEngine(graph.graph, spec, device))
    fused = replace(fused, language=TorchEngine(graph, spec, device))
    snapshot = Film(plain, 3).sequence(3).snapshot
    asked = [Question(engines, snapshot, PROMPT, 6) for engines in (plain, fused)]
    for token in (7, 9, 11, 3):
        for question in asked:
            question.push(token)
        expected, found = asked
        np.testing.assert_allclose(found._logits, expected._logits, atol=TOLERANCE)
        assert np.argmax(found._logits) == np.argmax(expected._logits)
    for name, rows in expected._suffix.view().read().items():
        np.testing.assert_allclose(found._suffix.view().read()[name], rows, atol=TOLERANCE)


@torch.inference_mode()
def test_all_but_single_tokens_is_the_graph_itself(monkeypatch):
    source = random_source(preset("tiny"))
    graph = FusedLanguage(LanguageGraph(source.model).eval())
    monkeypatch.setattr(graph, "_next", None)
    engines = reference_engines(source)
    engines = replace(engines, language=TorchEngine(graph, engines.manifest.graphs["language"], torch.device("cpu")))
    question = Question(engines, Film(engines, 2).sequence(2).snapshot, PROMPT, 1)
    assert np.isfinite(question._logits).all()
    with pytest.raises(TypeError):
        question.push(7)


def test_on_a_cpu_and_for_heads_of_other_sizes_the_graph_stays_as_it_is():
    assert isinstance(torch_graphs(random_source(preset("tiny")))["language"], LanguageGraph)
    language = preset("7b").language
    assert fits_blocks(language) and not fits_blocks(replace(language, hidden_size=language.heads * 48))


def test_tuning_takes_the_fastest_shape_of_each_product(monkeypatch):
    graph = FusedLanguage(LanguageGraph(random_source(preset("tiny")).model).eval())
    monkeypatch.setattr(graph, "_product", lambda *_: None)
    graph.tune(lambda work: (work(), -graph.shapes["down"].width - graph.shapes["head"].rows)[1])
    assert graph.shapes["down"].width == 1024 and graph.shapes["head"].rows == 8


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE == "cpu", reason="times of the interpreter mean nothing")
def test_tuning_on_a_gpu_chooses_among_the_shapes():
    source = random_source(preset("nano"))
    source.convert("bf16", DEVICE)
    graph = FusedLanguage(LanguageGraph(source.model).eval())
    graph.tune(graph_seconds)
    assert set(graph.shapes.values()) <= set(fused_decode.SHAPES)
