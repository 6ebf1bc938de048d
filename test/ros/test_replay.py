"""A recorded bag reaches subscribers in another process byte by byte."""

import contextlib
import itertools
import signal
import subprocess
import sys
import time
from collections import defaultdict

import numpy as np
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from loc3r_ros import cli

STORE = get_typestore(Stores.ROS2_HUMBLE)
IMAGE, CAMERA_POSE, STATIC = "/camera/image_raw", "/truth/pose", "/tf_static"
ODD_HASH = "RIHS01_9ea6d5a0c29df270ff6c5c19d6a81a4d0b4e927b4db14ac2f2a924e274306924"  # of "int32 x" as odd_msgs/msg/Odd
START = 1_700_000_000_000_000_000
PERIOD = 100_000_000
COUNT = 10

pytestmark = pytest.mark.ros


def types(name):
    return STORE.types[name]


def header(stamp, frame):
    sec, nanosec = divmod(stamp, 1_000_000_000)
    time_type = types("builtin_interfaces/msg/Time")
    return types("std_msgs/msg/Header")(stamp=time_type(sec=sec, nanosec=nanosec), frame_id=frame)


def image(stamp, seed):
    data = np.random.default_rng(seed).integers(0, 256, 60 * 80 * 3, dtype=np.uint8)
    return types("sensor_msgs/msg/Image")(
        header=header(stamp, "camera"), height=60, width=80, encoding="rgb8", is_bigendian=0, step=240, data=data
    )


def pose(stamp, x):
    point, turn = types("geometry_msgs/msg/Point")(x=x, y=0.0, z=0.0), types("geometry_msgs/msg/Quaternion")
    pose = types("geometry_msgs/msg/Pose")(position=point, orientation=turn(x=0.0, y=0.0, z=0.0, w=1.0))
    return types("geometry_msgs/msg/PoseStamped")(header=header(stamp, "map"), pose=pose)


def fixed_transform():
    vector, turn = types("geometry_msgs/msg/Vector3")(x=1.0, y=0.0, z=0.0), types("geometry_msgs/msg/Quaternion")
    transform = types("geometry_msgs/msg/Transform")(translation=vector, rotation=turn(x=0.0, y=0.0, z=0.0, w=1.0))
    stamped = types("geometry_msgs/msg/TransformStamped")
    message = stamped(header=header(START, "base_link"), child_frame_id="camera", transform=transform)
    return types("tf2_msgs/msg/TFMessage")(transforms=[message])


def recorded():
    """Return the (topic, type, time, message) of a short recording: a static transform, then images and poses."""
    rows = [(STATIC, "tf2_msgs/msg/TFMessage", START, fixed_transform())]
    for index in range(COUNT):
        stamp = START + index * PERIOD
        rows.append((IMAGE, "sensor_msgs/msg/Image", stamp, image(stamp, index)))
        rows.append((CAMERA_POSE, "geometry_msgs/msg/PoseStamped", stamp + 1000, pose(stamp, float(index))))
    return rows


def write_bag(folder, storage=StoragePlugin.MCAP, compression=None):
    """Write the recording and return topic -> its messages as CDR."""
    writer = Writer(folder, version=9, storage_plugin=storage)
    if compression:
        writer.set_compression(compression, CompressionFormat.ZSTD)
    sent = defaultdict(list)
    with writer:
        connections = {}
        for topic, kind, stamp, message in recorded():
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
            data = bytes(STORE.serialize_cdr(message, kind))
            writer.write(connections[topic], stamp, data)
            sent[topic].append(data)
    return dict(sent)


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bags") / "walk"
    return folder, write_bag(folder)


