"""What must never wait: simulated time and the broadcast of transforms, on a node and an executor of their own.

The executor of the main node walks some thirty services and timers at each wake, and its threads may all wait for
answers. /clock would wake it for every message, and a broadcast would come late behind a question. Here an executor
has one subscription and one timer, and no callback that computes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.timer import Timer

from loc3r_ros.ros.lifecycle import SpinThread


class Pulse:
    """The beat of a node, from its construction to `close`."""

    def __init__(self, owner: Node, on_beat: Callable[[], None]) -> None:
        """Take /clock over from the owner, whose clock, remapping and parameter use_sim_time hold; no beat yet.

        Args:
            owner: the main node.
            on_beat: called in the thread of the pulse; must be quick.
        """
        self._owner = owner
        self._on_beat = on_beat
        self._timer: Timer | None = None
        self._lock = threading.Lock()
        self._node = Node(
            f"_{owner.get_name()}_pulse",
            namespace=owner.get_namespace(),
            context=owner.context,
            cli_args=["--ros-args", "-r", f"/clock:={owner.resolve_topic_name('/clock')}"],
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        source = owner._time_source  # its callback for the owner's parameter use_sim_time stays in force
        is_simulated = source.ros_time_is_active
        source.attach_node(self._node)
        source.ros_time_is_active = is_simulated
        executor = SingleThreadedExecutor(context=owner.context)
        executor.add_node(self._node)
        self._spinner = SpinThread("loc3r_pulse", executor, owner.get_logger().error)

    def beat(self, rate: float) -> None:
        """Call `on_beat` at a rate, Hz of the owner's clock, from now on."""
        self.rest()
        with self._lock:
            self._timer = self._node.create_timer(1.0 / rate, self._fire, clock=self._owner.get_clock())

    def rest(self) -> None:
        """Stop calling it, and wait for a call that runs."""
        with self._lock:
            if self._timer is not None:
                self._node.destroy_timer(self._timer)
            self._timer = None

    def close(self) -> None:
        """End the thread."""
        self._spinner.stop()
        self._node.destroy_node()

    def _fire(self) -> None:
        with self._lock:
            if self._timer is not None:
                self._on_beat()
