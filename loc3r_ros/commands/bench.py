"""Measure speed and cost on this machine.

loc3r bench                 everything; docs/performance.md holds the results
loc3r bench transport       large images over DDS into the node
loc3r bench intake          the recorded walk through DDS into the node
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import importlib.metadata
import json
import os
import pkgutil
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loc3r_ros.errors import ConfigError

if TYPE_CHECKING:
    from loc3r_ros.benchmarks import Measurement


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to measure (default: everything)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write machine and measurements as JSON, too")


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print one table for each benchmark."""
    names = choose(arguments.names)
    machine = describe_machine()
    print(", ".join(f"{key}: {value}" for key, value in machine.items()), flush=True)
    results: dict[str, list[dict[str, Any]]] = {}
    for name in names:
        module = importlib.import_module(f"loc3r_ros.benchmarks.{name}")
        print(f"\n## {name}\n\n{(module.__doc__ or '').strip()}\n", flush=True)
        rows = module.measure()
        print(format_table(rows), flush=True)
        results[name] = [dataclasses.asdict(row) for row in rows]
        if arguments.json is not None:
            arguments.json.write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")
    return 0


def choose(names: list[str]) -> list[str]:
    """Return the benchmarks to run.

    Raises:
        ConfigError: there is none of that name.
    """
    from loc3r_ros import benchmarks

    known = sorted(
        module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.name.startswith("_")
    )
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(f"There is no benchmark {', '.join(unknown)}; there are {', '.join(known)}.")
    return names or known


def describe_machine() -> dict[str, str]:
    """Return what the numbers depend on."""
    return {
        "CPU": _cpu_model(),
        "cores": str(len(os.sched_getaffinity(0))),
        "load": f"{os.getloadavg()[0]:.1f}",
        "Python": platform.python_version(),
        "numpy": importlib.metadata.version("numpy"),
        "ROS": _ros_version(),
    }


def format_table(rows: list[Measurement]) -> str:
    """Return measurements as a Markdown table."""
    lines = ["| | value | unit | |", "| --- | ---: | --- | --- |"]
    return "\n".join(lines + [f"| {row.name} | {row.value:.4g} | {row.unit} | {row.note} |" for row in rows])


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _ros_version() -> str:
    if os.environ.get("ROS_DISTRO"):
        return os.environ["ROS_DISTRO"]
    try:
        return f"rclpy {importlib.metadata.version('ros-rclpy')}"
    except importlib.metadata.PackageNotFoundError:
        return "none"
