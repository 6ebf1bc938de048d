"""The simulated robot in a process of its own: what it says agrees with the truth, and it goes where it is sent."""

import math
import re
import signal
import time

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from harness import BEST_EFFORT, LATCHED, ROOT, NodeProcess, time_message, wait_until
from nav_msgs.msg import Odometry, Path
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from loc3r_ros.errors import ConfigError
from loc3r_ros.geometry import from_planar, planar, relative
from loc3r_ros.ros import parameter_table
from loc3r_ros.ros.conversions import matrix_from_pose, matrix_from_transform, stamp_from_message
from loc3r_ros.ros.robot_parameters import RobotParameters
from loc3r_ros.world.generate import make_scene
from loc3r_ros.world.render import Renderer
from loc3r_ros.world.robot import Robot
from loc3r_ros.world.splits import FIRST_TEST_SEED

pytestmark = pytest.mark.ros

SEED = FIRST_TEST_SEED + 4
SMALL = {"seed": SEED, "width": 96, "height": 72}
ALL_STATIC = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def start_robot(remap=None, **parameters):
    return NodeProcess({**SMALL, **parameters}, remap, script="scripts/world_camera")


@pytest.fixture(scope="module")
def robot(probe):
    """A robot with much drift that lives four times as fast as we do, and all that it said so far."""
    process = start_robot(
        {"/clock": "/robot_clock"},
        publish_clock=True,
        speed_factor=4.0,
        drift_distance_percent=5.0,
        drift_heading_deg_per_minute=20.0,
    )
    process.heard = {
        "image": probe.listen(Image, "image"),
        "info": probe.listen(CameraInfo, "camera_info"),
        "odom": probe.listen(Odometry, "odom"),
        "truth": probe.listen(PoseStamped, "ground_truth/pose"),
        "tf": probe.listen(TFMessage, "/tf"),
        "static": probe.listen(TFMessage, "/tf_static", ALL_STATIC),
        "plan": probe.listen(Path, "plan", LATCHED),
        "clock": probe.listen(Clock, "/robot_clock", BEST_EFFORT),
    }
    wait_until(lambda: len(process.heard["image"].messages) > 40, "forty images")
    yield process
    process.kill()


def stamp_of(message):
    return stamp_from_message(message.header.stamp)


def by_stamp(inbox):
    return {stamp_of(message): message for message in inbox.messages}


def transforms(robot, name):
    return {
        (stamped.header.frame_id, stamped.child_frame_id, stamp_of(stamped)): matrix_from_transform(stamped)
        for message in robot.heard[name].messages
        for stamped in message.transforms
    }


def goal(x, y, heading=0.0, frame="map"):
    message = PoseStamped()
    message.header.frame_id = frame
    message.pose.position.x, message.pose.position.y = float(x), float(y)
    message.pose.orientation.z, message.pose.orientation.w = math.sin(heading / 2), math.cos(heading / 2)
    return message


def base_t_camera(robot):
    fixed = {key[:2]: pose for key, pose in transforms(robot, "static").items()}
    return fixed["base_link", "camera_link"] @ fixed["camera_link", "camera_optical_frame"]


def test_every_image_has_calibration_odometry_and_truth_at_its_stamp(robot):
    others = [by_stamp(robot.heard[name]) for name in ("info", "odom", "truth")]
    moving = transforms(robot, "tf")
    complete = max(min(known) for known in (*others, [key[2] for key in moving]))  # from here on we heard everything
    images = [message for message in robot.heard["image"].messages[:-1] if stamp_of(message) >= complete]
    stamps = [stamp_of(message) for message in images]
    assert len(stamps) > 30
    assert stamps == sorted(set(stamps))
    for message, stamp in zip(images, stamps, strict=True):
        assert message.header.frame_id == "camera_optical_frame"
        assert (message.width, message.height, message.step, message.encoding) == (96, 72, 288, "rgb8")
        assert len(message.data) == 72 * 288
        assert all(stamp in other for other in others)
        assert ("odom", "base_link", stamp) in moving
    info = robot.heard["info"].messages[0]
    assert info.header.frame_id == "camera_optical_frame"
    assert math.degrees(2 * math.atan(96 / 2 / info.k[0])) == pytest.approx(80.0)


