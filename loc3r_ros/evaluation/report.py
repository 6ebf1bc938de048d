"""The numbers of an evaluation as Markdown and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from loc3r_ros.evaluation.poses import ACCURACIES
from loc3r_ros.evaluation.records import CONDITIONS

Group = dict[str, Any]
PAPER = {"acc_0.5m": 42.6, "acc_1.0m": 75.9, "acc_15deg": 38.4, "acc_30deg": 63.0}
"""Loc3R-VLM on SQA3D (arXiv 2603.18002): real rooms, another test."""
ACCURACY_TITLES = ("Acc@0.5m", "Acc@1.0m", "Acc@15deg", "Acc@30deg")
ROWS = {
    "video": "**the video**",
    "shuffled": "video of another scene",
    "blank": "grey frames (text alone)",
    "constant": "best constant guess",
    "ceiling": "a perfect reader",
}
TRUTH_ROWS = {
    "nothing": "nothing: **the model**",
    "language": "language: a perfect reader on the model's map",
    "language_and_pose_prior": "language and the pose prior's errors",
    "language_and_cameras": "language and all that looks like a wrong camera",
    "all_but_the_words": "all but the words: a perfect reader on the true map",
}
LOST_ROWS = {
    "words": "*lost to* what the words leave open",
    "perception": "*lost to* perception",
    "camera_belief": "*lost to* what else looks like wrong cameras",
    "pose_prior": "*lost to* the pose prior",
    "language": "*lost to* language",
}


def write_json(path: Path, report: Group) -> None:
    """Write a report; what could not be measured is null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(without_nan(report), indent=1, allow_nan=False) + "\n")


