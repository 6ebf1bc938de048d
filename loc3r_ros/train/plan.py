"""What happens at each step of a run: pure functions of the step, so that any step can be the first after a pause."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from loc3r_ros.errors import ConfigError
from loc3r_ros.train.config import OptimiserConfig, Phase, TrainConfig


class Task(NamedTuple):
    """A scene to make.

    Attributes:
        seed: of the scene.
        frames: pictures.
        position: in the stream of the run; what is drawn for the scene depends on it.
    """

    seed: int
    frames: int
    position: int


def phase_at(phases: Sequence[Phase], step: int) -> tuple[Phase, int]:
    """Return the phase of a step, and the scenes that were used before the step."""
    used = 0
    for phase in phases:
        if step < phase.steps:
            return phase, used + step * phase.batch
        step -= phase.steps
        used += phase.steps * phase.batch
    raise ConfigError("The run has no such step.")


def tasks_at(config: TrainConfig, step: int, rank: int = 0, ranks: int = 1) -> list[Task]:
    """Return the scenes of a step that a device takes: the same scenes in all, however many devices there are."""
    phase, used = phase_at(config.phases, step)
    if phase.batch % ranks:
        raise ConfigError(f"A batch of {phase.batch} scenes cannot be shared by {ranks} devices: take a multiple.")
    share = phase.batch // ranks
    stream = config.data.stream(config.seed, phase.scenes)
    positions = range(used + rank * share, used + (rank + 1) * share)
    return [Task(stream.at(position), phase.frames, position) for position in positions]


def micro_batches(config: TrainConfig, start: int, rank: int, ranks: int) -> Iterator[list[Task]]:
    """Yield the scenes that a device takes at once, from a step on to the end of the run."""
    for step in range(start, config.steps):
        tasks = tasks_at(config, step, rank, ranks)
        yield from chunks(tasks, config.micro_batch)


def micro_count(config: TrainConfig, step: int, ranks: int) -> int:
    """Return how many micro-batches a device takes in a step."""
    share = phase_at(config.phases, step)[0].batch // ranks
    return math.ceil(share / config.micro_batch) if config.micro_batch else 1


def chunks(tasks: list[Task], size: int) -> Iterator[list[Task]]:
    """Yield tasks in groups of a size; all at once where it is 0."""
    rest = iter(tasks)
    while group := list(itertools.islice(rest, size or len(tasks))):
        yield group


def learning_rate(optimiser: OptimiserConfig, step: int, steps: int) -> float:
    """Return the learning rate of a step, 0 .. steps - 1: a line up, then half a cosine down."""
    if step < optimiser.warmup:
        return optimiser.rate * (step + 1) / optimiser.warmup
    progress = (step - optimiser.warmup) / max(1, steps - optimiser.warmup)
    share = 0.5 * (1 + math.cos(math.pi * progress))
    return optimiser.rate * (optimiser.final + (1 - optimiser.final) * share)
