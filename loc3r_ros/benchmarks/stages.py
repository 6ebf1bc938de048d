"""Every stage of frames and questions with 32 keyframes, beside the machine's limits: fp32, int8 and int4, and torch.

A stage's floor is the time that its products (counted from the ONNX graph) take at the measured rate of one core, or
its bytes at the measured copy bandwidth where that is longer; its share is floor / CPU time. Eager torch runs the same
graphs with the same fp32 weights in the same run. CPU time is user and system time over all threads. On a busy machine
torch's threads wait for one another at full speed, and its CPU time says nothing: then compare with one thread.

Options: `model` (nano, mid, 7b with random weights, or the folder of a model), `engines` (folders that are there, of
any backend, separated by commas, in its place), `threads` of every runtime, `keyframes`, `rounds`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from loc3r_ros.benchmarks import Measurement
from loc3r_ros.benchmarks._ceilings import Ceilings, measure_ceilings
from loc3r_ros.benchmarks._timing import interleaved
from loc3r_ros.benchmarks._work import Work, work_of
from loc3r_ros.benchmarks.model import KEYFRAMES, QUESTION, SITUATION, THREADS, Film, appending
from loc3r_ros.engines import EngineSet
from loc3r_ros.export.folder import export_engines
from loc3r_ros.export.reference import reference_engines
from loc3r_ros.export.source import Source, load_source, random_source
from loc3r_ros.localizer.frames import prepare
from loc3r_ros.localizer.question import Question
from loc3r_ros.memory.snapshot import Snapshot
from loc3r_ros.model.config import preset
from loc3r_ros.prompt.template import PromptIds, PromptTemplate

Times = tuple[float, float]
PRECISIONS = ("fp32", "int8", "int4")
ROUNDS = 15
TORCH = "torch"
SUMS = {
    "frame looked at": ("resize", "pose prior"),
    "frame kept": ("resize", "pose prior", "vision", "append"),
}
COMPARED = {"frame": ("pose prior", "vision"), "frame with append": ("pose prior", "vision", "append")}
SHORT_QUESTION = 40
"""Tokens of a second question, the end of the first, where that is longer."""


@dataclass(frozen=True)
class Stage:
    """Something that is timed.

    Attributes:
        run: does it once.
        graph: which graph it runs, or None.
        sizes: value of each variable size of that graph.
    """

    run: Callable[[], Any]
    graph: str | None = None
    sizes: Mapping[str, int] | None = None


def measure(
    model: str = "nano",
    engines: str = "",
    threads: int = THREADS,
    keyframes: int = max(KEYFRAMES),
    rounds: int = ROUNDS,
) -> list[Measurement]:
    """Measure.

    Args:
        model: size with random weights, or folder of a model; not used where there are engines.
        engines: folders to measure, separated by commas; none exports the model in all precisions, and compares with
            torch.
        threads: of onnxruntime and of torch.
        keyframes: in memory, the last frame included.
        rounds: runs of each stage.
    """
    torch.set_num_threads(threads)
    ceilings = measure_ceilings()
    with subjects(model, [Path(folder) for folder in engines.split(",") if folder], threads) as (sets, template):
        plans = {name: stages(engines, template, keyframes, rounds) for name, engines in sets.items()}
        times = timed(plans, rounds)
        rows = ceilings.rows()
        for name, plan in plans.items():
            works = {stage: work for stage, one in plan.items() if (work := counted(sets[name], one))}
            rows += stage_rows(name, times[name], works, ceilings) + sum_rows(name, times[name])
        return rows + comparison_rows(times) + size_rows(sets)


def timed(plans: Mapping[str, Mapping[str, Stage]], rounds: int) -> dict[str, dict[str, Times]]:
    """Return the times of all stages of all engines, taken in turn."""
    runs = {f"{name}: {stage}": one.run for name, plan in plans.items() for stage, one in plan.items()}
    flat = interleaved(runs, rounds)
    return {name: {stage: flat[f"{name}: {stage}"] for stage in plan} for name, plan in plans.items()}


@contextmanager
def subjects(
    model: str, folders: Sequence[Path], threads: int
) -> Iterator[tuple[dict[str, EngineSet], PromptTemplate]]:
    """Give the engines to measure, by name, and the prompts' template of their model."""
    if folders:
        yield {folder.name: EngineSet.load(folder, threads) for folder in folders}, PromptTemplate.load(folders[0])
        return
    with tempfile.TemporaryDirectory() as scratch:
        sets = {}
        for precision in PRECISIONS:
            export_engines(source_of(model), Path(scratch) / precision, precision)
            sets[precision] = EngineSet.load(Path(scratch) / precision, threads)
        source = source_of(model)
        yield sets | {TORCH: reference_engines(source)}, PromptTemplate(source.tokenizer)


def source_of(model: str) -> Source:
    """Return a model from its folder, or one of a named size with random weights."""
    return load_source(Path(model)) if Path(model).is_dir() else random_source(preset(model))


