"""A robot that moves: odometry at the image's stamp, jumps of time, two robots beside each other."""

import itertools

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from harness import (
    LATCHED,
    RELIABLE,
    camera_on_robot,
    counts,
    image_message,
    time_message,
    transform,
    wait_until,
)
from loc3r_ros.srv import SetLabel, WhereAmI
from nav_msgs.msg import Path
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from tf2_msgs.msg import TFMessage

from loc3r_ros.geometry import from_planar
from loc3r_ros.ros.conversions import pose_with_covariance, stamp_from_message

pytestmark = pytest.mark.ros

SECOND = 10**9
SPEED = 2.0
"""m/s along x."""


class Robot:
    """Drives along x at `SPEED`; its odometry comes at 10 Hz, its images in between."""

    def __init__(self, probe, namespace="", clock=lambda stamp: None):
        self.probe, self.clock = probe, clock
        latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        root = namespace or "/"
        prefix = f"{namespace}/" if namespace else ""
        self._static = probe.publisher(TFMessage, f"{root.rstrip('/')}/tf_static", latched)
        self._static.publish(TFMessage(transforms=[camera_on_robot()]))
        self._tf = probe.publisher(TFMessage, f"{root.rstrip('/')}/tf")
        self.poses = probe.listen(PoseWithCovarianceStamped, f"{prefix}pose", LATCHED)
        self.paths = probe.listen(Path, f"{prefix}keyframes", LATCHED)
        self.images = probe.publisher(Image, f"{prefix}image", RELIABLE)
        self.begin = probe.now()

    def odometry(self, stamp):
        x = SPEED * (stamp - self.begin) / SECOND
        self._tf.publish(TFMessage(transforms=[transform("odom", "base_link", stamp, x)]))

    def image(self, stamp):
        self.images.publish(image_message(stamp))

    def pose_so_far(self, stamp):
        return next((message for message in self.poses.messages if message.header.stamp == time_message(stamp)), None)

    def pose_at(self, stamp, patience=30.0):
        return self.poses.wait(lambda m: m.header.stamp == time_message(stamp), patience=patience)

    def drive(self, start, seconds=1.0):
        """Publish odometry and images of some seconds that begin at `start`; wait for the last pose."""
        for step in range(round(10 * seconds) + 1):
            assert wait_until(lambda stamp=start + step * SECOND // 10: self._step(stamp), "a pose")

    def come_alive(self, start=None):
        """Move until the node has seen an image with odometry, for discovery takes its time; return its stamp."""
        stamps = itertools.count(start, SECOND // 10) if start else iter(self.probe.now, None)
        return wait_until(lambda: self._step(next(stamps)), "a pose")

    def _step(self, stamp):
        self.clock(stamp)
        self.odometry(stamp)
        self.image(stamp)
        try:
            pose = self.pose_at(stamp, patience=0.3)
        except AssertionError:
            return None
        assert pose.pose.pose.position.x == pytest.approx(SPEED * (stamp - self.begin) / SECOND, abs=1e-6)
        return stamp


def test_odometry_is_that_of_the_images_stamp_and_is_waited_for(probe, start_node):
    node = start_node(parameters={"odometry_timeout": 5.0})
    robot = Robot(probe)
    robot.come_alive()
    pose = wait_until(lambda: pose_before_its_odometry(robot, node), "a pose from odometry that came after its image")
    between = stamp_from_message(pose.header.stamp)
    assert pose.pose.pose.position.x == pytest.approx(SPEED * (between - robot.begin) / SECOND, abs=1e-6)


def pose_before_its_odometry(robot, node):
    """Publish an image and only then the odometry behind it; None where the node gave up, for the machine stood still.

    The node waits no longer than 5 s, which a machine that also runs other tests may take from it.
    """
    start, said = robot.probe.now(), len(node.log)
    robot.odometry(start)
    between = start + SECOND // 30  # no odometry at that stamp, and none after it yet
    robot.image(between)
    with pytest.raises(AssertionError):
        robot.pose_at(between, patience=0.3)
    robot.odometry(start + SECOND // 10)
    gave_up = "Image without odometry"
    wait_until(lambda: robot.pose_so_far(between) or gave_up in node.log[said:], "a pose or that none can be")
    pose = robot.pose_so_far(between)
    assert pose or robot.probe.now() - start >= 5 * SECOND, "the node gave up before its 5 s were over"
    return pose


def test_without_odometry_the_wait_is_bounded_and_the_image_is_used(probe, start_node):
    node = start_node(parameters={"odometry_timeout": 0.1, "keyframe_interval": 0.05})
    robot = Robot(probe)
    diagnostics = probe.listen(DiagnosticArray, "/diagnostics")
    robot.come_alive()
    robot.image(probe.now() + SECOND // 2)
    node.wait_for_log("Image without odometry: 'odom' -> 'base_link' is not known at .* s after the newest transform")
    diagnostics.clear()
    after = counts(diagnostics.wait(lambda m: counts(m)["pending"] == 0))
    assert after["failed"] == 0
    assert after["received"] == after["processed"] + after["replaced"]


def test_a_bag_that_loops_begins_a_new_memory_each_time(probe, start_node):
    """Without simulated time only the stamps tell; one wrong stamp alone changes nothing."""
    node = start_node(parameters={"keyframe_translation": 0.15})
    robot = Robot(probe)
    diagnostics = probe.listen(DiagnosticArray, "/diagnostics")
    robot.come_alive()
    diagnostics.wait()
    for _ in range(3):
        robot.begin -= 30 * SECOND
        one_loop(robot, robot.begin, diagnostics)
    assert "if the next one is too, time jumped back" in node.log


def one_loop(robot, start, diagnostics):
    robot.paths.clear()
    robot.poses.clear()
    failed = counts(diagnostics.messages[-1])["failed"]
    robot.image(start)  # the first image of a loop may have a wrong stamp, so it is left out
    diagnostics.wait(lambda m: counts(m)["failed"] == failed + 1, "the refusal of the first image")
    robot.drive(start + SECOND // 10)
    first = robot.paths.wait(lambda m: len(m.poses) >= 4)
    assert start // SECOND <= first.poses[0].header.stamp.sec <= start // SECOND + 2, "an old keyframe is left"
    robot.image(start - 50 * SECOND)
    diagnostics.wait(lambda m: counts(m)["failed"] == failed + 2, "the refusal of a wrong stamp")
    last = start + 2 * SECOND
    robot.odometry(last)
    robot.image(last)
    kept = robot.paths.wait(lambda m: m.poses and m.poses[-1].header.stamp == time_message(last))
    assert len(kept.poses) > 4, "a wrong stamp cost the memory"


def test_a_jump_of_simulated_time_forgets_keyframes_transforms_and_correction(probe, start_node):
    node = start_node(parameters={"use_sim_time": True, "keyframe_translation": 0.15})
    clock = probe.publisher(Clock, "/clock", QoSProfile(depth=10))
    robot = Robot(probe, clock=lambda stamp: clock.publish(Clock(clock=time_message(stamp))))
    broadcasts = probe.listen(TFMessage, "/tf")
    simulated_second(robot, 1000 * SECOND, broadcasts)
    for start in (200 * SECOND, 100 * SECOND):
        robot.paths.clear()
        robot.clock(start)
        robot.paths.wait(lambda m: not m.poses, "an empty path after the jump")
        robot.paths.clear()
        assert not probe.call(SetLabel, "set_label", label="here").success
        simulated_second(robot, start, broadcasts)
        assert probe.call(SetLabel, "set_label", label="here").success
    assert "The clock jumped" in node.log


def simulated_second(robot, start, broadcasts):
    robot.begin = start
    robot.poses.clear()
    stamp = robot.come_alive(start)
    robot.drive(stamp + SECOND // 10)
    path = robot.paths.wait(lambda m: len(m.poses) >= 4)
    assert is_near(path.poses[0].header.stamp, start)
    broadcasts.wait(
        lambda m: m.transforms[0].child_frame_id == "odom" and is_near(m.transforms[0].header.stamp, start),
        "the correction in the new time",
    )


def is_near(stamp, start):
    return start // SECOND <= stamp.sec < start // SECOND + 60


def test_the_robots_own_place_is_the_pose_that_is_published(probe, start_node, tmp_path):
    """The pose prior of the scripted model sees the camera where it was at first, wherever it has gone."""
    (tmp_path / "engines_are_loaded").touch()
    start_node(
        script="test/ros/scripted_node.py",
        namespace="/told",
        parameters={"session_directory": tmp_path, "odometry_timeout": 5.0},
        remap={"/tf": "tf", "/tf_static": "tf_static"},
    )
    robot = Robot(probe, "/told")
    stamp = robot.come_alive()
    robot.drive(stamp + SECOND // 10)
    pose, answer = own_place(robot)
    assert pose.pose.covariance[0] == 9999.0  # not localized yet, but the map is the odometry's
    assert answer.pose.confidence > 0.99 and 1e-6 <= answer.pose.pose.covariance[0] < 0.01

    stamp = pose.header.stamp.sec * SECOND + pose.header.stamp.nanosec
    told = from_planar((pose.pose.pose.position.x, 3.0, 0.0))
    initial = pose_with_covariance(told, np.diag([0.25, 0.64, 0, 0, 0, 0.01]), "map", stamp)
    robot.poses.clear()
    probe.publisher(PoseWithCovarianceStamped, "/told/initialpose").publish(initial)
    robot.poses.wait(lambda m: m.pose.covariance[0] < 1.0, "the pose that was told")
    robot.drive(stamp + SECOND // 10)
    pose, answer = own_place(robot)
    assert answer.pose.pose.covariance[[0, 7, 35]] == pytest.approx(pose.pose.covariance[[0, 7, 35]], rel=1e-6)
    sure = f"{100 * answer.pose.confidence:.0f} % sure"
    assert 0.5 < answer.pose.confidence < 0.9  # of 1 m, by the covariance that was told
    x = pose.pose.pose.position.x
    assert answer.message == f"At x {x:.2f} m, y 3.00 m in 'map', {sure} to be within 1 m."
    here = probe.call(WhereAmI, "/told/where_am_i", target_frame="base_link").pose.pose.pose.position
    assert (here.x, here.y) == pytest.approx((0.0, 0.0), abs=1e-6)


def own_place(robot):
    """Return the last pose and the answer to "where am I?", which is to be the same."""
    pose, answer = robot.poses.messages[-1], robot.probe.call(WhereAmI, "/told/where_am_i")
    assert answer.success, answer.message
    ours, theirs = answer.pose.pose.pose, pose.pose.pose
    assert (ours.position.x, ours.position.y) == pytest.approx((theirs.position.x, theirs.position.y), abs=1e-6)
    assert (ours.orientation.z, ours.orientation.w) == pytest.approx((theirs.orientation.z, theirs.orientation.w))
    assert (answer.pose.header, answer.pose.situation) == (pose.header, "")
    return pose, answer


def test_two_robots_do_not_hear_each_other(probe, start_node):
    remap = {"/tf": "tf", "/tf_static": "tf_static"}
    for name in ("/red", "/blue"):
        start_node(namespace=name, remap=remap)
    red, blue = Robot(probe, "/red"), Robot(probe, "/blue")
    red.come_alive()
    assert not blue.poses.messages
    blue.come_alive()
    assert probe.call(SetLabel, "/red/set_label", label="here").success
    for name in ("/red", "/blue"):
        assert probe.node.count_publishers(f"{name}/keyframes") == 1
    robots = {("loc3r", "/red"), ("loc3r", "/blue")}  # their names arrive apart from their topics
    wait_until(lambda: robots <= set(probe.node.get_node_names_and_namespaces()), "both names in the graph")
    heard = probe.node.get_subscriptions_info_by_topic("/tf") + probe.node.get_publishers_info_by_topic("/tf")
    assert not {end.node_namespace for end in heard} & {"/red", "/blue"}
