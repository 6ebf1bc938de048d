"""The verbs of `loc3r`, one module each; heavy imports belong inside `run`, so that `loc3r --help` stays fast."""

from __future__ import annotations

import argparse


def add_client_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of every verb that asks a running node."""
    parser.add_argument("--namespace", default="", metavar="NAME", help="of the node, such as /robot1")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="for an answer (default: 60)")
