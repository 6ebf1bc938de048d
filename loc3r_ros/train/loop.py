"""The training loop of every stage: Accelerate runs it on one CPU, one GPU or many machines without a change."""

from __future__ import annotations

import math
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from loc3r_ros.errors import ConfigError, Loc3RError
from loc3r_ros.train.checkpoints import keep_recipe, resume, save_checkpoint
from loc3r_ros.train.config import Precision, TrainConfig
from loc3r_ros.train.graphs import graphed
from loc3r_ros.train.log import Log
from loc3r_ros.train.optimiser import make_optimisers
from loc3r_ros.train.plan import Task, chunks, learning_rate, micro_batches, micro_count
from loc3r_ros.train.stage import Stage

Loaded = tuple[list[Any], list[Task]]


@dataclass(frozen=True)
class Limits:
    """When to pause a run; the same command goes on later.

    Attributes:
        until: after this many steps in all.
        minutes: after this long, preparations included.
    """

    until: int | None = None
    minutes: float | None = None


class TrainingError(Loc3RError):
    """A run that cannot go on."""


def train(name: str, stage: Stage, config: TrainConfig, run: Path, out: Path, limits: Limits | None = None) -> int:
    """Train, from the run's last checkpoint on where there is one, and write the model.

    Args:
        name: of the stage.
        stage: what is trained.
        config: the recipe.
        run: folder of checkpoints, log and curves.
        out: folder of the model, completed when the run ends or pauses.
        limits: when to pause.

    Returns:
        Steps done in all.

    Raises:
        ConfigError: the run's folder holds another run, or Muon is asked for under FSDP.
        TrainingError: the loss is not finite.
    """
    return Run(name, stage, config, run).go(out, limits or Limits())


