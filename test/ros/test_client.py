"""`loc3r where`, `ask` and `label` with real nodes: answers, streams, and what is said where something is missing."""

import math
import os
import re
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from harness import RELIABLE, NodeProcess, image_message, static_robot, wait_until
from loc3r_ros.msg import LanguagePose
from loc3r_ros.srv import Ask, ListLabels, WhereAmI
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from tf2_msgs.msg import TFMessage

from loc3r_ros import cli
from loc3r_ros.errors import ConfigError
from loc3r_ros.geometry import from_planar
from loc3r_ros.ros.client import Client, ClientError, describe_pose
from loc3r_ros.ros.conversions import pose_message

pytestmark = pytest.mark.ros

SPACE = "/client_test"


@pytest.fixture(scope="module")
def node(probe, tmp_path_factory):
    """A node in a namespace whose model says known things, with a camera that has sent something."""
    folder = tmp_path_factory.mktemp("sessions")
    (folder / "engines_are_loaded").touch()
    node = NodeProcess(script="test/ros/scripted_node.py", namespace=SPACE, parameters={"session_directory": folder})
    latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    probe.publisher(TFMessage, "/tf_static", latched).publish(static_robot())
    images = probe.publisher(Image, f"{SPACE}/image", RELIABLE)
    probe.node.create_timer(0.05, lambda: images.publish(image_message(probe.now())))
    probe.executor.wake()
    wait_until(lambda: probe.call(WhereAmI, f"{SPACE}/where_am_i").success, "an answer")
    yield node
    assert node.stop() == 0, node.log
    assert "Traceback" not in node.log


@pytest.fixture
def silent_node(start_node):
    """A node that nobody has activated."""
    node = start_node(namespace="/silent", parameters={"autostart": False})
    with Client("/silent", discovery=30.0) as client, pytest.raises(ClientError):
        client.labels()
    return node


@pytest.fixture
def server(probe):
    """Return a function that offers a service with a handler until the end of the test."""
    made = []

    def offer(service_type, name, handler):
        made.append(probe.node.create_service(service_type, name, handler))
        probe.executor.wake()

    yield offer
    for service in made:
        probe.node.destroy_service(service)


def test_where_tells_the_pose_with_its_errors_and_the_answer(node, capsys):
    arguments = ["where", "I am here.", "--question", "What is there?", "--namespace", SPACE]
    assert cli.main(arguments) == 0
    pose, answer = capsys.readouterr().out.splitlines()
    assert re.match(r"x 2\.20 \+- 0\.\d\d m, y 4\.00 \+- 0\.\d\d m, heading 0 \+- \d+ deg in 'map'; 93 % sure", pose), (
        pose
    )
    assert answer == "You asked: What is there?"


def test_a_pose_is_told_in_metres_and_degrees_with_one_sigma():
    message = LanguagePose(heading_stddev=math.radians(10.0), confidence=0.625, keyframe_count=7, latency=0.25)
    message.header.frame_id = "odom"
    message.pose.pose = pose_message(from_planar((1.0, -2.5, math.radians(-90.0))))
    message.pose.covariance = np.diag([0.04, 0.25, 9999.0, 9999.0, 9999.0, 0.1]).ravel()
    assert describe_pose(message) == (
        "x 1.00 +- 0.20 m, y -2.50 +- 0.50 m, heading -90 +- 10 deg in 'odom'; 62 % sure to be within 1 m; "
        "7 keyframes, 0.25 s"
    )


