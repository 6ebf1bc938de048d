"""Helpers of the integration tests: a node in a process, and a probe that publishes, listens and calls."""

import array
import atexit
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from tf2_msgs.msg import TFMessage

from loc3r_ros.ros.lifecycle import SpinThread

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0
"""s. How long an event may take on a busy machine; nothing waits so long where all is well."""

RELIABLE = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=200, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def wait_until(condition, what, patience=PATIENCE):
    """Return the first true value of `condition()`."""
    deadline = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {patience:g} s"
        time.sleep(0.01)
    return value


class NodeProcess:
    """The node `loc3r` in a process of its own."""

    def __init__(self, parameters=None, remap=None, namespace="", script="scripts/loc3r_node"):
        arguments = ["--ros-args"]
        for name, value in (parameters or {}).items():
            arguments += ["-p", f"{name}:={str(value).lower() if isinstance(value, bool) else value}"]
        for old, new in (remap or {}).items():
            arguments += ["-r", f"{old}:={new}"]
        if namespace:
            arguments += ["-r", f"__ns:={namespace}"]
        self._log = tempfile.NamedTemporaryFile("w+", suffix=".log")  # noqa: SIM115
        # Prefer speed of the machine's other tests over that of OpenCV.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1", "PYTHONFAULTHANDLER": "1"}
        self.process = subprocess.Popen(
            [sys.executable, ROOT / script, *arguments], stdout=self._log, stderr=self._log, env=environment
        )
        atexit.register(self.kill)  # where a fixture fails half-way

    @property
    def log(self):
        return Path(self._log.name).read_text()

    def wait_for_log(self, pattern, since=0):
        """Return the log once `pattern` occurs in it after character `since`."""
        return wait_until(lambda: re.search(pattern, self.log[since:]) and self.log, f"the log entry {pattern!r}")

    def stop(self, number=signal.SIGINT):
        """Send a signal and return the exit code; a process that stays is made to say where its threads are."""
        self.process.send_signal(number)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait()
            raise AssertionError(f"It was still there {PATIENCE:g} s after signal {number}:\n{self.log}") from None

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Inbox:
    """Messages of one topic."""

    def __init__(self):
        self._changed = threading.Condition()
        self.messages = []

    def __call__(self, message):
        with self._changed:
            self.messages.append(message)
            self._changed.notify_all()

    def clear(self):
        with self._changed:
            self.messages = []

    def wait(self, condition=lambda message: True, what="a message", patience=PATIENCE):
        """Return the first message that fulfils `condition`, from those that have come or will."""
        with self._changed:
            found = self._changed.wait_for(lambda: [m for m in self.messages if condition(m)], patience)
        assert found, f"{what} did not arrive within {patience:g} s; {len(self.messages)} others did"
        return found[0]


class Probe:
    """A node of the test, spinning in a thread."""

    def __init__(self):
        self.context = Context()
        rclpy.init(context=self.context)
        self.node = Node(f"probe_{os.getpid()}_{id(self)}", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self._spinner = None

    def __enter__(self):
        self._spinner = SpinThread("probe", self.executor, self.node.get_logger().error)
        return self

    def __exit__(self, *_):
        self._spinner.stop()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    def listen(self, message_type, topic, qos=RELIABLE):
        inbox = Inbox()
        self.node.create_subscription(message_type, topic, inbox, qos)
        self.executor.wake()
        return inbox

    def publisher(self, message_type, topic, qos=RELIABLE, wait=True):
        """Return a publisher, once the node listens."""
        publisher = self.node.create_publisher(message_type, topic, qos)
        if wait:
            wait_until(publisher.get_subscription_count, f"a subscription of {topic}")
        return publisher

    def call(self, service_type, name, rehearsal=None, **fields):
        """Return the response of a service, which may get the request twice unless a harmless one goes first."""
        client = self.node.create_client(service_type, name)
        self.executor.wake()
        try:
            wait_until(client.service_is_ready, f"the service {name}")
            if rehearsal is not None:
                self._answer(client, rehearsal)
                return self._answer(client, service_type.Request(**fields), tries=1)
            return self._answer(client, service_type.Request(**fields))
        finally:
            self.node.destroy_client(client)

    def _answer(self, client, request, tries=15):
        """Send until an answer comes: the first may be lost, since DDS matches the two directions one by one."""
        done, futures = threading.Event(), []
        for _ in range(tries):
            futures.append(client.call_async(request))
            futures[-1].add_done_callback(lambda _: done.set())
            if done.wait(PATIENCE / tries):
                return next(future for future in futures if future.done()).result()
        raise AssertionError(f"{client.srv_name} did not answer")

    def now(self):
        return self.node.get_clock().now().nanoseconds


def time_message(stamp):
    return Time(sec=stamp // 10**9, nanosec=stamp % 10**9)


def image_message(stamp, pixels=None, encoding="rgb8", frame="camera_optical_frame", **fields):
    """Return an image; without pixels one whose content depends on its stamp."""
    if pixels is None:
        pixels = np.random.default_rng(stamp % 2**32).integers(0, 255, (48, 64, 3), np.uint8)
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    message.step = pixels.strides[0]
    message.data = array.array("B", pixels.tobytes())
    message.header.frame_id = frame
    message.header.stamp = time_message(stamp)
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def transform(parent, child, stamp=0, x=0.0, y=0.0, yaw=0.0):
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.header.stamp = time_message(stamp)
    message.transform.translation.x, message.transform.translation.y = float(x), float(y)
    message.transform.rotation.z, message.transform.rotation.w = float(np.sin(yaw / 2)), float(np.cos(yaw / 2))
    return message


def camera_on_robot(frame="camera_optical_frame", base="base_link", x=0.2, z=0.4):
    """Return the static transform of a camera that looks forward."""
    message = transform(base, frame, x=x)
    message.transform.translation.z = z
    turn = message.transform.rotation
    turn.x, turn.y, turn.z, turn.w = -0.5, 0.5, -0.5, 0.5
    return message


def static_robot(odom="odom", base="base_link", frame="camera_optical_frame"):
    """Return a robot that stands still: all transforms static, valid at every stamp."""
    return TFMessage(transforms=[transform(odom, base, x=1.0, y=2.0), camera_on_robot(frame, base)])


def counts(diagnostics):
    """Return the frame counts of a DiagnosticArray."""
    values = {pair.key: pair.value for status in diagnostics.status for pair in status.values}
    return {name: int(values[name]) for name in ("received", "processed", "replaced", "failed", "pending")}


def parameter(name, value):
    if isinstance(value, bool):
        return Parameter(name=name, value=ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=value))
    if isinstance(value, int):
        return Parameter(name=name, value=ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=value))
    if isinstance(value, float):
        return Parameter(name=name, value=ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value))
    return Parameter(name=name, value=ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=value))


def set_parameters(probe, **values):
    """Set parameters and return the reasons for those refused."""
    response = probe.call(
        SetParameters, "loc3r/set_parameters", parameters=[parameter(name, value) for name, value in values.items()]
    )
    return [result.reason for result in response.results if not result.successful]


def stamp_gaps(broadcasts, child="odom"):
    """Return the seconds between the stamps of successive transforms of a frame: when they were sent, not received."""
    stamps = [t.header.stamp for m in broadcasts for t in m.transforms if t.child_frame_id == child]
    return np.diff([stamp.sec + 1e-9 * stamp.nanosec for stamp in stamps])