def stages(engines: EngineSet, template: PromptTemplate, keyframes: int, rounds: int) -> dict[str, Stage]:
    """Return what is timed: the stages of the last of so many keyframes, and of a question behind it."""
    film = Film(engines, keyframes)
    before, prompt = film.sequence(keyframes - 1), template.ask(QUESTION, SITUATION)
    frame, video = film.frames[-1], engines.manifest.video
    past = before.snapshot.cache.length
    append = appending(engines, film, before, keyframes - 1)
    film.append(before, keyframes - 1)
    question = Question(engines, before.snapshot, prompt, rounds + 2)
    rows = {"layouts": 0, "positions": 0, "orientations": 0, "predictions": 0}
    whole = past + video.tokens
    prompts = [prompt]
    if len(prompt.ids) > SHORT_QUESTION:
        prompts.append(PromptIds(prompt.ids[-SHORT_QUESTION:], SHORT_QUESTION // 2, SHORT_QUESTION // 2 + 1))
    return {
        "resize": Stage(partial(prepare, engines.manifest, film.images[-1], 0, None)),
        "pose prior": Stage(partial(before.look, frame.prior_picture), "pose_prior", {}),
        "vision": Stage(partial(engines.vision.run, {"image": frame.picture}), "vision", {}),
        "append": Stage(
            append,
            "language",
            rows | {"tokens": video.tokens, "prefix": past, "suffix": 0, "layouts": video.rows * video.columns},
        ),
        **{f"question of {len(one.ids)} tokens": asking(engines, before.snapshot, one, whole) for one in prompts},
        "decode": Stage(
            partial(question.push, 7),
            "language",
            rows | {"tokens": 1, "prefix": whole, "suffix": len(prompt.ids) + rounds // 2, "predictions": 1},
        ),
    }


def asking(engines: EngineSet, snapshot: Snapshot, prompt: PromptIds, prefix: int) -> Stage:
    """Return the stage of a question, to its place and first token, behind so many cached tokens."""
    sizes = {"layouts": 0, "positions": 1, "orientations": 1, "predictions": 1}
    sizes |= {"tokens": len(prompt.ids), "prefix": prefix, "suffix": 0}
    return Stage(partial(Question, engines, snapshot, prompt, 1), "language", sizes)


def counted(engines: EngineSet, stage: Stage) -> Work | None:
    """Return the work of a stage, or None where there is no ONNX graph to count it from."""
    if stage.graph is None or engines.folder is None or engines.manifest.backend != "onnxruntime":
        return None
    return work_of(engines.folder, engines.manifest.graphs[stage.graph], stage.sizes or {})


def stage_rows(
    name: str, times: Mapping[str, Times], works: Mapping[str, Work], ceilings: Ceilings
) -> list[Measurement]:
    """Return the time of each stage, and its share of the machine's limit where its work is known."""
    rows = []
    for stage, (cpu, wall) in times.items():
        rows.append(Measurement(f"{name}: {stage}", 1e3 * cpu, "ms CPU", f"{1e3 * wall:.1f} ms wall"))
        if (work := works.get(stage)) is not None:
            share = work.floor(ceilings.products, ceilings.bandwidth) / cpu
            note = described(work, ceilings, cpu)
            rows.append(Measurement(f"{name}: {stage}, share of the limit", 100 * share, "%", note))
    return rows


def described(work: Work, ceilings: Ceilings, cpu: float) -> str:
    """Return what a stage did, and its share of either limit."""
    flops = " + ".join(f"{1e-9 * flops:.3g} {kind}" for kind, flops in work.flops.items())
    products, moved = work.product_seconds(ceilings.products) / cpu, work.traffic / ceilings.bandwidth / cpu
    megabytes = f"{work.traffic / 1e6:.1f} MB"
    return f"{flops} GFLOP: {products:.0%} of the product limit; {megabytes}: {moved:.0%} of the copy limit"


def sum_rows(name: str, times: Mapping[str, Times]) -> list[Measurement]:
    """Return what a frame costs in all."""
    return [
        Measurement(f"{name}: {title}", 1e3 * sum(times[part][0] for part in parts), "ms CPU", " + ".join(parts))
        for title, parts in SUMS.items()
    ]


def comparison_rows(times: Mapping[str, Mapping[str, Times]]) -> list[Measurement]:
    """Return how many times longer eager torch takes, and fp32."""
    asked = [stage for stage in next(iter(times.values())) if stage.startswith("question")]
    whole = COMPARED | {stage: (stage,) for stage in (*asked, "decode")}
    rows = []
    for base in (TORCH, "fp32"):
        for name in times if base in times else ():
            if name in (TORCH, base):
                continue
            for title, parts in whole.items():
                cpu, wall = (ratio(times[base], times[name], parts, kind) for kind in (0, 1))
                rows.append(Measurement(f"{base} / {name}: {title}", cpu, "x CPU", f"{wall:.2f} x wall"))
    return rows


def ratio(slow: Mapping[str, Times], fast: Mapping[str, Times], parts: Sequence[str], kind: int) -> float:
    """Return how many times longer some stages take, of CPU (0) or wall time (1)."""
    return sum(slow[part][kind] for part in parts) / sum(fast[part][kind] for part in parts)


def size_rows(sets: Mapping[str, EngineSet]) -> list[Measurement]:
    """Return the size of each folder."""
    return [
        Measurement(f"{name}: size of the folder", sum(f.size for f in engines.manifest.files.values()) / 1e6, "MB", "")
        for name, engines in sets.items()
        if engines.folder is not None
    ]
