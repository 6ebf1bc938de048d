"""The page of a running node: what it hears and asks over real DDS, and what a real browser shows of it."""

import os
import re
import sys
import threading
import urllib.request
from pathlib import Path

import pytest
from harness import RELIABLE, NodeProcess, image_message, static_robot, wait_until
from loc3r_ros.msg import Answer
from loc3r_ros.srv import Ask, WhereAmI
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from tf2_msgs.msg import TFMessage

from loc3r_ros.ros import parameter_table
from loc3r_ros.ros.asker import Asker
from loc3r_ros.ros.viewer_inputs import Target, find_node, heard_by, image_source
from loc3r_ros.ros.viewer_parameters import ViewerParameters
from loc3r_ros.viewer.scene import PLACES

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test" / "viewer"))

from browser import PATIENCE, Browser, is_near, needs_chromium  # noqa: E402

pytestmark = pytest.mark.ros

SPACE = "/viewer_test"
PAGE = ROOT / "docs" / "viewer.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sessions")
    (folder / "engines_are_loaded").touch()
    return folder


@pytest.fixture(scope="module")
def start_robot(probe, folder):
    """Return a function that starts the node, with a camera that goes on sending."""
    nodes = []
    latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    transforms = probe.publisher(TFMessage, "/tf_static", latched, wait=False)
    transforms.publish(static_robot())
    images = probe.publisher(Image, f"{SPACE}/image", RELIABLE, wait=False)
    probe.node.create_timer(0.1, lambda: images.publish(image_message(probe.now())))
    probe.executor.wake()

    def start():
        parameters = {"session_directory": folder}
        nodes.append(NodeProcess(script="test/ros/scripted_node.py", namespace=SPACE, parameters=parameters))
        wait_until(lambda: probe.call(WhereAmI, f"{SPACE}/where_am_i").success, "an answer")
        return nodes[-1]

    yield start
    for node in nodes:
        node.kill()


@pytest.fixture(scope="module")
def robot(start_robot):
    return start_robot()


@pytest.fixture(scope="module")
def viewer_of():
    """Return a function that serves the page of the node in a namespace and returns its address."""
    made = []

    def serve(namespace):
        made.append(
            NodeProcess(
                script="scripts/loc3r_viewer", namespace=namespace, parameters={"address": "127.0.0.1", "port": 0}
            )
        )
        said = r"The page is at (\S+)\.\n"
        return re.search(said, made[-1].wait_for_log(said))[1]

    yield serve
    for viewer in made:
        assert viewer.stop() == 0, viewer.log
        assert "Traceback" not in viewer.log


@pytest.fixture(scope="module")
def url(viewer_of):
    return viewer_of(SPACE)


class Board:
    """What was shown of requests and places."""

    def __init__(self):
        self._changed = threading.Condition()
        self.exchanges, self.places, self.durations = [], [], []

    def show_exchange(self, exchange, number=None):
        with self._changed:
            if number is None:
                self.exchanges.append([])
                number = len(self.exchanges) - 1
            self.exchanges[number].append(exchange)
            self._changed.notify_all()
        return number

    def note_duration(self, *duration):
        self.durations.append(duration)

    def wait_for(self, condition, what):
        with self._changed:
            assert self._changed.wait_for(condition, 60.0), f"{what}: {self.exchanges}"

    def wait_for_end(self, number):
        self.wait_for(lambda: len(self.exchanges) > number and not self.exchanges[number][-1].is_running, "an end")
        return self.exchanges[number][-1]


@pytest.fixture
def board():
    return Board()


@pytest.fixture
def desk(board, monkeypatch):
    """Return a function that makes a desk for the node of a namespace; patient, for a busy machine."""
    monkeypatch.setattr("loc3r_ros.ros.asker.DISCOVERY", 30.0)
    made = []

    def make(namespace):
        made.append(Asker(namespace, board.show_exchange, board.places.append, board.note_duration))
        return made[-1]

    yield make
    for asker in made:
        asker.close()


def bright(pixels):
    """Return the number of pixels brighter than background and grid."""
    return int((pixels.max(axis=2) > 120).sum())