def test_frames_follow_rep_103_and_rep_105(robot):
    assert {key[:2] for key in transforms(robot, "tf")} == {("odom", "base_link")}
    assert {key[:2] for key in transforms(robot, "static")} == {
        ("base_link", "camera_link"),
        ("camera_link", "camera_optical_frame"),
    }
    mount = base_t_camera(robot)
    assert mount[:3, 3] == pytest.approx([0.1, 0.0, 1.2])
    pitch = math.radians(12.0)
    assert mount[:3, 2] == pytest.approx([math.cos(pitch), 0.0, -math.sin(pitch)])  # z: the view, a little down
    assert mount[:3, 0] == pytest.approx([0.0, -1.0, 0.0])  # x: to the right


def test_odometry_on_tf_and_on_its_topic_is_the_same(robot):
    moving = transforms(robot, "tf")
    for message in robot.heard["odom"].messages:
        assert (message.header.frame_id, message.child_frame_id) == ("odom", "base_link")
        key = ("odom", "base_link", stamp_of(message))
        if key in moving:
            assert matrix_from_pose(message.pose.pose) == pytest.approx(moving[key], abs=1e-9)


def test_odometry_drifts_within_its_covariance(robot):
    truths = by_stamp(robot.heard["truth"])
    scene_t_odom = from_planar(Robot(make_scene(SEED)).world_t_odom)
    errors = []
    for message in robot.heard["odom"].messages:
        covariance = np.reshape(message.pose.covariance, (6, 6))
        assert np.linalg.eigvalsh(covariance).min() > 0
        assert min(np.diag(np.reshape(message.twist.covariance, (6, 6)))) > 0
        if stamp_of(message) in truths:
            truth = relative(scene_t_odom, matrix_from_pose(truths[stamp_of(message)].pose))
            error = planar(matrix_from_pose(message.pose.pose)) - planar(truth)
            error[2] = math.remainder(error[2], math.tau)
            planar_covariance = covariance[np.ix_([0, 1, 5], [0, 1, 5])]
            errors.append(error @ np.linalg.solve(planar_covariance, error))
    assert len(errors) > 20
    assert max(errors) < 25.0  # chi-square of 3 dimensions: 1 in 60000
    assert errors[-1] > 1e-3, "it does not drift"


def test_the_images_show_the_scene_from_where_truth_and_transforms_put_the_camera(robot):
    renderer = Renderer(make_scene(SEED))
    truths, info = by_stamp(robot.heard["truth"]), robot.heard["info"].messages[0]
    assert (info.k[2], info.k[5]) == (95 / 2, 71 / 2)
    for message in robot.heard["image"].messages[5:40:12]:
        camera = matrix_from_pose(truths[stamp_of(message)].pose) @ base_t_camera(robot)
        expected = renderer.render(camera[None], 96, 72, info.k[0]).rgb[0].astype(int)
        seen = np.frombuffer(message.data, np.uint8).reshape(72, 96, 3)
        assert (np.abs(seen - expected).max(axis=2) <= 2).mean() > 0.995


def test_as_the_simulator_it_publishes_the_time_that_it_stamps(robot):
    clock = [stamp_from_message(message.clock) for message in robot.heard["clock"].messages]
    assert clock == sorted(clock)
    assert {round(step / 1e6) for step in np.diff(clock)} >= {33}
    stamps = by_stamp(robot.heard["truth"])
    assert max(abs(stamp - clock[0]) for stamp in list(stamps)[:1]) < 60e9


