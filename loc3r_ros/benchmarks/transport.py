"""Large images over DDS: 720p rgb8 at 30 Hz for 60 s into the node, with the shipped DDS profile and without."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from loc3r_ros.benchmarks import Measurement
from loc3r_ros.benchmarks._watched_node import WatchedNode, environment

SECONDS = 60.0
RELIABILITIES = ("best_effort", "reliable")


def measure() -> list[Measurement]:
    """Measure both reliabilities with and without the profile; about five minutes."""
    return [
        row
        for reliability in RELIABILITIES
        for has_profile in (True, False)
        for row in measure_case(reliability, has_profile, SECONDS)
    ]


def measure_case(reliability: str, has_profile: bool, seconds: float) -> list[Measurement]:
    """Measure one reliability ("best_effort" or "reliable"), with the shipped profile or the defaults of Fast DDS."""
    case = f"720p {reliability}, {'shipped profile' if has_profile else 'DDS defaults'}"
    variables = environment(has_profile)
    with (
        tempfile.TemporaryDirectory() as folder,
        WatchedNode({}, variables, Path(folder) / "node.log") as node,
        camera(reliability, seconds, variables) as publisher,
    ):
        assert publisher.stdout is not None
        publisher.stdout.readline()
        before = node.cpu_seconds()
        report = json.loads(publisher.stdout.readline())
        cpu = (node.cpu_seconds() - before) / report["seconds"]
        counts = node.final_counts()
        publisher.communicate("\n")
        ages, arrivals = 1e3 * np.array(node.ages), np.array(node.arrival_ages).reshape(-1, 2)
    note = f"{report['sent']} sent in {report['seconds']:.0f} s"
    rows = [
        Measurement(f"{case}: received", counts["received"], "frames", note),
        Measurement(
            f"{case}: processed", counts["processed"], "frames", f"{counts['replaced']} replaced by newer ones"
        ),
        Measurement(f"{case}: CPU of the node", 100.0 * cpu, "%", "user + system, of one core"),
    ]
    if len(ages):
        rows += [
            Measurement(
                f"{case}: age at arrival", float(np.mean(arrivals[:, 0])), "ms", "mean, from stamp to callback"
            ),
            Measurement(
                f"{case}: age of the pose p50", float(np.percentile(ages, 50)), "ms", "from stamp to subscriber"
            ),
            Measurement(
                f"{case}: age of the pose p99", float(np.percentile(ages, 99)), "ms", "from stamp to subscriber"
            ),
        ]
    return rows


def camera(reliability: str, seconds: float, variables: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start the camera."""
    command = [sys.executable, "-m", "loc3r_ros.benchmarks._camera", "--reliability", reliability]
    return subprocess.Popen(
        [*command, "--seconds", str(seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=dict(variables),
    )
