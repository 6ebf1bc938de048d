"""`loc3r viewer`: its arguments become those of the node."""

import argparse

import pytest

from loc3r_ros.commands import viewer
from loc3r_ros.errors import ConfigError


def parse(*arguments):
    parser = argparse.ArgumentParser()
    viewer.add_arguments(parser)
    return parser.parse_args(arguments)


def test_by_itself_it_serves_on_all_addresses():
    assert viewer.ros_arguments(parse()) == ["--ros-args", "-p", "address:=0.0.0.0", "-p", "port:=8080"]


@pytest.mark.parametrize("namespace", ["/robot1", "robot1"])
def test_every_argument_arrives(namespace):
    given = parse("--namespace", namespace, "--port", "0", "--address", "127.0.0.1", "--image", "/camera/image_raw")
    assert viewer.ros_arguments(given) == [
        *("--ros-args", "-r", "__ns:=/robot1"),
        *("-p", "address:=127.0.0.1", "-p", "port:=0", "-p", "image_topic:=/camera/image_raw"),
    ]


@pytest.mark.parametrize("namespace", ["no space", "1st", "a//b", "/"])
def test_a_namespace_that_is_none_is_refused(namespace):
    with pytest.raises(ConfigError, match="no namespace of ROS"):
        viewer.ros_arguments(parse("--namespace", namespace))
