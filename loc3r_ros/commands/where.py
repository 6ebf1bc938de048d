"""Ask the running node where a described place is, or where the robot is.

loc3r where                                                         the robot's own place
loc3r where "I am standing beside the sofa, facing the TV."        the place that the text describes
loc3r where "I am standing beside the sofa." --question "What is on my left?"
"""

from __future__ import annotations

import argparse

from loc3r_ros.commands import add_client_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("situation", nargs="?", default="", metavar="TEXT", help="description of the place")
    parser.add_argument("--question", default="", metavar="TEXT", help="a question to answer from there")
    parser.add_argument("--frame", default="", metavar="NAME", help="frame of the pose (default: the map)")
    add_client_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ask, and print the pose and the answer."""
    from loc3r_ros.ros.client import Client, describe_pose

    with Client(arguments.namespace, arguments.timeout) as client:
        response = client.where(arguments.situation, arguments.question, arguments.frame)
    print(describe_pose(response.pose))
    if arguments.question:
        print(response.answer)
    return 0
