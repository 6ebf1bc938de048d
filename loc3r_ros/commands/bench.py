"""Measure speed and cost on this machine.

loc3r bench                 everything; docs/performance.md holds the results
loc3r bench transport       large images over DDS into the node
loc3r bench intake          the recorded walk through DDS into the node
loc3r bench stages          every stage of a model beside the machine's limits and beside torch
loc3r bench answers --option engines=engines/nano --option seeds=1100000:1100010
                            places and answers over ROS beside those of `loc3r evaluate`
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import importlib.metadata
import inspect
import json
import os
import pkgutil
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loc3r_ros.errors import ConfigError

if TYPE_CHECKING:
    from loc3r_ros.benchmarks import Measurement


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to measure (default: everything)")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of those benchmarks that have options; their texts name them",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write machine and measurements as JSON, too")


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print one table for each benchmark."""
    names = choose(arguments.names)
    modules = {name: importlib.import_module(f"loc3r_ros.benchmarks.{name}") for name in names}
    options = read_options(arguments.option, [module.measure for module in modules.values()])
    machine = describe_machine()
    print(", ".join(f"{key}: {value}" for key, value in machine.items()), flush=True)
    results: dict[str, list[dict[str, Any]]] = {}
    for name, module in modules.items():
        print(f"\n## {name}\n\n{(module.__doc__ or '').strip()}\n", flush=True)
        rows = module.measure(**{key: options[key] for key in options_of(module.measure) if key in options})
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


def options_of(measure: Callable[..., object]) -> dict[str, Any]:
    """Return the options of a benchmark with their defaults: the parameters of its function."""
    return {name: one.default for name, one in inspect.signature(measure).parameters.items()}


def read_options(texts: list[str], functions: list[Callable[..., object]]) -> dict[str, Any]:
    """Return the options that the command line gives, each of the type of its default.

    Raises:
        ConfigError: no benchmark has such an option, or it has another type.
    """
    known = {name: default for function in functions for name, default in options_of(function).items()}
    options = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in known:
            there_are = f"there are {', '.join(known)}" if known else "there is none"
            raise ConfigError(f"The benchmarks that run have no option {name!r}; {there_are}.")
        try:
            options[name] = type(known[name])(value)
        except ValueError:
            kind = type(known[name]).__name__
            raise ConfigError(f"The option {name} must be of the type {kind}, not {value!r}.") from None
    return options


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
