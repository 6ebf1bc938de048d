"""Train the paper's ablations at one budget, measure them on the same scenes, and put them into one table.

loc3r ablate --model models/nano --json out/ablations.json
loc3r ablate --model models/nano --json out/ablations.json --repeats 3 --minutes 8

The model's vision tower and pose prior are trained already; each ablation trains the rest from random weights, by
config/train/nano_ablation_*.yaml. "blind" is a text-only model: trained and tested like "camera" on pictures that show
nothing. A command that was stopped, or paused by --minutes, goes on when it is given again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loc3r_ros.train.ablation import Examined
    from loc3r_ros.train.config import TrainConfig

ABLATIONS = {
    "situation": "situation only",
    "layout": "+ layout",
    "camera": "+ layout + camera",
    "text": "the pose in words, without `<Pos>` and `<Ori>`",
    "blind": "text alone: trained without pictures",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="with vision tower and pose prior")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="where to write the numbers")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablations"), metavar="DIR", help="of all runs")
    parser.add_argument("--only", nargs="+", choices=ABLATIONS, default=list(ABLATIONS), help="some of them")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each, with seeds one apart (default: 1)")
    parser.add_argument(
        "--seeds", default="1100000:1100200", metavar="FIRST:END", help="scenes (default: 1100000:1100200)"
    )
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="change all recipes")
    parser.add_argument("--minutes", type=float, help="pause after this long")


def run(arguments: argparse.Namespace) -> int:
    """Train and measure one after the other, then write the numbers and print the table."""
    from loc3r_ros.evaluation.clips import check_seeds, parse_seeds
    from loc3r_ros.evaluation.report import write_json
    from loc3r_ros.world.splits import Split

    seeds = parse_seeds(arguments.seeds)
    check_seeds(seeds, (Split.TEST, Split.VALIDATION))
    deadline = time.monotonic() + 60 * arguments.minutes if arguments.minutes else float("inf")
    repeats, names = range(arguments.repeats), arguments.only
    runs = [(name, load_recipe(name, repeat, arguments.set)) for repeat in repeats for name in names]
    for name, config in runs:
        folder = _folder(arguments, name, config)
        if not _train(name, config, arguments.model, folder, deadline):
            print(f"Paused in {folder}. Give the same command again to go on.")
            return 0
    found: dict[str, list[Examined]] = {name: [] for name in arguments.only}
    for name, config in runs:
        found[name] += _examine(_folder(arguments, name, config), config, seeds)
    report = {name: score(examined) for name, examined in found.items()}
    about = {"seeds": arguments.seeds, "repeats": arguments.repeats, "set": arguments.set}
    write_json(arguments.json, report | {"run": about})
    table = to_markdown(report)
    arguments.json.with_suffix(".md").write_text(table)
    print(table)
    return 0


def load_recipe(name: str, repeat: int, changes: Sequence[str]) -> TrainConfig:
    """Return the recipe of an ablation; that of "blind" is the whole objective's."""
    from dataclasses import replace

    from loc3r_ros.resources import find_resource
    from loc3r_ros.train.config import load_config

    recipe = "camera" if name == "blind" else name
    config = load_config(find_resource(f"config/train/nano_ablation_{recipe}.yaml"), changes)
    return replace(config, seed=config.seed + repeat)


def _folder(arguments: argparse.Namespace, name: str, config: TrainConfig) -> Path:
    folder: Path = arguments.runs / f"{name}_{config.seed}"
    return folder


def _train(name: str, config: TrainConfig, model: Path, folder: Path, deadline: float) -> bool:
    """Train an ablation into `folder`/model, as far as the time allows; return whether it is done."""
    from loc3r_ros.train.ablation import blindfold
    from loc3r_ros.train.loop import Limits, train
    from loc3r_ros.train.stages import make_stage

    minutes = (deadline - time.monotonic()) / 60
    if minutes <= 0:
        return False
    if name == "blind":
        blindfold(model, folder / "blind")
        model = folder / "blind"
    limits = Limits(minutes=None if minutes == float("inf") else minutes)
    return train("joint", make_stage("joint", config, model), config, folder, folder / "model", limits) == config.steps


def _examine(folder: Path, config: TrainConfig, seeds: range) -> list[Examined]:
    import torch
    from tqdm import tqdm

    from loc3r_ros.export.source import load_source
    from loc3r_ros.train.ablation import examine

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    scenes = examine(load_source(folder / "model"), config, seeds, device)
    return list(tqdm(scenes, desc=folder.name, total=len(seeds), unit="scene"))


def score(examined: Sequence[Examined]) -> dict[str, Any]:
    """Return accuracies of poses, and exact match of answers by type, in percent; intervals are over scenes."""
    import numpy as np

    from loc3r_ros.evaluation.poses import ACCURACIES, accuracies, heading_error, position_error
    from loc3r_ros.evaluation.score import described
    from loc3r_ros.evaluation.statistics import Measured, mean_of

    seeds = sorted({one.seed for one in examined})
    number = {seed: index for index, seed in enumerate(seeds)}

    def share(right: Any, of_scene: list[int]) -> Any:
        return Measured(np.asarray(right, dtype=np.float64), np.array(of_scene, dtype=np.int64), len(seeds)).mean()

    truth, estimate = (np.concatenate([getattr(one, name) for one in examined]) for name in ("truth", "estimate"))
    right = accuracies(position_error(estimate, truth), heading_error(estimate, truth))
    scenes = [number[one.seed] for one in examined for _ in one.truth]
    answers = [(kind, number[one.seed], is_right) for one in examined for kind, is_right in one.answers]
    types = {
        kind: share([one[2] for one in answers if one[0] == kind], [one[1] for one in answers if one[0] == kind])
        for kind in sorted({kind for kind, _, _ in answers})
    }
    return {
        **{name: described(share(right[name], scenes), 100.0) for name in ACCURACIES},
        "questions": described(mean_of(list(types.values())), 100.0),
        "types": {kind: described(one, 100.0) for kind, one in types.items()},
    }


def to_markdown(report: dict[str, dict[str, Any]]) -> str:
    """Return two tables: all accuracies, and exact match by type of question."""
    from loc3r_ros.evaluation.poses import ACCURACIES
    from loc3r_ros.evaluation.report import ACCURACY_TITLES, cell, table

    columns = (*ACCURACIES, "questions")
    rows = [[ABLATIONS[name], *(cell(group[column]) for column in columns)] for name, group in report.items()]
    kinds = sorted({kind for group in report.values() for kind in group["types"]})
    by_type = [[kind, *(_cell_of(group, kind) for group in report.values())] for kind in kinds]
    parts = [
        table(["percent", *ACCURACY_TITLES, "questions (mean over types)"], rows),
        table(["exact match", *(ABLATIONS[name] for name in report)], by_type),
    ]
    return "\n\n".join(parts) + "\n"


def _cell_of(group: dict[str, Any], kind: str) -> str:
    from loc3r_ros.evaluation.report import cell

    return cell(group["types"][kind]) if kind in group["types"] else "-"
