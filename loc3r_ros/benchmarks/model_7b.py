"""The 7B on a CUDA GPU in bfloat16, random weights, torch: frames, a question on 32 cached keyframes, decoding.

The question is also answered with everything anew (pose prior, vision and the whole prompt, as the paper's code does)
and by transformers' `generate`, in the same run. Decoding runs eagerly and as a CUDA graph, of the torch backend's
fused kernels. Its share of the copy bandwidth is the bytes of all weights of the blocks and the output head and of the
cached rows, read once, over the time of a token, against bytes read and written by a copy in the same run. Needs a GPU
with 60 GB. The `roofline` benchmark says what the hardware's limits would allow.

Options: `size`, `device`, `keyframes`, `rounds`; `tune=0` takes the usual shapes of the fused kernels instead of the
fastest.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers

from loc3r_ros.benchmarks import Measurement
from loc3r_ros.benchmarks._captured import CapturedEngine, capture_cuda, captured, device_seconds
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
from loc3r_ros.engines import EngineSet
from loc3r_ros.engines.torch_reference import TorchBackend, TorchEngine, to_numpy
from loc3r_ros.export.reference import torch_graphs
from loc3r_ros.export.source import Source, random_source
from loc3r_ros.localizer.question import Question
from loc3r_ros.memory.snapshot import Snapshot
from loc3r_ros.model.config import Loc3RConfig, preset
from loc3r_ros.prompt.template import PromptIds, PromptTemplate

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYFRAMES = 32
ROUNDS = 7
TUNING_ROUNDS = 5
LEAST_RATIO = 10.0
LEAST_SHARE = 70.0
COPIED = 1 << 30
CACHED, ANEW, PLAIN = "question, cached", "the same, everything anew", "the same, plain transformers without pose prior"
DECODE, DECODE_CAPTURED = "decode of a token, eager", "decode of a token, CUDA graph"
DECODE_REPLAYED = "decode of a token, CUDA graph, device alone"


def measure(
    size: str = "7b", device: str = "cuda", keyframes: int = KEYFRAMES, rounds: int = ROUNDS, tune: int = 1
) -> list[Measurement]:
    """Measure on a GPU; without one, say so in the only row."""
    if device == "cuda" and not torch.cuda.is_available():
        return [Measurement("not measured", math.nan, "", "no CUDA GPU here; run `loc3r bench model_7b` where one is")]
    clock = Clock()
    bandwidth = copy_bandwidth(device)
    source = random_on(preset(size), device)
    clock.lap("weights")
    bench = Bench(source, device, keyframes)
    clock.lap(f"two sequences of {keyframes} keyframes")
    rows = fused_rows(bench, tune)
    clock.lap("compiling and tuning fused kernels")
    measured, wall = measured_stages(bench, rounds)
    clock.lap("stages")
    rows += measured + target_rows(bench, wall, bandwidth)
    return [bandwidth, *rows, memory_row(device), *clock.rows]


class Clock:
    """Tells how long the parts of a run took."""

    def __init__(self) -> None:
        self.rows: list[Measurement] = []
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a part."""
        now = time.perf_counter()
        self.rows.append(Measurement(f"this run: {name}", now - self._last, "s"))
        self._last = now


def random_on(config: Loc3RConfig, device: str) -> Source:
    """Make a model with random bfloat16 weights on the device itself: in host memory it would take twice as long."""
    with default_dtype(torch.bfloat16), torch.device(device):
        return random_source(config)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Make new tensors of a type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class Bench:
    """The model's engines of variable and of fixed shapes on the same weights, each with the same keyframes in mind."""

    def __init__(self, source: Source, device: str, keyframes: int) -> None:
        self.source, self.device, self.keyframes = source, device, keyframes
        self.engines, fixed = unhashed_engines(source, device, keyframes + 1)
        self.fixed = captured(fixed, device)
        self.film = Film(self.engines, keyframes + 1)
        self.sequence = self.film.sequence(keyframes)
        self.fixed_film = copy.copy(self.film)
        self.fixed_film.engines = self.fixed
        self.fixed_sequence = self.fixed_film.sequence(keyframes)
        self.prompt: PromptIds = PromptTemplate(source.tokenizer).ask(QUESTION, SITUATION)

    @property
    def snapshot(self) -> Snapshot:
        """What is remembered."""
        return self.sequence.snapshot