# --- asking -----------------------------------------------------------------------------------------------------------


def test_an_answer_is_shown_word_by_word(robot, desk, board, probe):
    answers = probe.listen(Answer, f"{SPACE}/answer")
    asker = desk(SPACE)
    asker.ask("beside the sofa", "Speak.")
    asker.ask("", "A second question while the first one runs?")
    last = board.wait_for_end(0)
    assert last.answer.split() == [f"word{i}" for i in range(20)]
    assert last.note.startswith("x 2.20 ± 0.")
    assert "first word" in last.note
    lengths = [len(exchange.answer) for exchange in board.exchanges[0]]
    assert lengths[:-1] == sorted(lengths[:-1])  # the last one is stripped of its space
    assert len(set(lengths)) > 5, "it came in one piece"
    assert len(board.exchanges) == 1
    assert asker.is_own(answers.wait()), "the page would show it twice"
    assert not asker.is_own(Answer(question="Another one's?"))
    assert [name for name, _ in board.durations] == ["answer, first word", "answer, all"]


def test_a_place_is_told_and_the_robot_s_own_is_drawn(robot, desk, board):
    asker = desk(SPACE)
    asker.ask("beside the sofa", "")
    told = board.wait_for_end(0)
    assert told.answer.startswith("At x 2.20 m, y 4.00 m")
    assert not board.places, "the node publishes it to all"
    wait_until(lambda: not asker.is_busy, "the end of the request")
    asker.where()
    assert board.wait_for_end(1).answer.startswith("At x ")
    assert [place.text for place in board.places] == [""]


def test_a_request_that_is_stopped_keeps_its_words(robot, desk, board):
    asker = desk(SPACE)
    asker.ask("", "Speak.")
    board.wait_for(lambda: board.exchanges and "word1" in board.exchanges[0][-1].answer, "words")
    asker.stop()
    last = board.wait_for_end(0)
    assert last.error == "The request was stopped."
    assert last.answer.startswith("word0 ")
    assert "word19" not in last.answer


def test_without_a_node_the_sentence_says_what_to_start(desk, board, monkeypatch):
    monkeypatch.setattr("loc3r_ros.ros.asker.DISCOVERY", 0.5)
    desk("/nowhere").where()
    assert "No node offers /nowhere/where_am_i" in board.wait_for_end(0).error


# --- what is there ----------------------------------------------------------------------------------------------------


def test_the_graph_tells_the_node_and_what_it_listens_to(robot, probe):
    from rclpy.node import Node

    looker = Node("looker", namespace=SPACE, context=probe.context)
    elsewhere = Node("looker", namespace="/elsewhere", context=probe.context)
    try:
        target = wait_until(lambda: find_node(looker), "the node")
        assert target.name == "loc3r"
        heard = wait_until(lambda: heard_by(looker, target), "its camera")
        assert heard == {
            f"{SPACE}/image": "sensor_msgs/msg/Image",
            f"{SPACE}/camera_info": "sensor_msgs/msg/CameraInfo",
            "/tf": "tf2_msgs/msg/TFMessage",
            "/tf_static": "tf2_msgs/msg/TFMessage",
        }
        assert image_source(looker, "", heard) == (f"{SPACE}/image", "sensor_msgs/msg/Image")
        assert image_source(looker, "image", {}) == (f"{SPACE}/image", "sensor_msgs/msg/Image")
        assert image_source(looker, "nothing", heard) is None
        assert heard_by(looker, Target("gone", ())) == {}
        assert find_node(elsewhere) is None
    finally:
        looker.destroy_node()
        elsewhere.destroy_node()


def test_while_nobody_looks_the_page_costs_the_node_nothing(robot, url, probe):
    with urllib.request.urlopen(url) as reply:
        assert reply.status == 200
    wait_until(lambda: probe.node.count_subscribers(f"{SPACE}/keyframes"), "the page's ears")
    assert probe.node.count_subscribers(f"{SPACE}/image") == 1, "the node alone"
    assert probe.node.count_subscribers(f"{SPACE}/layout") == 0


