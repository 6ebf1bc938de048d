"""The 7B on a CUDA GPU in bfloat16, random weights, eager PyTorch: frames, a question on 32 keyframes, decoding.

Needs a GPU with 24 GB. The `roofline` benchmark says what the hardware's limits would allow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from loc3r_ros.benchmarks import Measurement
from loc3r_ros.benchmarks._timing import interleaved
from loc3r_ros.benchmarks.model import DECODED, QUESTION, SITUATION, Film, answer_anew, appending
from loc3r_ros.benchmarks.roofline import weight_bytes
from loc3r_ros.engines import EngineSet
from loc3r_ros.export.reference import reference_engines
from loc3r_ros.export.source import Source, random_source
from loc3r_ros.localizer.question import Question
from loc3r_ros.model.config import Loc3RConfig, preset
from loc3r_ros.prompt.template import PromptTemplate

KEYFRAMES = 32
ROUNDS = 5


def measure(size: str = "7b", device: str = "cuda", keyframes: int = KEYFRAMES) -> list[Measurement]:
    """Measure on a GPU; without one, say so in the only row."""
    if device == "cuda" and not torch.cuda.is_available():
        return [Measurement("not measured", math.nan, "", "no CUDA GPU here; run `loc3r bench model_7b` where one is")]
    source = random_on(preset(size), device)
    engines = reference_engines(source, "bf16", device)
    return [copy_bandwidth(device), *engine_rows(engines, source, keyframes), memory_row(device)]


def random_on(config: Loc3RConfig, device: str) -> Source:
    """Make a model with random bfloat16 weights on the device itself: in host memory it would take twice as long."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            return random_source(config)
    finally:
        torch.set_default_dtype(dtype)


def engine_rows(engines: EngineSet, source: Source, keyframes: int) -> list[Measurement]:
    """Measure the stages; every run ends with a copy to the host, so that wall times are whole."""
    film = Film(engines, keyframes + 1)
    sequence = film.sequence(keyframes)
    snapshot, prompt = sequence.snapshot, PromptTemplate(source.tokenizer).ask(QUESTION, SITUATION)
    question = Question(engines, snapshot, prompt, DECODED + 1)
    stages: dict[str, Callable[[], Any]] = {
        "pose prior of a frame": partial(sequence.look, film.frames[-1].prior_picture),
        "vision of a frame": partial(engines.vision.run, {"image": film.picture(keyframes)}),
        "append of a frame": appending(engines, film, sequence, keyframes),
        "question, cached": partial(Question, engines, snapshot, prompt, 1),
        "the same, everything anew": partial(answer_anew, engines, film, keyframes, prompt),
        "decode of a token": partial(question.push, 7),
    }
    times = interleaved(stages, ROUNDS)
    note = f"bf16, {keyframes} keyframes, {len(prompt.ids)} tokens of text, eager torch"
    wall = {name: seconds for name, (_, seconds) in times.items()}
    ratio = wall["the same, everything anew"] / wall["question, cached"]
    read = weight_bytes(source.model.config.language, "fp16") / wall["decode of a token"] / 1e9
    return [
        *(Measurement(name, 1e3 * seconds, "ms", note) for name, seconds in wall.items()),
        Measurement("anew / cached", ratio, "x", note),
        Measurement("weights read while decoding", read, "GB/s", note),
    ]


def copy_bandwidth(device: str) -> Measurement:
    """Measure what the memory of the device gives: bytes read and written by a copy of 1 GB."""
    source = torch.empty(1 << 29 if device == "cuda" else 1 << 24, dtype=torch.bfloat16, device=device)
    target = torch.empty_like(source)

    def copy() -> None:
        target.copy_(source)
        if device == "cuda":
            torch.cuda.synchronize()

    seconds = interleaved({"copy": copy}, 20)["copy"][1]
    return Measurement("copy bandwidth", 2 * source.nbytes / seconds / 1e9, "GB/s", device)


def memory_row(device: str) -> Measurement:
    """Return the most memory of the device that was in use."""
    peak = torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else math.nan
    return Measurement("peak memory of the device", peak, "GB", "model, caches and activations")
