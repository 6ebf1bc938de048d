"""Look at the synthetic indoor world.

loc3r world show SEED    one scene: frames, top view with the walk, situations and questions with their answers
loc3r world blind        how well questions can be answered from their words alone, beside chance
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `show` and `blind`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser("show", help="write pictures, situations and questions of one scene")
    show.add_argument("seed", type=int, help="seed of the scene")
    show.add_argument("--out", type=Path, default=None, help="folder to write to (default: out/world_SEED)")
    show.add_argument("--frames", type=int, default=32, help="frames of the walk (default: 32)")
    show.add_argument("--size", type=int, default=128, help="pixels of a side of a frame (default: 128)")
    blind = actions.add_parser("blind", help="guess answers from words alone")
    blind.add_argument("--scenes", type=int, default=400, help="scenes of training, and of validation (default: 400)")
    blind.add_argument("--raw", action="store_true", help="without the balancing")


def run(arguments: argparse.Namespace) -> int:
    """Run the action that was asked for."""
    return _show(arguments) if arguments.action == "show" else _blind(arguments)


def _show(arguments: argparse.Namespace) -> int:
    print(f"Making scene {arguments.seed} (the first run also compiles the renderer) ...", file=sys.stderr)
    from loc3r_ros.world import show
    from loc3r_ros.world.sample import make_sample

    sample = make_sample(arguments.seed, frames=arguments.frames, width=arguments.size, height=arguments.size)
    print(show.describe_sample(sample))
    for path in show.write(sample, arguments.out or Path("out") / f"world_{arguments.seed}"):
        print(f"wrote {path}", file=sys.stderr)
    return 0


def _blind(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from loc3r_ros.world.blind import ask_many, format_scores, score_blind
    from loc3r_ros.world.splits import FIRST_VALIDATION_SEED

    streams = []
    for name, first in (("training", 0), ("validation", FIRST_VALIDATION_SEED)):
        seeds = tqdm(range(first, first + arguments.scenes), desc=f"{name} scenes", unit="scene")
        streams.append(ask_many(seeds, balance=not arguments.raw))
    print(format_scores(score_blind(*streams)))
    return 0
