"""What a run writes down: one JSON object a line, the same for TensorBoard, and the curves as a picture."""

from __future__ import annotations

import json
import math
import os
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

LOG_FILE = "log.jsonl"
CURVES_FILE = "curves.png"
BOARD_FOLDER = "tensorboard"
EVENT_FILE = "events.out.tfevents"
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
        self._files: dict[str, Path] = {}

    def add(self, step: int, split: str, scalars: Mapping[str, float]) -> None:
        """Write scalars about a step down, so that they survive the process."""
        if split not in self._files:
            self._files[split] = self._begin(self.folder / split)
        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        _write_events(self._files[split], Event(step=step, summary=Summary(value=values)))

    def _begin(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        file = _next_event_file(folder)
        start = SessionLog(status=SessionLog.START)
        version = Event(step=self.step + 1, file_version="brain.Event:2")
        _write_events(file, version, Event(step=self.step + 1, session_log=start))
        return file


def _next_event_file(folder: Path) -> Path:
    """Return an event file whose name comes after all others: TensorBoard reads them in the order of their names.

    Such a name says second, host and process. Within one second, or with the clock of another machine, it would come
    anywhere; hence a second that is later than all others.
    """
    fields = [file.name.split(".") for file in folder.glob(f"{EVENT_FILE}.*")]
    used = [int(parts[3]) for parts in fields if parts[3].isdecimal()]
    second = max([int(time.time()), *(1 + one for one in used)])
    return folder / f"{EVENT_FILE}.{second:010d}.{socket.gethostname()}.{os.getpid()}"


def _write_events(file: Path, *events: Event) -> None:
    with file.open("ab") as opened:
        records = RecordWriter(opened)
        for event in events:
            event.wall_time = time.time()
            records.write(event.SerializeToString())


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