def test_a_port_in_use_ends_the_process_with_a_sentence(url):
    second = NodeProcess(
        script="scripts/loc3r_viewer", parameters={"address": "127.0.0.1", "port": int(url.rpartition(":")[2])}
    )
    assert second.process.wait(60.0) == 1
    assert "choose another port" in second.log
    assert "Traceback" not in second.log


def test_the_page_of_the_docs_has_the_parameters():
    assert parameter_table.markdown_table(ViewerParameters) in PAGE.read_text()


# --- in a browser -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(900)  # a browser without a GPU on a busy machine
@needs_chromium
def test_a_person_at_a_browser(robot, start_robot, url, probe):
    """One visit, because a browser is expensive: look, ask, hear of others, lose the node, get it back."""
    with Browser() as browser:
        browser.open(url)
        browser.wait_for_text("images/s")
        browser.wait_for_text("observe")  # a timing
        browser.wait_for("[...document.images].some(image => image.naturalWidth === 480)")
        assert probe.node.count_subscribers(f"{SPACE}/image") == 2
        wait_until(lambda: probe.node.count_subscribers(f"{SPACE}/layout"), "the page's eyes")

        browser.type_into("Question", "Speak.")
        browser.enter()
        browser.wait_for_text("word1 ")
        browser.wait_for_text("word19")
        browser.wait_for_text("answer, first word")
        assert browser.text().count("word19") == 1

        browser.type_into("Place", "beside the sofa")
        browser.type_into("Question", "Who is there?")
        browser.press("Ask")
        browser.wait_for_text("You asked: Who is there?")
        browser.press("Where am I?")
        browser.wait_for_text("At x ")
        assert probe.call(Ask, f"{SPACE}/ask", question="Of another client?").success
        browser.wait_for_text("You asked: Of another client?")

        robot.stop()
        browser.wait_for_text(f"There is no node {SPACE}/loc3r")
        browser.wait_for_text(f"ROS_DOMAIN_ID {os.environ['ROS_DOMAIN_ID']}")
        start_robot()
        browser.wait_for_text("images/s")
        browser.type_into("Place", "")
        browser.type_into("Question", "Again?")
        browser.press("Ask")
        browser.wait_for_text("You asked: Again?")
        assert not browser.errors
    wait_until(lambda: probe.node.count_subscribers(f"{SPACE}/image") == 1, "closed eyes")


@pytest.mark.slow
@pytest.mark.timeout(900)  # a browser without a GPU on a busy machine
@needs_chromium
def test_a_simulated_robot_with_a_real_model_of_random_weights(engine_folder, viewer_of):
    """Camera, node and page as a user starts them: keyframes and layout are drawn, and a question is answered."""
    robot = NodeProcess(script="scripts/world_camera", namespace="/real", parameters={"seed": 1_100_001, "rate": 3.0})
    parameters = {"engines": engine_folder("tiny"), "keyframe_count": 8, "answer_timeout": 55.0}
    node = NodeProcess(namespace="/real", parameters=parameters)
    with Browser() as browser:
        browser.open(viewer_of("/real"))
        browser.wait_for_text("images/s")
        browser.wait_for("[...document.images].some(image => image.naturalWidth === 480)")
        browser.wait_for(r"/[1-9]\d* keyframes, /.test(document.body.innerText)")
        browser.dismiss_notifications()
        browser.press("Show everything")
        wait_until(lambda: bright(browser.scene()) > 200, "robot and keyframes in the scene", patience=PATIENCE)
        browser.type_into("Place", "I am standing beside the sofa, facing the TV.")
        browser.type_into("Question", "What is on my left?")
        browser.press("Ask")
        browser.wait_for_text("\u00b7 first word")
        browser.press("Show everything")
        wait_until(lambda: is_near(browser.scene(), PLACES[0]) > 20, "the place in the scene", patience=PATIENCE)
        assert not browser.errors
    assert [process.stop() for process in (node, robot)] == [0, 0], node.log
    assert "Traceback" not in node.log
