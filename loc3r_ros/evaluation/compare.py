"""Two evaluations of the same scenes beside each other: what other weights, or fewer bits of them, cost in accuracy."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loc3r_ros.errors import ConfigError
from loc3r_ros.evaluation.poses import ACCURACIES

SAME = ("world", "seeds", "frames")
"""What must be equal for numbers to be comparable."""


def read_report(path: Path) -> dict[str, Any]:
    """Return the report of an earlier `loc3r evaluate`.

    Raises:
        ConfigError: there is none, or it is something else.
    """
    try:
        report = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is no result of `loc3r evaluate --json`: {error}.") from error
    if not isinstance(report, dict) or not {"run", *ACCURACIES} <= report.keys():
        raise ConfigError(f"{path} is no result of `loc3r evaluate --json` with described places.")
    return report


def check_comparable(run: Mapping[str, Any], earlier: Mapping[str, Any]) -> None:
    """Raise a ConfigError where two runs are not of the same scenes."""
    for name in SAME:
        if run[name] != earlier[name]:
            raise ConfigError(
                f"The two evaluations cannot be compared: {name} was {earlier[name]} and is {run[name]}. Evaluate both "
                "on the same scenes."
            )


def comparison(report: Mapping[str, Any], earlier: Mapping[str, Any]) -> str:
    """Return a Markdown table of the four accuracies of two comparable reports, and the greatest loss in points."""
    lines = [
        f"| percent | {_title(earlier['run'])} | {_title(report['run'])} | difference |",
        "| --- | ---: | ---: | ---: |",
    ]
    changes = {name: _number(report[name]) - _number(earlier[name]) for name in ACCURACIES}
    lines += [
        f"| {name} | {_number(earlier[name]):.1f} | {_number(report[name]):.1f} | {change:+.1f} |"
        for name, change in changes.items()
    ]
    worst = min(changes, key=lambda name: changes[name])
    return "\n".join(lines) + f"\n\nGreatest loss: {max(0.0, -changes[worst]):.1f} points ({worst})."


def _title(run: Mapping[str, Any]) -> str:
    return f"{run['name']} {run['precision']}"


def _number(value: float | None) -> float:
    return math.nan if value is None else value
