"""What a run writes down: one JSON object a line, the same for TensorBoard, and the curves as a picture."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter

LOG_FILE = "log.jsonl"
CURVES_FILE = "curves.png"
BOARD_FOLDER = "tensorboard"
COLUMNS = 4
NO_CURVES = ("step", "split", "rate", "seconds", "cpu_seconds", "scenes")
Record = Mapping[str, Any]


class Log:
    """The log of a run, which survives pauses.

    Args:
        folder: of the run.
        step: steps done before; what was written about later ones is dropped, as they are done again.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.folder = folder
        self.records = [record for record in read_log(folder) if record["step"] <= step]
        self._write("w", self.records)
        self._boards = _Boards(folder / BOARD_FOLDER, step)

    def add(self, step: int, split: str, scalars: Mapping[str, float]) -> None:
        """Write scalars about a step down."""
        record = {"step": step, "split": split} | {name: round(value, 6) for name, value in scalars.items()}
        self.records.append(record)
        self._write("a", [record])
        self._boards.add(step, split, scalars)

    def draw(self) -> None:
        """Draw the curves of all scalars."""
        draw_curves(self.records).savefig(self.folder / CURVES_FILE, dpi=80)

    def _write(self, mode: str, records: Iterable[Record]) -> None:
        with (self.folder / LOG_FILE).open(mode) as file:
            file.writelines(json.dumps(record) + "\n" for record in records)


class _Boards:
    """Event files for TensorBoard, a folder for each split: it draws them in one chart.

    Args:
        folder: of the event files.
        step: steps done before; TensorBoard forgets what earlier files say about later ones.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.folder, self.step = folder, step
        self._writers: dict[str, SummaryWriter] = {}

    def add(self, step: int, split: str, scalars: Mapping[str, float]) -> None:
        """Write scalars about a step down, so that they survive the process."""
        if split not in self._writers:
            self._writers[split] = SummaryWriter(self.folder / split, purge_step=self.step + 1)
        for name, value in scalars.items():
            self._writers[split].add_scalar(name, value, step)
        self._writers[split].flush()


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Read the log of a run; a last line that was cut off is left out."""
    file = folder / LOG_FILE
    lines = file.read_text().split("\n")[:-1] if file.exists() else []
    return [json.loads(line) for line in lines]


def draw_curves(records: Iterable[Record]) -> Figure:
    """Draw each scalar against the step: training faint with its running mean, validation as dots."""
    records = list(records)
    found = {name for record in records for name in record} - set(NO_CURVES)
    names = sorted(found, key=lambda name: (name != "loss", name))
    rows = max(1, math.ceil(len(names) / COLUMNS))
    figure = Figure(figsize=(4 * COLUMNS, 2.8 * rows), layout="constrained")
    for axes, name in zip(figure.subplots(rows, COLUMNS, squeeze=False).flat, names, strict=False):
        _draw_curve(axes, name, records)
    for axes in figure.axes[len(names) :]:
        axes.remove()
    return figure


def _draw_curve(axes: Axes, name: str, records: list[Record]) -> None:
    train, validation = (
        np.array([(record["step"], record[name]) for record in records if record["split"] == split and name in record])
        for split in ("train", "validation")
    )
    if len(train):
        window = max(1, len(train) // 20)
        smooth = np.convolve(train[:, 1], np.ones(window) / window, mode="valid")
        axes.plot(train[:, 0], train[:, 1], color="tab:blue", alpha=0.25, linewidth=0.8)
        axes.plot(train[window - 1 :, 0], smooth, color="tab:blue", linewidth=1.2, label="training")
    if len(validation):
        axes.plot(validation[:, 0], validation[:, 1], "o-", color="tab:orange", markersize=3, label="validation")
    axes.set_title(name, fontsize=10)
    axes.set_xlabel("step", fontsize=8)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
