"""The least that any Python node must do: a plain subscription that copies each image to numpy.

Prints "begin" when it listens; once its standard input ends, how many images came and the CPU seconds since then.
"""

from __future__ import annotations

import json
import sys
import threading
import time

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image

from loc3r_ros.benchmarks._camera import say


def main() -> int:
    """Listen to `image`."""
    rclpy.init()
    node = Node("benchmark_subscriber")
    images: list[np.ndarray] = []
    count = 0

    def keep(message: Image) -> None:
        nonlocal count
        count += 1
        images[:] = [np.frombuffer(message.data, np.uint8).reshape(message.height, message.step).copy()]

    node.create_subscription(Image, "image", keep, 10)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    ended = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    executor.spin_once(timeout_sec=0.0)
    before = time.process_time()
    say("begin")
    while not ended.is_set():
        executor.spin_once(timeout_sec=0.5)
    say(json.dumps({"received": count, "cpu": time.process_time() - before}))
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
