"""The node with a real model of random weights: camera to answer through every layer, without torch."""

import time
from pathlib import Path

import numpy as np
import pytest
from geometry_msgs.msg import PoseWithCovarianceStamped
from harness import LATCHED, RELIABLE, NodeProcess, image_message, stamp_gaps, static_robot, wait_until
from loc3r_ros.srv import Ask, SessionFile, WhereAmI
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from loc3r_ros.benchmarks._timing import Metronome

pytestmark = [pytest.mark.ros, pytest.mark.slow]


@pytest.fixture(scope="module")
def node(probe, engine_folder, tmp_path_factory):
    parameters = {
        "engines": engine_folder("tiny"),
        "keyframe_count": 4,
        "session_directory": tmp_path_factory.mktemp("sessions"),
    }
    node = NodeProcess(parameters=parameters)
    latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    probe.publisher(TFMessage, "/tf_static", latched).publish(static_robot())
    images = probe.publisher(Image, "image", RELIABLE)
    probe.node.create_timer(0.1, lambda: images.publish(image_message(probe.now())))
    probe.executor.wake()
    wait_until(lambda: probe.call(WhereAmI, "where_am_i").success, "an answer", patience=60)
    yield node
    assert node.stop() == 0, node.log
    assert "Traceback" not in node.log


def test_places_and_answers_come_in_the_map(probe, node):
    for situation in ("", "I am standing beside the sofa."):
        response = probe.call(WhereAmI, "where_am_i", situation=situation, question="What is on my left?")
        assert response.success, response.message
        assert response.pose.header.frame_id == "map"
        assert np.isfinite(response.pose.pose.covariance).all()
        assert sum(response.pose.heading_probabilities) == pytest.approx(1.0, abs=1e-4)
    assert probe.call(Ask, "ask", question="How many chairs are there?").success


def test_the_memory_survives_in_a_file(probe, node):
    saved = probe.call(SessionFile, "save_session", path="walk.loc3r")
    assert saved.success, saved.message
    loaded = probe.call(SessionFile, "load_session", path="walk.loc3r")
    assert loaded.success, loaded.message
    assert probe.call(WhereAmI, "where_am_i").success
    assert not probe.call(SessionFile, "load_session", path="nowhere.loc3r").success


def test_the_camera_goes_on_while_questions_run(probe, node):
    poses = probe.listen(PoseWithCovarianceStamped, "pose", LATCHED)
    deadline = time.monotonic() + 2.0
    while time.monotonic() < deadline:
        assert probe.call(Ask, "ask", question="What is there?").success
    stamps = {(m.header.stamp.sec, m.header.stamp.nanosec) for m in poses.messages}
    assert len(stamps) > 5


def test_transforms_have_no_gap_while_the_model_answers(probe, node):
    """Best of three, as in `test_questions_over_ros`."""
    assert probe.call(Trigger, "reset").success  # a session that was loaded has no place in the map yet
    broadcasts = probe.listen(TFMessage, "/tf")
    broadcasts.wait(what="a broadcast")
    excess, answers = [], 0
    for _ in range(3):
        broadcasts.clear()
        deadline = time.monotonic() + 1.5
        with Metronome() as machine:
            while time.monotonic() < deadline:
                answers += probe.call(Ask, "ask", question="What is there?", situation="I am here.").success
        excess.append(max(stamp_gaps(broadcasts.messages)) - machine.lateness)
    assert min(excess) < 0.1
    assert answers > 3  # random weights lose their way, and then the memory begins anew


def test_the_robot_needs_no_torch(node):
    maps = Path(f"/proc/{node.process.pid}/maps").read_text()
    assert "libtorch" not in maps
    assert "onnxruntime" in maps
