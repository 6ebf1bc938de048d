"""Serve the page: camera, map, described places and questions of a running node, in a browser.

loc3r viewer                                        then open http://THIS-MACHINE:8080
loc3r viewer --namespace /robot1 --port 8081
loc3r viewer --address 127.0.0.1                    for browsers on this machine alone
"""

from __future__ import annotations

import argparse
import os
import re

from loc3r_ros.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--namespace", default="", metavar="NAME", help="of the node, such as /robot1")
    parser.add_argument("--address", default="0.0.0.0", help="network address to listen on (default: all of them)")
    parser.add_argument("--port", type=int, default=8080, help="TCP port of the page (default: 8080; 0: any)")
    parser.add_argument("--image", default="", metavar="TOPIC", help="pictures to show (default: what the node sees)")


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    from loc3r_ros.ros.processes import use_large_images
    from loc3r_ros.ros.viewer import main

    use_large_images(os.environ)
    return main(ros_arguments(arguments))


def ros_arguments(arguments: argparse.Namespace) -> list[str]:
    """Return the same as arguments of the node.

    Raises:
        ConfigError: the namespace is none.
    """
    if arguments.namespace and not re.fullmatch(r"/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*", arguments.namespace):
        raise ConfigError(f"'{arguments.namespace}' is no namespace of ROS: use one such as /robot1.")
    names = ["-r", f"__ns:=/{arguments.namespace.strip('/')}"] if arguments.namespace else []
    values = {"address": arguments.address, "port": arguments.port, "image_topic": arguments.image}
    pairs = [part for name, value in values.items() if value != "" for part in ("-p", f"{name}:={value}")]
    return ["--ros-args", *names, *pairs]