def test_where_in_a_frame_that_is_not_there_fails_with_the_sentence_of_the_node(node, capsys):
    assert cli.main(["where", "--frame", "moon", "--namespace", SPACE]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("loc3r where: ")
    assert "'moon'" in captured.err
    assert not captured.out


def test_ask_streams_the_words_as_they_come(node):
    pieces = []
    with Client(SPACE, discovery=30.0) as client:
        answer = client.ask("Speak.", on_text=pieces.append)
    assert answer.answer == "".join(pieces).strip()
    assert answer.answer.split() == [f"word{i}" for i in range(20)]
    assert len(pieces) > 5, "it came in one piece"


def test_ctrl_c_cancels_the_question_on_the_robot(node):
    command = [sys.executable, "-c", "import sys; from loc3r_ros import cli; sys.exit(cli.main())"]
    asking = subprocess.Popen(
        [*command, "ask", "Speak.", "--namespace", SPACE], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert asking.stdout.read(5) == b"word0"
    asking.send_signal(signal.SIGINT)
    rest, errors = asking.communicate(timeout=20)
    assert asking.returncode == 130, errors
    assert b"word19" not in rest
    assert not errors


def test_labels_are_set_and_listed(node, capsys):
    assert cli.main(["label", "set", "kitchen door", "--namespace", SPACE]) == 0
    assert "'kitchen door' is at x 1.00 m, y 2.00 m" in capsys.readouterr().out
    assert cli.main(["label", "list", "--namespace", SPACE]) == 0
    assert capsys.readouterr().out == "kitchen door: x 1.00 m, y 2.00 m\n"
    assert cli.main(["label", "set", " ", "--namespace", SPACE]) == 1
    assert "label is empty" in capsys.readouterr().err


def test_a_wrong_namespace_is_told_with_the_right_one(node):
    with Client("/elsewhere", discovery=0.1) as client:
        wait_until(lambda: f"{SPACE}/where_am_i" in client.offers(WhereAmI), "the discovery of the node")
        with pytest.raises(ClientError, match=f"--namespace {SPACE}"):
            client.where()


def test_without_a_node_the_sentence_names_the_domain_and_what_to_start(monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", str(int(os.environ["ROS_DOMAIN_ID"]) + 101))
    with Client(discovery=1.0) as client:
        for ask in (client.where, lambda: client.ask("What?"), lambda: client.set_label("door"), client.labels):
            with pytest.raises(ClientError) as caught:
                ask()
            assert f"ROS_DOMAIN_ID {os.environ['ROS_DOMAIN_ID']} has no other node at all" in str(caught.value)
            assert "ros2 launch loc3r_ros loc3r.launch.py" in str(caught.value)


def test_a_node_that_is_not_active_or_has_seen_nothing_says_so(silent_node):
    with Client("/silent", discovery=30.0) as client:
        for ask in (client.where, lambda: client.ask("What?"), lambda: client.set_label("door")):
            with pytest.raises(ClientError, match=r"not active: ros2 lifecycle set /silent/loc3r configure"):
                ask()


def test_where_there_is_only_the_service_the_answer_comes_whole(server):
    asked = []

    def answer(request, response):
        asked.append(request.question)
        response.success = bool(request.question)
        response.message, response.answer.answer = "The question is empty.", "Two chairs."
        return response

    server(Ask, "/plain/ask", answer)
    pieces = []
    with Client("/plain", discovery=30.0) as client:
        assert client.ask("How many chairs?", on_text=pieces.append).answer == "Two chairs."
    assert pieces == ["Two chairs."]
    assert asked.count("How many chairs?") == 1


def test_a_request_that_gets_lost_is_repeated_but_the_question_is_asked_once(monkeypatch):
    """The first two requests vanish, as they may while DDS still matches the two directions."""
    sent = []

    class Lossy:
        def service_is_ready(self):
            return True

        def call_async(self, request):
            from rclpy.task import Future

            sent.append(request)
            future = Future()
            if len(sent) > 2:
                future.set_result(WhereAmI.Response(success=True, message=request.situation))
            return future

    monkeypatch.setattr("loc3r_ros.ros.client.KNOCK_PERIOD", 0.05)
    with Client() as client:
        monkeypatch.setattr(client._node, "create_client", lambda *_: Lossy())
        monkeypatch.setattr(client._node, "destroy_client", lambda _: None)
        assert client.where("I am here.").message == "I am here."
    assert [request.situation for request in sent] == ["", "", "", "I am here."]


def test_a_node_that_does_not_answer_is_told_from_one_that_is_not_there(probe, monkeypatch):
    monkeypatch.setattr("loc3r_ros.ros.client.KNOCK_PERIOD", 0.1)
    stuck = Node("stuck", namespace="/stuck", context=probe.context)  # nobody spins it
    stuck.create_service(ListLabels, "list_labels", lambda request, response: response)
    sentence = "offers /stuck/list_labels but did not answer within 1 s"
    with Client("/stuck", timeout=1.0, discovery=30.0) as client, pytest.raises(ClientError, match=sentence):
        client.labels()
    stuck.destroy_node()


@pytest.mark.parametrize(
    ("options", "sentence"), [({"namespace": "no space"}, "'no space'"), ({"timeout": 0}, "above 0")]
)
def test_options_that_cannot_be_are_refused(options, sentence):
    before = threading.active_count()
    with pytest.raises(ConfigError, match=sentence):
        Client(**options)
    assert threading.active_count() == before
