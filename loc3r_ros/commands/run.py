"""Show a video or a bag to the model, without ROS, and ask about it.

loc3r run walk.mp4 --where "I am standing beside the sofa, facing the TV." --ask "How many chairs are there?"
loc3r run walk_bag/ --engines engines/7b --out out/walk

Writes top_view.png (keyframes, layout and described places with their 1- and 2-sigma ellipses) and report.json. All
poses are in the anchor frame: on the floor under the first keyframe's camera, x forward, y to the left.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from loc3r_ros.errors import ConfigError
from loc3r_ros.resources import SHIPPED_ENGINES, find_engines

if TYPE_CHECKING:
    from loc3r_ros.interface import Place
    from loc3r_ros.localizer import Localizer
    from loc3r_ros.recording.report import Report, Watched


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("recording", type=Path, metavar="VIDEO_OR_BAG", help="a video, a bag's folder, .mcap or .db3")
    parser.add_argument("--engines", type=Path, metavar="DIR", help=f"folder of engines (default: {SHIPPED_ENGINES})")
    parser.add_argument("--where", action="append", default=[], metavar="TEXT", help="a place to find (repeatable)")
    parser.add_argument("--ask", action="append", default=[], metavar="TEXT", help="a question (repeatable)")
    parser.add_argument("--situation", default="", metavar="TEXT", help="from where the questions are asked")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to write to (default: out/run_NAME)")
    parser.add_argument("--topic", default="", metavar="NAME", help="image topic, where a bag has several")
    parser.add_argument(
        "--odom-frame", default="odom", metavar="NAME", help="odometry's frame in the bag's transforms (default: odom)"
    )
    parser.add_argument("--threads", type=int, default=0, help="of the engines (default: the backend decides)")


def run(arguments: argparse.Namespace) -> int:
    """Look, answer, and write picture and numbers."""
    from loc3r_ros.localizer import Localizer
    from loc3r_ros.recording.picture import draw, save
    from loc3r_ros.recording.report import as_json, make_report

    out = arguments.out or Path("out") / f"run_{arguments.recording.resolve().stem}"
    localizer = Localizer.load(find_engines(arguments.engines), threads=arguments.threads)
    watched = _watch(localizer, arguments)
    report = make_report(localizer, watched, arguments.where, arguments.ask, arguments.situation)
    print(describe(report))
    manifest = localizer.engines.manifest
    about = {"recording": str(arguments.recording), "engines": manifest.name, "fingerprint": manifest.fingerprint}
    try:
        save(draw(report, f"{arguments.recording.name} as {manifest.name} sees it"), out / "top_view.png")
        (out / "report.json").write_text(json.dumps({**about, **as_json(report)}, indent=1) + "\n")
    except OSError as error:
        raise ConfigError(
            f"The results cannot be written to {out} ({error}): name another folder with --out."
        ) from None
    print(f"Picture and numbers: {out}/top_view.png, {out}/report.json", file=sys.stderr)
    return 0


def describe(report: Report) -> str:
    """Return what was seen, found and answered, as lines for people."""
    watched = report.watched
    lines = [
        f"{watched.frames} frames, {watched.with_odometry} of them with odometry; {len(report.keyframes)} keyframes in "
        f"memory; {1000 * watched.cpu_seconds / watched.frames:.0f} ms of CPU for each frame.",
        f"The camera at the end: {describe_place(report.robot)}",
    ]
    lines += [f"{place.situation}\n  {describe_place(place)}" for place in report.places]
    for answered in report.answers:
        reply = answered.reply
        lines.append(f"{answered.question}\n  {reply.text or '(no words)'}")
        if reply.pose is not None:
            lines.append(f"  from {describe_place(reply.pose)}")
    return "\n".join(lines)


def describe_place(place: Place) -> str:
    """Return a place in one line."""
    x, y, heading = place.pose
    sigma_x, sigma_y, sigma_heading = (math.sqrt(place.covariance[i, i]) for i in range(3))
    return (
        f"x {x:.2f} +- {sigma_x:.2f} m, y {y:.2f} +- {sigma_y:.2f} m, heading {math.degrees(heading):.0f} +- "
        f"{math.degrees(sigma_heading):.0f} deg; {100 * place.confidence:.0f} % sure to be within 1 m"
    )


def _watch(localizer: Localizer, arguments: argparse.Namespace) -> Watched:
    from tqdm import tqdm

    from loc3r_ros.recording.report import watch
    from loc3r_ros.recording.sources import open_recording

    with open_recording(arguments.recording, arguments.topic, arguments.odom_frame) as recording:
        views = tqdm(recording.views, total=recording.count, unit="frame", desc="looking", disable=None)
        return watch(localizer, views)