def without_nan(value: Any) -> Any:
    """Return plain data with None in place of numbers that are not finite."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_markdown(report: Group, pictures: Sequence[str] = ()) -> str:
    """Return the tables of a report for people.

    Args:
        report: of `score.score`, with `run` beside.
        pictures: links to pictures, relative to where the text will lie.
    """
    run = report["run"]
    parts = [
        f"# {run['name']} ({run['precision']}, {run['backend']}) on {report['scenes']} {run['split']} scenes",
        f"Seeds {run['seeds']}, videos of {run['frames']} frames. Brackets: 95 % bootstrap intervals over scenes.",
        *(_localization(report["localization"]) if report["localization"] else []),
        *(_explained(report["explained"]) if report["explained"] else []),
        *(_uncertainty(report) if report["uncertainty"] else []),
        *(_questions(report["questions"]) if report["questions"] else []),
        *(_layout(report["layout"]) if report["layout"] else []),
        _cameras(report),
        *(f"![{Path(link).stem}]({link})" for link in pictures),
    ]
    return "\n\n".join(parts) + "\n"


def cell(number: Group, digits: int = 1) -> str:
    """Return a number with its interval."""
    if math.isnan(number["value"]):
        return "-"
    return f"{number['value']:.{digits}f} [{number['low']:.{digits}f}, {number['high']:.{digits}f}]"


def _value(number: Group, digits: int) -> str:
    """Return a number without its interval: one walk has none."""
    return f"{number['value']:.{digits}f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose first column is text."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _localization(group: Group) -> list[str]:
    rows = []
    for name, title in ROWS.items():
        scores = group[name]
        medians = [cell(scores["median_m"], 2), cell(scores["median_deg"])] if "median_m" in scores else ["", ""]
        rows.append([title, *(cell(scores[key]) for key in ACCURACIES), *medians])
    rows.append(["Loc3R-VLM on SQA3D (paper)", *(f"{PAPER[key]:.1f}" for key in ACCURACIES), "", ""])
    count = group["video"]["acc_1.0m"]["count"]
    header = ["percent", *ACCURACY_TITLES, "median m", "median deg"]
    return [f"## Described places\n\n{count} situations, one guess each.", table(header, rows)]


def _explained(group: Group) -> list[str]:
    rows = []
    for name, title in TRUTH_ROWS.items():
        scores = group["truth_given_for"][name]
        medians = [cell(scores["median_m"], 2), cell(scores["median_deg"])]
        rows.append([title, *(cell(scores[key]) for key in ACCURACIES), *medians])
    lost = [
        [title, *(f"{group['lost_to'][name][key]['value']:.1f}" for key in ACCURACIES), "", ""]
        for name, title in LOST_ROWS.items()
    ]
    header = ["the truth in the place of", *ACCURACY_TITLES, "median m", "median deg"]
    return ["## Where the error comes from", table(header, rows + lost)]


def _uncertainty(report: Group) -> list[str]:
    rows = []
    for kind, group in (("described", report["uncertainty"]), ("camera's own", report["own_place"]["uncertainty"])):
        for name in ("position", "heading"):
            numbers = group[name]
            rows.append(
                [
                    f"{kind} {name}",
                    _plain(numbers["rank_correlation"]),
                    _plain(numbers["calibration_error"]),
                    *(
                        f"{cell(numbers[f'within_{n}_sigma'])}, {numbers['expected_within'][str(n)]:.1f}"
                        for n in (1, 2)
                    ),
                ]
            )
    header = ["", "rank correlation", "calibration error", "% within 1 sigma, expected", "% within 2 sigma, expected"]
    confidence, halves = report["uncertainty"]["confidence"], report["uncertainty"]["by_sigma"]
    return [
        "## Uncertainty",
        table(header, rows),
        f"Confidence (the probability to be within 1 m): {confidence['mean']:.1f} % on average, "
        f"{cell(confidence['within_1m'])} % are; calibration error {_plain(confidence['calibration_error'])}, Brier "
        f"score {_plain(confidence['brier'])}. Acc@1.0m of the half with the smaller sigma "
        f"{cell(halves['acc_1.0m_surer_half'])}, of the rest {cell(halves['acc_1.0m_other_half'])}, "
        f"difference {cell(halves['difference'])}.",
    ]


def _questions(group: Group) -> list[str]:
    names = (*CONDITIONS, "constant")
    rows = []
    for kind, scores in group["types"].items():
        judged = "MRA" if scores["judged_by"] == "mra" else "exact"
        exact = cell(scores["exact"]["video"]) if judged == "MRA" else ""
        count = str(scores["score"]["video"]["count"])
        rows.append([kind, judged, count, *(cell(scores["score"][name]) for name in names), exact])
    mean = [cell(group["mean"][name]) for name in names]
    rows.append(["**mean over types**", "", str(group["mean"]["video"]["count"]), *mean, ""])
    least = group["least_gain_over_blank"]
    header = ["percent", "judged by", "questions", *(ROWS[name] for name in names), "exact"]
    return [
        "## Questions",
        table(header, rows),
        f"Gain over grey frames {cell(group['gain']['over_blank'])}, over the video of another scene "
        f"{cell(group['gain']['over_shuffled'])}; least over grey frames: {least['type']}, {least['value']:.1f}.",
    ]


def _layout(group: Group) -> list[str]:
    rows = [["all", *_layout_cells(group["all"])]]
    rows += [[one["distance"], *_layout_cells(one)] for one in group["by_distance"]]
    left = [cell(group["poses_given"][name], 2) for name in ("mean_m", "median_m")]
    rows.append(["all, each keyframe put right", str(group["all"]["mean_m"]["count"]), *left, "", ""])
    header = ["distance from the camera", "patches", "mean m", "median m", "% within 1 sigma (39.3)", "2 sigma (86.5)"]
    return ["## Layout", table(header, rows)]


def _layout_cells(row: Group) -> list[str]:
    metres = [cell(row[name], 2) for name in ("mean_m", "median_m")]
    return [str(row["mean_m"]["count"]), *metres, *(cell(row[f"within_{n}_sigma"]) for n in (1, 2))]


def _cameras(report: Group) -> str:
    own = report["own_place"]
    ends = (
        f"\n\nThe camera's own place on the floor: median {cell(own['median_m'], 2)} m, {cell(own['median_deg'])} deg."
    )
    groups = {"videos": report["camera"], "long walks": report["long_walk"]}
    return f"## Camera poses\n\nMedians.\n\n{_trajectories(groups)}" + (ends if own else "")


def _trajectories(groups: dict[str, Group], show: Callable[[Group, int], str] = cell) -> str:
    rows = [
        [
            f"{group['trajectories']} {title}, {group['poses']} keyframes",
            *(show(group["absolute"][key], digits) for key, digits in (("median_m", 2), ("median_deg", 1))),
            *(show(group["relative"][key], digits) for key, digits in (("median_m", 3), ("median_deg", 2))),
            *(show(group[key], 2) for key in ("end_median_m", "aligned_m", "scale", "aligned_rigid_m", "still_m")),
        ]
        for title, group in groups.items()
        if group
    ]
    header = ["", "absolute m", "absolute deg", "step m", "step deg", "end m", "aligned RMSE m", "scale"]
    return table([*header, "aligned without scale m", "if it stood still m"], rows)


def walk_to_markdown(report: Group, pictures: Sequence[str] = ()) -> str:
    """Return the report of `real_walk.score_walk`, with `run` beside, for people."""
    run = report["run"]
    places = [
        f"{place['situation']} x {place['x']:.2f} m, y {place['y']:.2f} m, heading {place['heading_deg']:.0f} degrees, "
        f"sigma {place['sigma_m'][0]:.2f} and {place['sigma_m'][1]:.2f} m."
        for place in report["places"]
    ]
    answers = [
        f"{one['question']} **{one['answer'] or '(no words)'}** ({one['confidence']:.2f})" for one in report["answers"]
    ]
    parts = [
        f"# {run['name']} ({run['precision']}, {run['backend']}) on the recorded walk {run['walk']}",
        _trajectories({"video": report["video"], "walk as the robot keeps it": report["robot"]}, _value),
        *([_bullets("Described places", places)] if places else []),
        *([_bullets("Answers, with their confidence", answers)] if answers else []),
        *(f"![{Path(link).stem}]({link})" for link in pictures),
    ]
    return "\n\n".join(parts) + "\n"


def _bullets(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"## {title}", "", *(f"- {line}" for line in lines)])


def _plain(number: float) -> str:
    return "-" if math.isnan(number) else f"{number:.3f}"
