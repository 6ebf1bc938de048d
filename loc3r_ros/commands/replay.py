"""Publish a recorded bag on real topics, with /clock.

Reads any rosbag2 (a folder, or one .mcap or .db3 file; compressed or not). Run the nodes that listen with
`use_sim_time:=true`. Example:

    loc3r replay walk/ --remap /camera/image_raw:=/image --rate 2
"""

from __future__ import annotations

import argparse
import itertools
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from loc3r_ros.errors import ConfigError

if TYPE_CHECKING:
    from loc3r_ros.bags import Bag
    from loc3r_ros.ros.replay import Pace, Player


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument("bag", type=Path, help="folder of the bag, or one .mcap or .db3 file")
    speed = parser.add_mutually_exclusive_group()
    speed.add_argument("--rate", type=float, default=1.0, help="times the recorded speed (default: 1)")
    speed.add_argument("--fast", action="store_true", help="as fast as reliable subscribers take the messages")
    parser.add_argument("--loop", action="store_true", help="begin again at the end, until Ctrl-C")
    parser.add_argument("--topics", nargs="+", default=[], metavar="NAME", help="publish only these topics")
    parser.add_argument("--remap", nargs="+", default=[], metavar="FROM:=TO", help="publish topics under other names")
    parser.add_argument(
        "--wait", type=float, default=10.0, metavar="SECONDS", help="longest wait for a subscriber (default: 10)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Play the bag; Ctrl-C ends it well."""
    from loc3r_ros.bags import Bag
    from loc3r_ros.ros.replay import Pace

    pace = Pace(None if arguments.fast else arguments.rate)
    with Bag(arguments.bag) as bag:
        return _play(bag, pace, arguments)


def _play(bag: Bag, pace: Pace, arguments: argparse.Namespace) -> int:
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from loc3r_ros.ros.replay import Player

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        rclpy.init(args=_remappings(arguments.remap), signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:
        raise ConfigError(f"ROS refuses the names of --remap {' '.join(arguments.remap)}: {error}.") from error
    player = None
    try:
        player = Player(bag, pace, arguments.topics)
        if not player.wait_for_subscribers(arguments.wait):
            print(f"Nobody listens to {', '.join(player.names.values())}; playing all the same.", file=sys.stderr)
        _play_rounds(player, arguments.loop)
        player.finish()
    except KeyboardInterrupt:
        pass
    finally:
        if player is not None:
            _report(player)
            player.close()
        rclpy.try_shutdown()
    return 0


def _play_rounds(player: Player, loop: bool) -> None:
    from tqdm import tqdm

    total = sum(topic.count for topic in player.topics)
    for turn in itertools.count(1) if loop else (1,):
        label = f"round {turn}" if loop else "playing"
        with tqdm(total=total, unit="msg", desc=label, disable=None) as bar:
            player.play(bar.update)


def _report(player: Player) -> None:
    for name, published in player.names.items():
        print(f"sent {player.sent[name]} on {published}")


def _remappings(rules: list[str]) -> list[str]:
    """Return the rules as ROS arguments.

    Raises:
        ConfigError: a rule is not FROM:=TO.
    """
    for rule in rules:
        if not all(rule.partition(":=")):
            raise ConfigError(f"--remap takes FROM:=TO, such as /camera/image_raw:=/image, not '{rule}'.")
    return ["--ros-args", *itertools.chain.from_iterable(("-r", rule) for rule in rules)]