class Run:
    """A run, prepared on its device and brought to its last checkpoint."""

    def __init__(self, name: str, stage: Stage, config: TrainConfig, folder: Path) -> None:
        self.started = time.monotonic()
        self.name, self.stage, self.config, self.folder = name, stage, config, folder
        self.accelerator = Accelerator(mixed_precision=mixed_precision(config.precision))
        check_whole_matrices(config, self.accelerator.distributed_type)
        if self.accelerator.is_main_process:
            keep_recipe(folder, name, config)
        self.accelerator.wait_for_everyone()
        self.device = self.accelerator.device
        if self.accelerator.mixed_precision == "bf16":
            torch.set_float32_matmul_precision("high")  # what stays in float32 may use TF32
        stage.prepare(self.device, self.accelerator.mixed_precision == "bf16")
        with self.accelerator.main_process_first():
            stage.begin()
        self.module, *self.optimisers = self.accelerator.prepare(
            stage.module, *make_optimisers(stage.module, config.optimiser)
        )
        is_alone = self.device.type == "cuda" and self.accelerator.num_processes == 1
        use_graphs = is_alone and stage.is_static and config.graphs
        self.trained = graphed(self.module) if use_graphs else self.module
        self.step = resume(self.accelerator, folder)
        self.log = Log(folder, self.step) if self.accelerator.is_main_process else None
        self.sums = Sums()

    def go(self, out: Path, limits: Limits) -> int:
        """Train to the end or to a limit, then write checkpoint and model; return the steps done."""
        end = min(self.config.steps, limits.until or self.config.steps)
        deadline = self.started + 60 * limits.minutes if limits.minutes else float("inf")
        if self.step < end:
            self._steps(end, deadline)
            self._save()
        self._write_model(out)
        return self.step

    def _steps(self, end: int, deadline: float) -> None:
        batches = self._loaded()
        bar = tqdm(
            desc=self.name,
            total=end,
            initial=self.step,
            unit="step",
            disable=not self.accelerator.is_main_process,
            dynamic_ncols=True,
        )
        with bar:
            while self.step < end and not self._is_late(deadline):
                self._step(batches)
                self.step += 1
                bar.update()
                is_saved = self.step % self.config.save_every == 0 or self.step == end
                if is_saved or self.step % self.config.log_every == 0:
                    scalars = self._read_sums()
                    bar.set_postfix(loss=f"{scalars['loss']:.3f}")
                self._after_step()
        if self.sums.steps:
            self._read_sums()  # before a checkpoint is written: what is not finite is not kept

    def _is_late(self, deadline: float) -> bool:
        """Say whether the time is up, the same on every process."""
        if deadline == float("inf"):
            return False
        if self.accelerator.num_processes == 1:
            return time.monotonic() > deadline
        late = torch.tensor(float(time.monotonic() > deadline), device=self.device)
        return bool(self.accelerator.reduce(late, "sum") > 0)

    def _step(self, batches: Iterator[Loaded]) -> None:
        """Do a step, and add what is to be logged of it to the sums, which stay on the device."""
        rate = learning_rate(self.config.optimiser, self.step, self.config.steps)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate
        parts = micro_count(self.config, self.step, self.accelerator.num_processes)
        for part in range(parts):
            items, tasks = next(batches)
            self.sums.scenes += len(tasks)
            batch = self.stage.collate(items, tasks)
            self.sums.add(self._backward(batch, parts, is_last=part == parts - 1), 1 / parts)
        norm = self.accelerator.clip_grad_norm_(self.module.parameters(), self.config.optimiser.clip)
        self.sums.add({"gradient": norm}, 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad()
        self.sums.steps += 1

    def _read_sums(self) -> dict[str, float]:
        """Return and log the means over the last steps; this waits for a GPU."""
        means = self.sums.means()
        self.sums = Sums()
        if not math.isfinite(means["loss"]):
            raise TrainingError(
                f"The loss of step {self.step - 1} is {means['loss']}: lower optimiser.rate; the last checkpoint is "
                "whole."
            )
        if self.log:
            rate = learning_rate(self.config.optimiser, self.step - 1, self.config.steps)
            self.log.add(self.step, "train", means | {"rate": rate})
        return means

    def _backward(self, batch: Any, parts: int, is_last: bool) -> Mapping[str, Tensor]:
        """Add a micro-batch's gradients; devices join theirs at the last one only."""
        if not is_last:
            with self.accelerator.no_sync(self.module):
                return self._backward(batch, parts, is_last=True)
        scalars = self.trained(batch)
        self.accelerator.backward(scalars["loss"] / parts)
        return {name: value.detach() for name, value in scalars.items()}

    def _after_step(self) -> None:
        is_end = self.step == self.config.steps
        if is_end or self.step % self.config.validate_every == 0:
            self._validate()
        if self.step % self.config.save_every == 0 and not is_end:
            self._save()

    def _save(self) -> None:
        save_checkpoint(self.accelerator, self.folder, self.step)

    @torch.no_grad()
    def _validate(self) -> None:
        """Measure on validation scenes, shared by the processes, as long as the last phase's."""
        scalars = evaluate(self.stage, self.module, self.config, self.accelerator)
        if self.log:
            self.log.add(self.step, "validation", scalars)
            self.log.draw()

    def _loaded(self) -> Iterator[Loaded]:
        """Yield what workers made of the tasks from this step on."""
        rank, ranks = self.accelerator.process_index, self.accelerator.num_processes
        tasks = list(micro_batches(self.config, self.step, rank, ranks))
        return iter(make_loader(self.stage, tasks, self.config.data.workers))

    def _write_model(self, out: Path) -> None:
        tensors = self.accelerator.get_state_dict(self.module)
        if self.accelerator.is_main_process:
            self.stage.save({name: tensor.detach().cpu() for name, tensor in tensors.items()}, out)
        self.accelerator.wait_for_everyone()


class Sums:
    """Sums over steps of what is logged, and the time since they began; numbers stay on their device."""

    def __init__(self) -> None:
        self.steps, self.scenes = 0, 0
        self._sums: dict[str, Tensor] = {}
        self._started, self._started_cpu = time.monotonic(), time.process_time()

    def add(self, scalars: Mapping[str, Tensor], share: float) -> None:
        """Add scalars, a share of each."""
        for name, value in scalars.items():
            part = value.detach() * share
            self._sums[name] = self._sums[name] + part if name in self._sums else part

    def means(self) -> dict[str, float]:
        """Return the means of one step."""
        values = torch.stack([value.float() for value in self._sums.values()]).tolist()
        spent = {
            "scenes": self.scenes,
            "seconds": time.monotonic() - self._started,
            "cpu_seconds": time.process_time() - self._started_cpu,
        }
        totals = dict(zip(self._sums, values, strict=True)) | spent
        return {name: total / self.steps for name, total in totals.items()}


def evaluate(stage: Stage, module: nn.Module, config: TrainConfig, accelerator: Accelerator) -> dict[str, float]:
    """Return the mean of every scalar over batches of validation scenes."""
    phase, ranks = config.phases[-1], accelerator.num_processes
    tasks = [Task(seed, phase.frames, number) for number, seed in enumerate(config.data.validation_seeds())]
    mine = tasks[accelerator.process_index : len(tasks) // ranks * ranks : ranks]  # FSDP: as many on each process
    groups = list(chunks(mine, config.micro_batch or min(phase.batch, len(mine))))
    sums: defaultdict[str, float] = defaultdict(float)
    module.eval()
    for items, group in make_loader(stage, groups, config.data.workers):
        for name, value in module(stage.collate(items, group)).items():
            sums[name] += float(value) * len(group) / len(mine)
    module.train()
    names = sorted(sums)
    values = torch.tensor([sums[name] for name in names], device=accelerator.device)
    return dict(zip(names, accelerator.reduce(values, "mean").tolist(), strict=True))


class _Scenes(Dataset):
    """Groups of tasks, which become groups of scenes."""

    def __init__(self, stage: Stage, tasks: list[list[Task]]) -> None:
        self.load, self.tasks = stage.loader, tasks

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, index: int) -> Loaded:
        return [self.load(task) for task in self.tasks[index]], self.tasks[index]


def make_loader(stage: Stage, tasks: list[list[Task]], workers: int) -> DataLoader:
    """Return groups of scenes in order, made by worker processes ahead of their use."""
    return DataLoader(
        _Scenes(stage, tasks),
        batch_size=None,
        num_workers=min(workers, len(tasks)),
        collate_fn=_as_they_are,
        generator=torch.Generator(),  # its own: a loader must not move the run's random numbers
    )


def _as_they_are(loaded: Any) -> Any:
    return loaded


def check_whole_matrices(config: TrainConfig, distributed: DistributedType) -> None:
    """Raise ConfigError where the recipe asks for Muon, but FSDP cuts the matrices that it steps."""
    if config.optimiser.muon and distributed == DistributedType.FSDP:
        raise ConfigError(
            "The recipe asks for Muon, which steps whole matrices, but FSDP cuts them: give --set optimiser.muon=false."
        )


def mixed_precision(precision: Precision) -> str | None:
    """Return what Accelerate calls a precision; None leaves "auto" to `accelerate config` where that was run."""
    if precision != "auto":
        return "no" if precision == "fp32" else "bf16"
    if "ACCELERATE_MIXED_PRECISION" in os.environ:
        return None
    return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "no"
