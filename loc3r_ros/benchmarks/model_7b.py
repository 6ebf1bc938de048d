"""The 7B on a CUDA GPU in bfloat16, random weights, torch: frames, a question on 32 cached keyframes, decoding.

The question is also answered with everything anew (pose prior, vision and the whole prompt, as the paper's code does)
and by transformers' `generate`, in the same run. Decoding runs eagerly and as a CUDA graph, and is compared with the
measured copy bandwidth. Needs a GPU with 40 GB. The `roofline` benchmark says what the hardware's limits would allow.

Options: `size`, `device`, `keyframes`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from loc3r_ros.benchmarks import Measurement
from loc3r_ros.benchmarks._captured import captured
from loc3r_ros.benchmarks._timing import interleaved
from loc3r_ros.benchmarks.model import (
    DECODED,
    QUESTION,
    SITUATION,
    Film,
    answer_anew,
    appending,
    first_token,
    plain_transformers,
)
from loc3r_ros.benchmarks.roofline import cache_bytes_per_token, weight_bytes
from loc3r_ros.export.reference import reference_engines
from loc3r_ros.export.source import Source, random_source
from loc3r_ros.localizer.question import Question
from loc3r_ros.model.config import Loc3RConfig, preset
from loc3r_ros.prompt.template import PromptTemplate

KEYFRAMES = 32
ROUNDS = 7
LEAST_RATIO = 10.0
LEAST_SHARE = 70.0
CACHED, ANEW, PLAIN = "question, cached", "the same, everything anew", "the same, plain transformers without pose prior"
DECODE, DECODE_CAPTURED = "decode of a token, eager", "decode of a token, CUDA graph"


def measure(size: str = "7b", device: str = "cuda", keyframes: int = KEYFRAMES) -> list[Measurement]:
    """Measure on a GPU; without one, say so in the only row."""
    if device == "cuda" and not torch.cuda.is_available():
        return [Measurement("not measured", math.nan, "", "no CUDA GPU here; run `loc3r bench model_7b` where one is")]
    source = random_on(preset(size), device)
    bandwidth = copy_bandwidth(device)
    wall = stage_seconds(source, device, keyframes)
    return [
        bandwidth,
        *stage_rows(wall, keyframes),
        *target_rows(source, wall, keyframes, bandwidth),
        memory_row(device),
    ]


def random_on(config: Loc3RConfig, device: str) -> Source:
    """Make a model with random bfloat16 weights on the device itself: in host memory it would take twice as long."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            return random_source(config)
    finally:
        torch.set_default_dtype(dtype)


def stage_seconds(source: Source, device: str, keyframes: int) -> dict[str, float]:
    """Return the wall time of every stage; every run ends with a copy to the host, so that the times are whole."""
    engines = reference_engines(source, "bf16", device)
    film = Film(engines, keyframes + 1)
    sequence = film.sequence(keyframes)
    snapshot, prompt = sequence.snapshot, PromptTemplate(source.tokenizer).ask(QUESTION, SITUATION)
    plain, ids = plain_transformers(source), prompt.ids
    fixed = captured(reference_engines(source, "bf16", device, fixed_frames=keyframes + 1), device)
    again = Film(fixed, keyframes + 1)
    same = again.sequence(keyframes)
    stages: dict[str, Callable[[], Any]] = {
        "pose prior of a frame": partial(sequence.look, film.frames[-1].prior_picture),
        "vision of a frame": partial(engines.vision.run, {"image": film.picture(keyframes)}),
        "append of a frame, eager": appending(engines, film, sequence, keyframes),
        "append of a frame, CUDA graph": appending(fixed, again, same, keyframes),
        CACHED: partial(Question, engines, snapshot, prompt, 1),
        ANEW: partial(answer_anew, engines, film, keyframes, prompt),
        PLAIN: partial(first_token, source, plain, film, keyframes, ids),
        DECODE: partial(Question(engines, snapshot, prompt, DECODED + 1).push, 7),
        DECODE_CAPTURED: partial(Question(fixed, same.snapshot, prompt, DECODED + 1).push, 7),
    }
    return {name: seconds for name, (_, seconds) in interleaved(stages, ROUNDS).items()}


def stage_rows(wall: dict[str, float], keyframes: int) -> list[Measurement]:
    """Return the stages as measurements."""
    return [Measurement(name, 1e3 * seconds, "ms", f"bf16, {keyframes} keyframes") for name, seconds in wall.items()]


def target_rows(source: Source, wall: dict[str, float], keyframes: int, bandwidth: Measurement) -> list[Measurement]:
    """Return the ratios that are aimed at.

    Decoding reads every weight of the blocks and the output head, and the whole cache, once for each token.
    """
    config, note = source.model.config, f"{keyframes} keyframes; to the first token"
    past = len(source.head_ids) + keyframes * config.layout.tokens_per_frame
    read = weight_bytes(config.language, "fp16") + past * cache_bytes_per_token(config.language)
    rows = [
        Measurement(f"{title} / cached", wall[name] / wall[CACHED], "x", note + aim)
        for title, name, aim in (("anew", ANEW, f"; aim {LEAST_RATIO:g}"), ("transformers", PLAIN, ""))
    ]
    for name in (DECODE, DECODE_CAPTURED):
        rate = read / wall[name] / 1e9
        aim = f"{rate:.4g} GB/s of weights and cache" + (f"; aim {LEAST_SHARE:g}" if name == DECODE_CAPTURED else "")
        rows.append(Measurement(f"{name}: share of the copy bandwidth", 100 * rate / bandwidth.value, "%", aim))
    return rows


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