def unhashed_engines(source: Source, device: str, fixed_frames: int) -> tuple[EngineSet, EngineSet]:
    """Return what `reference_engines` does, with variable and with fixed shapes of the cache, on the same modules.

    Unlike there the weights are not hashed, which would take longer than all that is measured.
    """
    with torch.device("meta"):
        empty = random_source(source.model.config)
    source.convert("bf16", device)
    modules = torch_graphs(source)
    manifest, fixed = (empty.manifest("torch", "bf16", frames) for frames in (None, fixed_frames))
    where = torch.device(device)
    backend = TorchBackend({manifest.graphs[name].file: module for name, module in modules.items()}, device)
    engines = EngineSet(
        manifest=manifest,
        backend=backend,
        pose_prior=TorchEngine(modules["pose_prior"], manifest.graphs["pose_prior"], where),
        vision=TorchEngine(modules["vision"], manifest.graphs["vision"], where),
        language=TorchEngine(modules["language"], manifest.graphs["language"], where),
        embedding=to_numpy(source.model.language.embed_tokens.weight),
        head={name: to_numpy(tensor) for name, tensor in source.head_cache().items()},
    )
    language = TorchEngine(modules["language"], fixed.graphs["language"], where)
    return engines, replace(engines, manifest=fixed, language=language)


def measured_stages(bench: Bench, rounds: int) -> tuple[list[Measurement], dict[str, float]]:
    """Measure every stage; return the rows, and the wall seconds by name. One that fails says so and stops no other."""
    rows, stages = [], {}
    for name, make in stage_makers(bench).items():
        try:
            stages[name] = make()
            stages[name]()
        except Exception as error:  # a driver's or a compiler's, too: what was measured before is not lost
            stages.pop(name, None)
            rows.append(failed(name, error))
    wall = {name: seconds for name, (_, seconds) in interleaved(stages, rounds).items()}
    note = f"bf16, {bench.keyframes} keyframes"
    rows = [Measurement(name, 1e3 * seconds, "ms", note) for name, seconds in wall.items()] + rows
    if DECODE_CAPTURED in wall and isinstance(bench.fixed.language, CapturedEngine):
        wall[DECODE_REPLAYED] = device_seconds(bench.fixed.language.replay, rounds, bench.device)
        rows.append(Measurement(DECODE_REPLAYED, 1e3 * wall[DECODE_REPLAYED], "ms", note))
    return rows, wall


def stage_makers(bench: Bench) -> dict[str, Callable[[], Callable[[], Any]]]:
    """Return what makes each stage. A stage ends with a copy to the host, so that its wall time is whole.

    The captured decode comes last: its capture is then the youngest.
    """
    engines, film, keyframes, prompt = bench.engines, bench.film, bench.keyframes, bench.prompt
    source, snapshot = bench.source, bench.snapshot
    fixed = bench.fixed_sequence

    def decoding(engines: EngineSet, snapshot: Snapshot) -> Callable[[], Any]:
        return partial(Question(engines, snapshot, prompt, DECODED + 1).push, 7)

    return {
        "pose prior of a frame": lambda: partial(bench.sequence.look, film.frames[-1].prior_picture),
        "vision of a frame": lambda: partial(engines.vision.run, {"image": film.picture(keyframes)}),
        "append of a frame, eager": lambda: appending(engines, film, bench.sequence, keyframes),
        "append of a frame, CUDA graph": lambda: appending(bench.fixed, bench.fixed_film, fixed, keyframes),
        CACHED: lambda: partial(Question, engines, snapshot, prompt, 1),
        ANEW: lambda: partial(answer_anew, engines, film, keyframes, prompt),
        PLAIN: lambda: partial(first_token, source, plain_transformers(source), film, keyframes, prompt.ids),
        DECODE: lambda: decoding(engines, snapshot),
        DECODE_CAPTURED: lambda: decoding(bench.fixed, fixed.snapshot),
    }


