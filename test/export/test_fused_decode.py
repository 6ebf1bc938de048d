"""Fused kernels give the tokens and logits of the language graph; without a GPU Triton's interpreter runs them."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
pytest.importorskip("triton", reason="no Triton here")

from loc3r_ros.benchmarks import _fused_decode
from loc3r_ros.benchmarks._fused_decode import FusedDecode, Shape, cache_tensors
from loc3r_ros.benchmarks.model import Film
from loc3r_ros.export.reference import reference_engines
from loc3r_ros.export.source import random_source
from loc3r_ros.localizer.question import Question
from loc3r_ros.model.config import preset
from loc3r_ros.prompt.template import PromptIds

torch.set_num_threads(1)
PROMPT = PromptIds(np.arange(5, 25), 10, 11)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
@torch.inference_mode()
def test_fused_tokens_are_those_of_the_engine(tied, monkeypatch):
    monkeypatch.setattr(_fused_decode, "BLOCK", 16)
    tiny = preset("tiny")
    source = random_source(replace(tiny, language=replace(tiny.language, hidden_size=64, tie_embeddings=tied)))
    for parameter in source.model.language.parameters():  # far from nothing, biases and gains too
        parameter.add_(0.1 * torch.randn_like(parameter))
    engines = reference_engines(source, "fp32", DEVICE)
    snapshot = Film(engines, 3).sequence(3).snapshot
    question = Question(engines, snapshot, PROMPT, 6)
    suffix = question._suffix.view()
    decode = FusedDecode(source.model.language, snapshot.cache.length + suffix.length + 8)
    decode.shapes = dict.fromkeys(decode.shapes, Shape(16, 32, 4, 1))
    decode.fill([cache_tensors(snapshot.cache), cache_tensors(suffix)])
    token = int(np.argmax(question._logits[0]))
    decode.token.fill_(token)
    for _ in range(4):
        question.push(token)
        decode.step()
        np.testing.assert_allclose(
            decode.logits.cpu().numpy(), question._logits, atol=2e-4 if DEVICE == "cpu" else 2e-2
        )
        token = int(np.argmax(question._logits[0]))
        assert int(decode.token) == token


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE == "cpu", reason="times of the interpreter mean nothing")
def test_tuning_chooses_among_the_shapes():
    language = random_source(preset("nano")).model.language.to("cuda", torch.bfloat16)
    decode = FusedDecode(language, 32)
    decode.tune(2)
    assert set(decode.shapes.values()) <= set(_fused_decode.SHAPES)