def test_it_goes_where_it_is_sent_and_shows_its_path(probe, robot):
    places = Robot(make_scene(SEED))._space.points
    target = places[len(places) // 3]
    goals = probe.publisher(PoseStamped, "goal_pose")
    goals.publish(goal(*target, 2.0))
    plan = robot.heard["plan"].wait()
    assert plan.header.frame_id == "map"
    end = plan.poses[-1].pose.position
    assert (end.x, end.y) == pytest.approx(target, abs=0.1)

    truth = robot.heard["truth"]

    def has_arrived():
        x, y, heading = planar(matrix_from_pose(truth.messages[-1].pose))
        return np.hypot(x - target[0], y - target[1]) < 0.1 and abs(math.remainder(heading - 2.0, math.tau)) < 0.06

    wait_until(has_arrived, "the arrival", 90.0)
    later = stamp_of(truth.messages[-1]) + 2_000_000_000
    wait_until(lambda: stamp_of(truth.messages[-1]) > later, "two seconds more")
    assert has_arrived()


@pytest.mark.parametrize(
    "message, sentence",
    [
        (goal(1.0, 1.0, frame="odom"), "its frame is 'odom'"),
        (goal(math.nan, 1.0), "not finite"),
        (goal(500.0, 1.0), "nearest place where the robot can stand"),
    ],
)
def test_a_goal_that_cannot_be_is_refused_with_the_reason(probe, robot, message, sentence):
    since = len(robot.log)
    publisher = probe.publisher(PoseStamped, "goal_pose")
    publisher.publish(message)
    robot.wait_for_log(f"goal_pose refused: .*{sentence}", since)
    assert robot.process.poll() is None


def test_it_follows_a_clock_and_its_jumps(probe):
    truth = probe.listen(PoseStamped, "follower/truth")
    clock = probe.publisher(Clock, "/clock", wait=False)
    process = start_robot({"ground_truth/pose": "follower/truth"}, use_sim_time=True, rate=5.0)
    try:
        wait_until(clock.get_subscription_count, "the subscription of /clock")

        def tick(start_ms, stop_ms):
            """Move time on until the robot has said something after it."""
            for now in range(start_ms, stop_ms, 20):
                clock.publish(Clock(clock=time_message(now * 1_000_000)))
                time.sleep(0.005)

        def said_between(low_s, high_s):
            return [m for m in truth.messages if low_s <= stamp_of(m) * 1e-9 <= high_s]

        wait_until(lambda: tick(100_000, 102_000) or said_between(101.0, 102.0), "life in the time of the clock")
        assert not [m for m in truth.messages if stamp_of(m) * 1e-9 > 102.0], "it runs ahead of the clock"
        truth.clear()
        wait_until(lambda: tick(50_000, 52_000) or said_between(51.0, 52.0), "life after a jump back")
        assert process.stop(signal.SIGINT) == 0, process.log
    finally:
        process.kill()


@pytest.mark.parametrize(
    "parameters, sentence",
    [
        ({"seed": -1}, "Parameter seed must lie in 0 to"),
        ({"publish_clock": True, "use_sim_time": True}, "set only one of them"),
    ],
)
def test_a_wrong_parameter_is_a_sentence_and_exit_code_1(parameters, sentence):
    process = start_robot(**parameters)
    try:
        assert process.process.wait(60) == 1
        assert sentence in process.log
        assert "Traceback" not in process.log
    finally:
        process.kill()


def test_images_are_not_more_often_than_odometry():
    with pytest.raises(ConfigError, match="rate 40 Hz must not be above odometry_rate 30 Hz"):
        parameter_table.changed(RobotParameters(), {"rate": 40.0}, configured=False)


def test_parameters_are_read_at_the_start(probe, robot):
    from rcl_interfaces.srv import SetParameters
    from rclpy.parameter import Parameter

    change = Parameter("seed", value=1).to_parameter_msg()
    response = probe.call(SetParameters, "world_camera/set_parameters", parameters=[change])
    assert not response.results[0].successful
    assert "restart world_camera" in response.results[0].reason


def test_the_page_names_every_topic_with_its_type(probe, robot):
    """docs/world_camera.md and the graph of the running robot, both ways."""
    page = (ROOT / "docs" / "world_camera.md").read_text()
    rows = re.findall(r"^\| (pub|sub) \| `/?(\w[^`]*)` \| (\S+) \|", page, re.MULTILINE)
    written = {(kind, f"/{name}", package_type.replace("/", "/msg/")) for kind, name, package_type in rows}
    node = probe.node
    getters = {"pub": node.get_publisher_names_and_types_by_node, "sub": node.get_subscriber_names_and_types_by_node}
    found = {
        (kind, name, types[0])
        for kind, getter in getters.items()
        for name, types in getter("world_camera", "/")
        if name not in STANDARD
    }
    assert {row for row in found if row[1] not in TIME_AND_TF} == {row for row in written if row[1] not in TIME_AND_TF}
    assert ("pub", "/clock", "rosgraph_msgs/msg/Clock") in written


STANDARD = {"/parameter_events", "/rosout"}
TIME_AND_TF = {"/clock", "/robot_clock", "/tf", "/tf_static"}
"""The clock comes by parameter, and this robot calls it otherwise; TF has a section of its own."""


def test_a_wish_to_end_ends_it_well(robot):
    """Runs last: it ends the robot of this file."""
    assert robot.stop(signal.SIGTERM) == 0
    assert "Traceback" not in robot.log


def test_every_parameter_is_in_its_page():
    page = (ROOT / "docs" / "world_camera.md").read_text()
    assert parameter_table.markdown_table(RobotParameters) in page