def failed(name: str, error: Exception) -> Measurement:
    """Return the row of what could not be measured."""
    return Measurement(name, math.nan, "", f"failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}")


def target_rows(bench: Bench, wall: dict[str, float], bandwidth: Measurement) -> list[Measurement]:
    """Return the ratios that are aimed at."""
    note = f"{bench.keyframes} keyframes, {len(bench.prompt.ids)} tokens of text; to the first token"
    rows = [
        Measurement(f"{title} / cached", wall[name] / wall[CACHED], "x", note + aim)
        for title, name, aim in (("anew", ANEW, f"; aim {LEAST_RATIO:g}"), ("transformers", PLAIN, ""))
        if name in wall and CACHED in wall
    ]
    past = bench.snapshot.cache.length + len(bench.prompt.ids)
    for name in (DECODE, DECODE_CAPTURED, DECODE_REPLAYED):
        if name in wall:
            rows.append(share_row(bench, name, wall[name], past, bandwidth))
    return rows


def share_row(bench: Bench, name: str, seconds: float, past: int, bandwidth: Measurement) -> Measurement:
    """Return a token's share of the copy bandwidth: it reads every weight and every cached row once."""
    language = bench.source.model.config.language
    rate = (weight_bytes(language, "fp16") + past * cache_bytes_per_token(language)) / seconds / 1e9
    aim = f"; aim {LEAST_SHARE:g}" if name != DECODE else ""
    note = f"{rate:.4g} GB/s of weights and cache read, {1 / seconds:.4g} tokens/s{aim}"
    return Measurement(f"{name}: share of the copy bandwidth", 100 * rate / bandwidth.value, "%", note)


def fused_rows(bench: Bench, tune: int) -> list[Measurement]:
    """Compile and tune the fused kernels and compare their logits with the plain graph's; nothing without a GPU."""
    if not bench.device.startswith("cuda"):
        return []
    try:
        return _fused_rows(bench, tune)
    except Exception as error:  # a compiler's or a driver's: the other stages are measured all the same
        return [failed("fused kernels", error)]


def _fused_rows(bench: Bench, tune: int) -> list[Measurement]:
    from loc3r_ros.export.fused_decode import FusedLanguage

    engine = bench.engines.language
    fused = engine.module if isinstance(engine, TorchEngine) else None
    if not isinstance(fused, FusedLanguage):
        return [Measurement("fused kernels", math.nan, "", "none: no Triton, or heads that are no power of two wide")]
    if tune:
        with torch.inference_mode():
            fused.tune(graph_seconds)
    plain = replace(bench.engines, language=TorchEngine(fused.graph, engine.spec, torch.device(bench.device)))
    asked = [Question(engines, bench.snapshot, bench.prompt, 2) for engines in (bench.engines, plain)]
    for question in asked:
        question.push(7)
    found, expected = (question._logits for question in asked)
    difference = float(np.abs(found - expected).max() / np.abs(expected).max())
    shapes = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in fused.shapes.items())
    return [Measurement("decode: difference of fused logits", 100 * difference, "%", f"of the largest; {shapes}")]


def graph_seconds(work: Callable[[], None]) -> float:
    """Return what the device needs for some work as a CUDA graph: launching one by one would take longer than that."""

    def outputless() -> tuple[torch.Tensor, ...]:
        work()
        return ()

    return device_seconds(capture_cuda(outputless)[0], TUNING_ROUNDS)


def copy_bandwidth(device: str) -> Measurement:
    """Measure what the memory of the device gives: bytes read and written by copies of 1 GiB."""
    source = torch.zeros(COPIED if device == "cuda" else 1 << 25, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = device_seconds(lambda: target.copy_(source), 20, device)
    name = torch.cuda.get_device_name() if device == "cuda" else device
    note = f"{name}, torch {torch.__version__}, transformers {transformers.__version__}; read and written bytes"
    return Measurement("copy bandwidth", 2 * source.nbytes / seconds / 1e9, "GB/s", note)


def memory_row(device: str) -> Measurement:
    """Return the most memory of the device that was in use."""
    peak = torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else math.nan
    return Measurement("peak memory of the device", peak, "GB", "model, caches and activations")
