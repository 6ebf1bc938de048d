import time

import cv2
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from loc3r_ros.train.log import Log, draw_curves, read_log

SPLITS = ("train", "validation")


def test_curves_of_every_scalar(tmp_path):
    log = Log(tmp_path, 0)
    for step in range(1, 41):
        log.add(step, "train", {"loss": 1 / step, "seconds": 1.0})
    log.add(40, "validation", {"loss": 0.1, "acc_0.5m": 0.5})
    figure = draw_curves(log.records)
    assert [axes.get_title() for axes in figure.axes] == ["loss", "acc_0.5m"]
    loss, accuracy = figure.axes
    assert len(loss.lines) == 3 and accuracy.lines[0].get_xydata().tolist() == [[40, 0.5]]
    log.draw()
    assert cv2.imread(str(tmp_path / "curves.png")).std() > 0


def test_a_log_goes_on(tmp_path):
    log = Log(tmp_path, 0)
    for step in (1, 2, 3):
        log.add(step, "train", {"loss": float(step)})
    Log(tmp_path, 2).add(3, "train", {"loss": 9.0})
    assert [(one["step"], one["loss"]) for one in read_log(tmp_path)] == [(1, 1.0), (2, 2.0), (3, 9.0)]
    assert read_log(tmp_path / "nowhere") == []


def test_tensorboard_shows_each_step_once(tmp_path):
    log = Log(tmp_path, 0)
    for step in (1, 2, 3):
        log.add(step, "train", {"loss": float(step), "rate": 0.5})
    log.add(3, "validation", {"loss": 7.0})
    Log(tmp_path, 2).add(3, "train", {"loss": 9.0, "rate": 0.25})  # step 3 was done again after a pause
    train, validation = (EventAccumulator(str(tmp_path / "tensorboard" / name)).Reload() for name in SPLITS)
    assert [(one.step, one.value) for one in train.Scalars("loss")] == [(1, 1.0), (2, 2.0), (3, 9.0)]
    assert [one.value for one in train.Scalars("rate")] == [0.5, 0.5, 0.25]
    assert [(one.step, one.value) for one in validation.Scalars("loss")] == [(3, 7.0)]


@pytest.mark.parametrize("clock", [lambda start: 1e9, lambda start: 1e9 - 60.0 * start], ids=["stands", "goes back"])
def test_tensorboard_reads_many_starts_in_their_order(tmp_path, monkeypatch, clock):
    """Starts within one second, and on machines whose clocks differ: the names of the files tell the order."""
    for start in range(12):
        monkeypatch.setattr(time, "time", lambda start=start: clock(start))
        log = Log(tmp_path, start)
        for step in range(start + 1, start + 4):
            log.add(step, "train", {"loss": 100.0 * start + step})
    train = EventAccumulator(str(tmp_path / "tensorboard" / "train")).Reload()
    last = [100.0 * 11 + step for step in (12, 13, 14)]
    assert [one.value for one in train.Scalars("loss")] == [101.0 * step + 1.0 for step in range(11)] + last
