"""A simulated robot drives for ten minutes: error of its pose in the map, with drifting odometry and with none.

Images go through the node's own session (intake, localizer, aligner), without DDS and faster than real time. The
odometry drifts by 2 % and 5 degrees a minute (standard deviations), the memory keeps 32 keyframes and evicts 8 at a
time, and twice the pose prior goes wrong by 1.7 m and 34 degrees. The map begins with one initialpose; nothing closes
loops.
Beside it, short drives whose camera is suddenly in another scene: is that noticed, and when?

Without engines the pose prior is the truth with noise of a stated size: an upper bound, which says what the way to the
map makes of a good pose prior, and nothing of any model. With `--option engines=DIR` it is that of the engines.

--option engines=DIR   engines whose own pose prior is measured
--option seconds=600   how long the drives last
--option seed=1000000  of the first scene
--option cuts=8        drives of the other kind
--option processes=0   drives at a time; 0 for one on each core
--option out=DIR       where drive.png and drive.json go (default: the present folder)
"""

from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from loc3r_ros import geometry
from loc3r_ros.benchmarks import Measurement
from loc3r_ros.benchmarks._drive_picture import draw
from loc3r_ros.benchmarks._simulated_drive import DRIFT, RATE, Log, Plan, run
from loc3r_ros.benchmarks._true_prior import PriorNoise, with_true_prior
from loc3r_ros.engines import EngineSet
from loc3r_ros.interface import FloatArray

JUMPS = 0.35, 0.7
"""Parts of a drive after which the pose prior goes wrong."""
CUT, AFTER = 30.0, 15.0
"""s until the camera is in another scene, and s that it stays there."""
INSIDE = 7.81
"""Chi-square at 95 % for three degrees of freedom."""


def measure(
    engines: str = "",
    seconds: float = 600.0,
    seed: int = 1_000_000,
    out: str = ".",
    cuts: int = 8,
    processes: int = 0,
) -> list[Measurement]:
    """Drive with odometry and without, and cut the camera to other scenes; writes drive.png and drive.json."""
    names, is_true = {"odometry": True, "no odometry": False}, not engines
    jumps = tuple(part * seconds for part in JUMPS) if is_true else ()
    plans = [Plan(seed, seconds, has_odometry, jumps) for has_odometry in names.values()]
    plans += [
        Plan(seed + 2 * n, CUT + AFTER, has_odometry, cut=CUT) for has_odometry in names.values() for n in range(cuts)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        folder = engines or random_engines(Path(scratch))
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes or len(os.sched_getaffinity(0)), context) as pool:
            logs = list(pool.map(run_in_process, [folder] * len(plans), [is_true] * len(plans), plans))
    drives = dict(zip(names, logs, strict=False))
    delays = {name: [noticed_after(log) for log in logs[2 + n * cuts :][:cuts]] for n, name in enumerate(names)}
    rows = [row for name, log in drives.items() for row in drive_rows(name, log)]
    rows += [row for name, one in delays.items() for row in cut_rows(name, one)]
    prior = f"engines {engines}" if engines else "truth with noise (upper bound)"
    results = Path(out)
    results.mkdir(parents=True, exist_ok=True)
    draw(drives, jumps, prior, results / "drive.png")
    (results / "drive.json").write_text(json.dumps(report(prior, is_true, drives, delays, jumps)) + "\n")
    return rows


NOISE = PriorNoise()


def random_engines(scratch: Path) -> str:
    """Make the smallest engines, with random weights: what they see has no part in the poses; return their folder."""
    from loc3r_ros.export.folder import export_engines
    from loc3r_ros.export.source import random_source
    from loc3r_ros.model.config import preset

    export_engines(random_source(preset("tiny")), scratch / "tiny")
    return str(scratch / "tiny")


def run_in_process(folder: str, is_true: bool, plan: Plan) -> Log:
    """Load the engines and drive."""
    loaded = EngineSet.load(Path(folder), 1)
    return run(with_true_prior(loaded, NOISE) if is_true else loaded, plan, is_true)


def errors(estimated: FloatArray, true: FloatArray) -> FloatArray:
    """Return the (N, 3) errors of (N, 3) poses."""
    difference = estimated - true
    difference[:, 2] = geometry.wrap_angle(difference[:, 2])
    return difference


def drive_rows(name: str, log: Log) -> list[Measurement]:
    """Return the numbers of one drive."""
    rows = []
    for label, estimated, true in (("pose", "pose", "truth"), ("where_am_i", "own", "own_truth")):
        off = errors(log.array(estimated), log.array(true))
        metres, degrees = np.hypot(*off[:, :2].T), np.degrees(np.abs(off[:, 2]))
        for what, values, unit in (("position", metres, "m"), ("heading", degrees, "deg")):
            known = values[np.isfinite(values)]
            note = f"95 % below {np.percentile(known, 95):.3g}, at the end {known[-1]:.3g}; {len(known)} frames"
            rows.append(Measurement(f"{name}: {label}, {what} error, median", float(np.median(known)), unit, note))
    off, covariance = errors(log.array("own"), log.array("own_truth")), log.array("own_covariance")
    known = np.isfinite(off).all(axis=1)
    squares = np.array([e @ np.linalg.solve(c, e) for e, c in zip(off[known], covariance[known], strict=True)])
    rows.append(
        Measurement(f"{name}: where_am_i inside its 95 % ellipsoid", 100 * float((squares < INSIDE).mean()), "%")
    )
    anchors = log.array("anchor")
    rows.append(Measurement(f"{name}: anchors", float(anchors[-1] + 1), "", "evictions, and"))
    rows.append(Measurement(f"{name}: begun anew after a failure", float(log.failures[-1]), "times", _when(log)))
    return rows


def _when(log: Log) -> str:
    moments = np.array(log.seconds)[1:][np.diff(log.array("failures")) > 0]
    return "at " + ", ".join(f"{moment:.0f} s" for moment in moments) if len(moments) else ""


def noticed_after(log: Log) -> float:
    """Return the seconds from the cut until it was noticed: infinite where it was not, negative where it came early."""
    seconds, failures = np.array(log.seconds), log.array("failures")
    noticed = seconds[failures > 0]
    return float(noticed[0] - CUT) if len(noticed) else float("inf")


def cut_rows(name: str, delays: list[float]) -> list[Measurement]:
    """Return how many cuts were noticed, and when."""
    right = [delay for delay in delays if 0.0 <= delay < np.inf]
    early = sum(delay < 0.0 for delay in delays)
    note = f"within {AFTER:g} s; {early} false alarms before; median delay {np.median(right):.1f} s" if right else ""
    return [Measurement(f"{name}: cuts to another scene noticed", float(len(right)), f"of {len(delays)}", note)]


def report(
    prior: str, is_true: bool, drives: dict[str, Log], delays: dict[str, list[float]], jumps: tuple[float, ...]
) -> dict[str, Any]:
    """Return everything as JSON."""
    columns = ("seconds", "truth", "pose", "sigma", "own_truth", "own", "anchor", "failures")
    return {
        "pose_prior": prior,
        "noise": asdict(NOISE) if is_true else None,
        "odometry": asdict(DRIFT),
        "rate_hz": RATE,
        "jumps_s": jumps,
        "noticed_s": {name: [delay if np.isfinite(delay) else None for delay in one] for name, one in delays.items()},
        "drives": {
            name: {column: np.round(log.array(column).astype(float), 4).tolist() for column in columns}
            for name, log in drives.items()
        },
    }
