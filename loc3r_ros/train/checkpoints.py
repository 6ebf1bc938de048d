"""Checkpoints of a run: all that the next step depends on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from accelerate import Accelerator

from loc3r_ros.errors import CheckpointError, ConfigError
from loc3r_ros.train.config import TrainConfig

FOLDER = "checkpoints"
PROGRESS_FILE = "progress.json"
RECIPE_FILE = "recipe.json"
KEPT = 2


def save_checkpoint(accelerator: Accelerator, run: Path, step: int) -> None:
    """Write a checkpoint: weights, optimiser and random numbers; what is shown at a step follows from the step.

    It appears whole or not at all; older ones are removed. Every process calls this.
    """
    scratch, folder = run / FOLDER / ".writing", run / FOLDER / f"{step:08d}"
    if accelerator.is_main_process:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(scratch))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        (scratch / PROGRESS_FILE).write_text(json.dumps({"step": step, "processes": accelerator.num_processes}))
        shutil.rmtree(folder, ignore_errors=True)
        scratch.rename(folder)
        for old in _finished(run)[:-KEPT]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()


def resume(accelerator: Accelerator, run: Path) -> int:
    """Load the last checkpoint into what the accelerator has prepared.

    Returns:
        Steps done: 0 in a run that has none.

    Raises:
        CheckpointError: it was written by another number of processes.
    """
    finished = _finished(run)
    if not finished:
        return 0
    progress = json.loads((finished[-1] / PROGRESS_FILE).read_text())
    if progress["processes"] != accelerator.num_processes:
        raise CheckpointError(
            f"{finished[-1]} was written by {progress['processes']} processes: resume it with as many, not with "
            f"{accelerator.num_processes}."
        )
    accelerator.load_state(str(finished[-1]))
    return int(progress["step"])


def keep_recipe(run: Path, stage: str, config: TrainConfig) -> None:
    """Write the recipe of a new run down, and compare it where the run is resumed.

    Raises:
        ConfigError: the folder holds a run of another stage or recipe.
    """
    file, recipe = run / RECIPE_FILE, {"stage": stage} | config.what_matters()
    if file.exists():
        kept = json.loads(file.read_text())
        if changed := sorted(name for name in recipe if kept.get(name) != recipe[name]):
            raise ConfigError(
                f"{run} holds a run with another recipe ({', '.join(changed)} differ): choose another --run, or remove "
                "the folder."
            )
        return
    run.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(recipe, indent=1) + "\n")


def _finished(run: Path) -> list[Path]:
    return sorted(file.parent for file in (run / FOLDER).glob(f"*/{PROGRESS_FILE}") if file.parent.name.isdigit())