@contextlib.contextmanager
def replay(*arguments):
    """Run the real command in a process of its own."""
    command = [sys.executable, "-m", "loc3r_ros.cli", "replay", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def listener():
    """A node that keeps the bytes of everything it hears; the clock as ns."""
    import rclpy
    from geometry_msgs.msg import PoseStamped
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.qos import QoSProfile
    from rosgraph_msgs.msg import Clock
    from sensor_msgs.msg import Image
    from tf2_msgs.msg import TFMessage

    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("listener", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    heard, arrivals, clock = defaultdict(list), defaultdict(list), []

    def listen(topic, kind):
        def keep(data):
            heard[topic].append(bytes(data))
            arrivals[topic].append(time.monotonic())

        node.create_subscription(kind, topic, keep, QoSProfile(depth=100), raw=True)

    def keep_time(message):
        clock.append(message.clock.sec * 1_000_000_000 + message.clock.nanosec)

    for topic, kind in ((IMAGE, Image), (CAMERA_POSE, PoseStamped), (STATIC, TFMessage), ("/elsewhere", Image)):
        listen(topic, kind)
    node.create_subscription(Clock, "/clock", keep_time, QoSProfile(depth=1000))

    def spin_until(is_done, timeout=30.0):
        deadline = time.monotonic() + timeout
        while not is_done():
            assert time.monotonic() < deadline, f"heard only { ({topic: len(x) for topic, x in heard.items()}) }"
            executor.spin_once(timeout_sec=0.1)

    class Listener:
        pass

    listener = Listener()
    listener.heard, listener.arrivals, listener.clock, listener.spin_until = heard, arrivals, clock, spin_until
    yield listener
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown(context=context)


def finish(listener, process):
    listener.spin_until(lambda: process.poll() is not None)
    output = process.stdout.read()
    assert process.returncode == 0, output
    return output


@pytest.mark.parametrize(
    "storage, compression",
    [
        (StoragePlugin.MCAP, None),
        (StoragePlugin.SQLITE3, None),
        (StoragePlugin.SQLITE3, CompressionMode.MESSAGE),
        (StoragePlugin.MCAP, CompressionMode.FILE),
    ],
)
def test_fast_replay_loses_nothing_and_changes_no_byte(tmp_path, listener, storage, compression):
    sent = write_bag(tmp_path / "walk", storage, compression)
    with replay(tmp_path / "walk", "--fast") as process:
        output = finish(listener, process)
        listener.spin_until(lambda: sum(map(len, listener.heard.values())) >= 2 * COUNT + 1)
    assert dict(listener.heard) == sent
    for topic, messages in sent.items():
        assert f"sent {len(messages)} on {topic}" in output
    assert listener.clock == sorted(listener.clock)
    assert listener.clock[-1] == START + (COUNT - 1) * PERIOD + 1000


def test_a_rate_holds_the_messages_back_and_the_clock_runs_meanwhile(bag, listener):
    with replay(bag[0], "--rate", "2") as process:
        finish(listener, process)
    arrivals = listener.arrivals[IMAGE]
    assert len(arrivals) == COUNT
    recorded_s = (COUNT - 1) * PERIOD * 1e-9
    assert arrivals[-1] - arrivals[0] > 0.8 * recorded_s / 2  # never early; a busy machine may be late
    assert len(listener.clock) > 2 * COUNT  # 50 ms of wall time between images: a tick in between
    assert listener.clock == sorted(listener.clock)


def test_a_loop_jumps_back_in_time_and_ctrl_c_ends_it(bag, listener):
    with replay(bag[0], "--fast", "--loop") as process:
        listener.spin_until(lambda: len(listener.heard[IMAGE]) > 2 * COUNT)
        process.send_signal(signal.SIGINT)
        finish(listener, process)
    jumps = [later - earlier for earlier, later in itertools.pairwise(listener.clock) if later < earlier]
    assert len(jumps) >= 2
    assert min(jumps) == -((COUNT - 1) * PERIOD + 1000)
    heard = listener.heard[IMAGE]
    assert heard[: 2 * COUNT] == 2 * bag[1][IMAGE]


def test_topics_are_chosen_and_renamed(bag, listener):
    with replay(bag[0], "--fast", "--topics", IMAGE, "--remap", f"{IMAGE}:=/elsewhere") as process:
        finish(listener, process)
    assert dict(listener.heard) == {"/elsewhere": bag[1][IMAGE]}


def test_without_a_listener_it_says_so_and_plays(bag):
    with replay(bag[0], "--fast", "--wait", "0.2") as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Nobody listens to" in output
    assert f"sent {COUNT} on {IMAGE}" in output


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--rate", "0"], "above 0"),
        (["--rate", "nan"], "above 0"),
        (["--topics", "/nowhere"], "no topic /nowhere"),
        (["--remap", "/camera/image_raw"], "FROM:=TO"),
        (["--remap", "two words:=/x"], "refuses the names"),
    ],
)
def test_a_wrong_option_is_a_sentence(bag, capsys, arguments, sentence):
    assert cli.main(["replay", str(bag[0]), *arguments]) == 1
    assert sentence in capsys.readouterr().err


def test_a_missing_bag_is_a_sentence(tmp_path, capsys):
    assert cli.main(["replay", str(tmp_path / "none")]) == 1
    assert "There is no bag" in capsys.readouterr().err


def test_a_message_type_that_is_not_installed_is_named(tmp_path, capsys):
    writer = Writer(tmp_path / "odd", version=9, storage_plugin=StoragePlugin.MCAP)
    with writer:
        connection = writer.add_connection("/odd", "odd_msgs/msg/Odd", msgdef="int32 x\n", rihs01=ODD_HASH)
        writer.write(connection, START, b"\x00\x01\x00\x00\x01\x00\x00\x00")
    assert cli.main(["replay", str(tmp_path / "odd")]) == 1
    assert "odd_msgs/msg/Odd, which is not installed" in capsys.readouterr().err


def test_a_truncated_bag_is_a_sentence(bag, tmp_path, capsys):
    data = next(bag[0].glob("*.mcap")).read_bytes()
    (tmp_path / "cut.mcap").write_bytes(data[: len(data) // 2])
    assert cli.main(["replay", str(tmp_path / "cut.mcap"), "--wait", "0"]) == 1
    assert "cannot be read" in capsys.readouterr().err
