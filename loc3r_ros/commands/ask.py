"""Ask the running node a question and print the words as they come.

loc3r ask "How many chairs are there?"
loc3r ask "What is on my left?" --situation "I am standing beside the sofa, facing the TV."

Ctrl-C cancels the question on the robot, too.
"""

from __future__ import annotations

import argparse

from loc3r_ros.commands import add_client_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("question", metavar="TEXT", help="the question")
    parser.add_argument("--situation", default="", metavar="TEXT", help="description of the place it is asked from")
    add_client_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ask, and print the answer and the pose that grounds it."""
    from loc3r_ros.ros.client import Client, describe_pose

    with Client(arguments.namespace, arguments.timeout) as client:
        answer = client.ask(
            arguments.question, arguments.situation, on_text=lambda text: print(text, end="", flush=True)
        )
    print("" if answer.answer else "(no words)")
    if answer.grounded:
        print(f"from {describe_pose(answer.pose)}")
    return 0
