"""A camera in a process of its own: publishes images of one size at one rate, and says what it has sent.

Prints "begin" when it starts to publish and a line of JSON at the end.
"""

from __future__ import annotations

import argparse
import array
import json
import sys
import time

import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from tf2_msgs.msg import TFMessage

from loc3r_ros.geometry import CAMERA_LINK_T_OPTICAL, from_planar
from loc3r_ros.ros.conversions import time_message
from loc3r_ros.ros.qos import STATIC_TRANSFORMS
from loc3r_ros.ros.transforms import transform_message

FRAME = "camera_optical_frame"
SETTLING = 2.0
"""Seconds after the first subscriber, in which it may still choose its quality of service."""


def say(text: str) -> None:
    """Tell the benchmark, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reliability", choices=("reliable", "best_effort"), required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rate", type=float, default=30.0)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=720)
    arguments = parser.parse_args()
    rclpy.init()
    node = Node("benchmark_camera")
    publisher = node.create_publisher(Image, "image", QoSProfile(depth=5, reliability=_policy(arguments.reliability)))
    transforms = node.create_publisher(TFMessage, "/tf_static", STATIC_TRANSFORMS)
    transforms.publish(_standing_robot())
    while not publisher.get_subscription_count():
        time.sleep(0.05)
    time.sleep(SETTLING)
    message = _image(arguments.width, arguments.height)
    say("begin")
    frames, begin = round(arguments.seconds * arguments.rate), time.monotonic()
    for frame in range(frames):
        time.sleep(max(0.0, begin + frame / arguments.rate - time.monotonic()))
        message.header.stamp = time_message(time.time_ns())
        publisher.publish(message)
    say(json.dumps({"sent": frames, "seconds": time.monotonic() - begin}))
    sys.stdin.readline()  # a reliable publisher must live until all is taken
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


def _policy(name: str) -> ReliabilityPolicy:
    return ReliabilityPolicy.RELIABLE if name == "reliable" else ReliabilityPolicy.BEST_EFFORT


def _image(width: int, height: int) -> Image:
    message = Image(width=width, height=height, encoding="rgb8", step=3 * width)
    message.header.frame_id = FRAME
    message.data = array.array("B", bytes(range(256)) * (3 * width * height // 256 + 1))[: 3 * width * height]
    return message


def _standing_robot() -> TFMessage:
    still = from_planar((0.0, 0.0, 0.0))
    return TFMessage(
        transforms=[
            transform_message("odom", "base_link", still, 0),
            transform_message("base_link", FRAME, CAMERA_LINK_T_OPTICAL, 0),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
