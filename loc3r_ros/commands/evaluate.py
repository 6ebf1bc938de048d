"""Measure how well a model knows where it is, and whether it knows how well.

loc3r evaluate --engines engines/nano --seeds 1100000:1100200 --json out/nano.json --pictures out/nano
loc3r evaluate --engines engines/nano --seeds 1000000:1000100 --json out/fit.json --calibrate
loc3r evaluate --engines engines/nano_int4 --seeds 1100000:1100200 --json out/int4.json --against out/nano.json
loc3r evaluate --engines engines/nano --walk BAG --json out/walk.json --ask "How many sofas are there?"

Scenes are those of the synthetic world; training scenes are refused. The JSON's top level holds acc_0.5m, acc_1.0m,
acc_15deg and acc_30deg in percent; a Markdown table lies beside it. A run that was interrupted goes on where it was
(FILE with the ending .records.jsonl). --walk shows a recorded walk with true camera poses instead.
docs/evaluation.md says what the numbers mean.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loc3r_ros.engines.manifest import Manifest
    from loc3r_ros.evaluation.records import SceneRecord
    from loc3r_ros.evaluation.run import Plan, Subject
    from loc3r_ros.world.splits import Split


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--engines", type=Path, required=True, metavar="DIR", help="folder of engines")
    shown = parser.add_mutually_exclusive_group(required=True)
    shown.add_argument("--seeds", metavar="FIRST:END", help="scenes, END not among them")
    shown.add_argument("--walk", type=Path, metavar="BAG", help="a recorded walk with true camera poses")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="where to write the numbers")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="draw scenes with truth and estimates, too")
    parser.add_argument("--questions", type=int, default=1, help="most questions of a type in a scene (default: 1)")
    parser.add_argument("--walks", type=int, default=8, help="scenes with a walk of 200 frames, too (default: 8)")
    parser.add_argument(
        "--processes", type=int, default=0, metavar="N", help="that measure, one core each (default: as many as cores)"
    )
    parser.add_argument(
        "--against", type=Path, metavar="FILE", help="compare with the JSON of an earlier run on the same scenes"
    )
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="fit the uncertainty on validation scenes and store it in the engines' manifest; asks no questions",
    )
    parser.add_argument(
        "--model", type=Path, metavar="DIR", help="with --calibrate: store it here, too, for every later `loc3r export`"
    )
    walk = parser.add_argument_group("with --walk")
    walk.add_argument("--topic", default="", metavar="NAME", help="image topic, where the bag has several")
    walk.add_argument("--pose-topic", default="/ground_truth/camera_pose", metavar="NAME", help="of the true poses")
    walk.add_argument("--where", action="append", default=[], metavar="TEXT", help="a place to find (repeatable)")
    walk.add_argument("--ask", action="append", default=[], metavar="TEXT", help="a question (repeatable)")


def run(arguments: argparse.Namespace) -> int:
    """Measure, write the numbers and print the table."""
    return _run_walk(arguments) if arguments.walk else _run_scenes(arguments)


def _run_walk(arguments: argparse.Namespace) -> int:
    from loc3r_ros.evaluation.engines import load_engines, load_subject
    from loc3r_ros.evaluation.real_walk import Walk, draw_walk, score_walk, walk_through
    from loc3r_ros.evaluation.report import walk_to_markdown

    manifest = load_engines(arguments.engines).manifest
    walk = Walk(arguments.walk, arguments.topic, arguments.pose_topic)
    frames = manifest.video.frames
    record = walk_through(load_subject(arguments.engines), walk, frames, arguments.where, arguments.ask)
    report = score_walk(record) | {"run": describe_engines(manifest) | {"walk": walk.path.name, "frames": frames}}
    files = []
    if arguments.pictures:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
        files = [arguments.pictures / "walk.png"]
        draw_walk(record).savefig(files[0], dpi=80)
    return _write(arguments.json, report, walk_to_markdown, files)


def _run_scenes(arguments: argparse.Namespace) -> int:
    from functools import partial

    from loc3r_ros.evaluation.calibration import NEUTRAL
    from loc3r_ros.evaluation.clips import check_seeds, load_clip, parse_seeds
    from loc3r_ros.evaluation.compare import check_comparable, read_report
    from loc3r_ros.evaluation.engines import load_engines, load_subject
    from loc3r_ros.evaluation.run import Plan
    from loc3r_ros.world.splits import Split

    fits = arguments.calibrate
    earlier = read_report(arguments.against) if arguments.against else None
    seeds = parse_seeds(arguments.seeds)
    split = check_seeds(seeds, (Split.VALIDATION,) if fits else (Split.TEST, Split.VALIDATION))
    calibration = NEUTRAL if fits else None
    manifest = load_engines(arguments.engines, calibration).manifest
    plan = Plan(
        seeds,
        partial(load_clip, video=manifest.video),
        frames=manifest.video.frames,
        questions=0 if fits else arguments.questions,
        walks=0 if fits else arguments.walks,
    )
    about = describe_run(manifest, plan, split)
    if earlier is not None:
        check_comparable(about, earlier["run"])
    make_subject = partial(load_subject, arguments.engines, calibration)
    records = _measure(make_subject, plan, arguments.json, about, arguments.processes)
    if fits:
        return _calibrate(arguments, records, about)
    return _report(arguments, records, about, earlier)


def describe_run(manifest: Manifest, plan: Plan, split: Split) -> dict[str, Any]:
    """Return what the numbers depend on."""
    from loc3r_ros.world.generate import GENERATOR_VERSION

    return describe_engines(manifest) | {
        "world": GENERATOR_VERSION,
        "split": split.value,
        "seeds": f"{plan.seeds[0]}:{plan.seeds[-1] + 1}",
        "frames": plan.frames,
        "questions": plan.questions,
        "walks": plan.walks,
        "walk_frames": plan.walk_frames,
    }


def describe_engines(manifest: Manifest) -> dict[str, Any]:
    """Return what tells a folder of engines from others."""
    from dataclasses import asdict

    return {
        "name": manifest.name,
        "model": manifest.model,
        "fingerprint": manifest.fingerprint,
        "precision": manifest.precision,
        "backend": manifest.backend,
        "calibration": asdict(manifest.calibration),
    }


def _measure(
    make_subject: Callable[[], Subject], plan: Plan, path: Path, about: dict[str, Any], processes: int
) -> list[SceneRecord]:
    from tqdm import tqdm

    from loc3r_ros.evaluation.processes import run_in_processes
    from loc3r_ros.evaluation.records import RecordFile
    from loc3r_ros.evaluation.run import run

    file = RecordFile.open(path.with_suffix(".records.jsonl"), about)
    done = dict(file.records)
    processes = min(processes or _cores(about["backend"]), len(plan.seeds) - len(done))
    several = processes > 1
    scenes = run_in_processes(make_subject, plan, done, processes) if several else run(make_subject(), plan, done)
    with tqdm(total=len(plan.seeds), initial=len(done), desc="scenes", unit="scene") as bar:
        for record in scenes:
            file.add(record)
            bar.update()
    return [file.records[seed] for seed in plan.seeds]


def _cores(backend: str) -> int:
    """Return how many processes keep the machine busy; engines on a GPU share it badly."""
    return len(os.sched_getaffinity(0)) if backend == "onnxruntime" else 1


def _report(
    arguments: argparse.Namespace, records: list[SceneRecord], about: dict[str, Any], earlier: dict[str, Any] | None
) -> int:
    from loc3r_ros.evaluation.compare import comparison
    from loc3r_ros.evaluation.pictures import write_pictures
    from loc3r_ros.evaluation.report import to_markdown
    from loc3r_ros.evaluation.score import score

    report = score(records) | {"run": about}
    files = write_pictures(records, arguments.pictures) if arguments.pictures else []
    code = _write(arguments.json, report, to_markdown, files)
    if earlier is not None:
        print(comparison(report, earlier))
    return code


def _write(
    path: Path, report: dict[str, Any], to_text: Callable[[dict[str, Any], Sequence[str]], str], pictures: list[Path]
) -> int:
    """Write the numbers and, beside them, the table with its pictures; print it."""
    from loc3r_ros.evaluation.report import write_json

    write_json(path, report)
    table = path.with_suffix(".md")
    table.write_text(to_text(report, [_link(file, table.parent) for file in pictures]))
    print(to_text(report, ()))
    print(f"wrote {', '.join(str(file) for file in (path, table, *pictures))}", file=sys.stderr)
    return 0


def _calibrate(arguments: argparse.Namespace, records: list[SceneRecord], about: dict[str, Any]) -> int:
    from dataclasses import asdict

    from loc3r_ros.evaluation.calibration import fit, recalibrated, store, store_beside
    from loc3r_ros.evaluation.report import write_json
    from loc3r_ros.evaluation.score import score_uncertainty

    calibration = fit(records)
    after = [recalibrated(record, calibration) for record in records]
    report = {
        "calibration": asdict(calibration),
        "before": score_uncertainty(records),
        "after": score_uncertainty(after),
        "run": about,
    }
    write_json(arguments.json, report)
    store(arguments.engines, calibration)
    if arguments.model:
        store_beside(arguments.model, calibration)
    for name, value in asdict(calibration).items():
        print(f"{name} {value:.4g}")
    for name in ("position", "heading", "confidence"):
        before, now = (report[when][name]["calibration_error"] for when in ("before", "after"))
        print(f"calibration error of the {name}: {before:.3f} before, {now:.3f} now")
    folders = " and ".join(str(folder) for folder in (arguments.engines, arguments.model) if folder)
    print(f"stored in {folders}, wrote {arguments.json}", file=sys.stderr)
    return 0


def _link(file: Path, folder: Path) -> str:
    return os.path.relpath(file, folder)
