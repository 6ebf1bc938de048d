"""Captured runs give what plain ones give, and a token after the first is no new capture."""

import numpy as np
import pytest
import torch

from loc3r_ros.benchmarks._captured import call_again, capture_cuda, captured
from loc3r_ros.benchmarks.model import Film
from loc3r_ros.export.reference import reference_engines
from loc3r_ros.export.source import random_source
from loc3r_ros.localizer.question import Question
from loc3r_ros.model.config import preset
from loc3r_ros.prompt.template import PromptIds

torch.set_num_threads(1)
PROMPT = PromptIds(np.arange(5, 25), 10, 11)


def check_answers(device):
    """Compare captured engines of fixed shapes with plain ones of variable shapes, over several tokens."""
    source = random_source(preset("tiny"))
    plain = reference_engines(source, "fp32", device)
    fixed = captured(reference_engines(source, "fp32", device, fixed_frames=4), device)
    questions = []
    for engines in (plain, fixed):
        question = Question(engines, Film(engines, 3).sequence(3).snapshot, PROMPT, 8)
        places = [question.position, question.orientation]
        for token in (7, 9, 11):
            question.push(token)
        questions.append([*places, question._logits])
    for expected, found in zip(*questions, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)
    return fixed.language.captures


def test_answers_are_those_of_plain_runs():
    assert check_answers("cpu") == 3, "a frame, a question, and one for all tokens"


@pytest.mark.gpu
def test_answers_are_those_of_plain_runs_on_a_gpu():
    assert check_answers("cuda") == 3


def test_what_is_called_again_fills_the_same_tensors():
    numbers = iter(range(10))
    replay, (output,) = call_again(lambda: (torch.full((2,), float(next(numbers))),))
    assert output.tolist() == [0, 0]
    replay()
    assert output.tolist() == [1, 1]


@pytest.mark.gpu
def test_a_cuda_graph_replays():
    place = torch.ones(3, device="cuda")
    replay, (output,) = capture_cuda(lambda: (place * 2,))
    place.fill_(5)
    replay()
    assert output.tolist() == [10, 10, 10]
