"""Name the place where the robot is, or list the named places.

loc3r label set "kitchen door"    a name that exists is moved here
loc3r label list
"""

from __future__ import annotations

import argparse

from loc3r_ros.commands import add_client_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `set` and `list`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    name = actions.add_parser("set", help="name the place where the robot is")
    name.add_argument("name", metavar="NAME", help="its name")
    add_client_arguments(name)
    add_client_arguments(actions.add_parser("list", help="list the named places"))


def run(arguments: argparse.Namespace) -> int:
    """Run the action that was asked for."""
    from loc3r_ros.ros.client import Client, describe_labels

    with Client(arguments.namespace, arguments.timeout) as client:
        print(
            client.set_label(arguments.name).message if arguments.action == "set" else describe_labels(client.labels())
        )
    return 0
