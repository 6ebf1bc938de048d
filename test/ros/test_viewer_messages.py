"""From the messages of the node to what its page shows."""

import math

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from loc3r_ros.msg import Answer
from nav_msgs.msg import Path
from sensor_msgs.msg import CameraInfo, PointCloud2

from loc3r_ros import geometry
from loc3r_ros.alignment import Located
from loc3r_ros.errors import PoseError
from loc3r_ros.interface import Layout, Place
from loc3r_ros.ros import viewer_messages
from loc3r_ros.ros.answers import language_pose
from loc3r_ros.ros.conversions import camera_forward, pose_with_covariance, stamped_pose
from loc3r_ros.ros.diagnostics import ERROR, OK, WARN, Stages, diagnostic_array, milliseconds, status
from loc3r_ros.ros.point_cloud import layout_cloud
from loc3r_ros.viewer.content import Level, Timing

pytestmark = pytest.mark.ros

POSE = geometry.from_planar((1.0, 2.0, 0.5))
CAMERA = geometry.from_planar((3.0, -1.0, -2.0), 1.2) @ geometry.CAMERA_LINK_T_OPTICAL


def place_message(covariance=None):
    heading = np.eye(36)[20]
    covariance = np.diag([0.04, 0.09, 0.01]) if covariance is None else covariance
    place = Place("beside the sofa", np.array([1.0, 2.0, 0.5]), covariance, heading, 0.75, 3, 10**9, 4)
    return language_pose(place, Located(place.pose, place.covariance), "map", 0.25)


def test_a_robot_s_covariance_is_that_of_the_plane():
    covariance = np.diag([0.1, 0.2, 9.0, 9.0, 9.0, 0.3])
    robot = viewer_messages.robot(pose_with_covariance(POSE, covariance, "map", 10**9))
    np.testing.assert_allclose(robot.map_t_base, POSE, atol=1e-9)
    np.testing.assert_allclose(robot.covariance, np.diag([0.1, 0.2, 0.3]))


def test_a_robot_that_is_not_localized_has_no_covariance():
    assert viewer_messages.robot(pose_with_covariance(POSE, None, "map", 10**9)).covariance is None


def test_a_damaged_pose_is_refused():
    message = pose_with_covariance(POSE, None, "map", 10**9)
    message.pose.pose.position.x = math.nan
    with pytest.raises(PoseError):
        viewer_messages.robot(message)


def test_a_robot_below_its_camera_stands_on_the_floor_and_looks_where_that_looks():
    robot = viewer_messages.robot_below(CAMERA)
    np.testing.assert_allclose(robot.map_t_base, geometry.from_planar((3.0, -1.0, -2.0)), atol=1e-9)


def test_a_robot_goes_where_its_camera_goes():
    mounted = geometry.from_planar((0.2, 0.0, 0.0), 1.0) @ geometry.CAMERA_LINK_T_OPTICAL
    later = geometry.from_planar((5.0, -2.0, 3.0))
    robot = viewer_messages.robot(pose_with_covariance(POSE, np.eye(6), "map", 10**9))
    moved = viewer_messages.carried(robot, POSE @ mounted, later @ mounted)
    np.testing.assert_allclose(moved.map_t_base, later, atol=1e-9)
    assert moved.covariance is robot.covariance


def test_a_place_keeps_pose_distribution_and_confidence():
    place = viewer_messages.described(place_message())
    assert place.text == "beside the sofa"
    np.testing.assert_allclose(place.pose, (1.0, 2.0, 0.5), atol=1e-9)
    np.testing.assert_allclose(np.diag(place.covariance), (0.04, 0.09, 0.01))
    assert place.heading_distribution.argmax() == 20
    assert place.confidence == pytest.approx(place_message().confidence)
    assert place.latency == 0.25


def test_a_place_that_says_nothing_is_refused():
    with pytest.raises(viewer_messages.MessageError, match="without covariance"):
        viewer_messages.described(place_message(np.diag([9999.0, 9999.0, 1.0])))


def test_the_keyframes_are_cameras_with_optical_axes():
    path = Path(poses=[stamped_pose(camera_forward(CAMERA), "map", 5 * 10**9)])
    cameras = viewer_messages.cameras(path)
    assert list(cameras) == [5 * 10**9]
    np.testing.assert_allclose(cameras[5 * 10**9], CAMERA, atol=1e-9)


def test_the_layout_comes_back_as_it_was_sent():
    layout = Layout(
        np.array([[1.0, 2.0], [3.0, -4.0]]),
        np.array([[0.3, 0.4], [1.0, 1.0]]),
        np.array([[255, 128, 1], [0, 0, 200]], np.uint8),
        np.array([0, 7]),
        3,
    )
    cloud = viewer_messages.cloud(layout_cloud(layout, "map", 10**9))
    np.testing.assert_allclose(cloud.points, [[1.0, 2.0, 0.0], [3.0, -4.0, 0.0]])
    np.testing.assert_array_equal(cloud.colour, layout.colour)
    np.testing.assert_allclose(cloud.sigma, [math.sqrt(0.125), 1.0], rtol=1e-6)


def test_another_cloud_is_refused():
    with pytest.raises(viewer_messages.MessageError, match="not x, y, z, rgb"):
        viewer_messages.cloud(PointCloud2())


def test_the_frustum_has_the_angle_of_the_calibration():
    info = CameraInfo(width=640, height=480)
    assert viewer_messages.lens(info) is None
    info.k = [240.0, 0.0, 319.5, 0.0, 240.0, 239.5, 0.0, 0.0, 1.0]
    lens = viewer_messages.lens(info)
    assert lens.field_of_view == pytest.approx(math.pi / 2)
    assert lens.aspect == pytest.approx(4 / 3)


def test_an_answer_tells_its_place_its_confidence_and_its_time():
    answer = Answer(question="What?", situation="beside the sofa", answer="A lamp.", grounded=True, latency=0.5)
    answer.pose, answer.confidence, answer.keyframe_count = place_message(), 0.9, 24
    shown = viewer_messages.exchange(answer)
    assert (shown.place, shown.question, shown.answer) == ("beside the sofa", "What?", "A lamp.")
    assert shown.note.startswith("x 1.00 ± 0.20 m")
    assert shown.note.endswith("words 90 % sure · 24 keyframes · all 500 ms")
    assert "first word 120 ms" in viewer_messages.note(answer, 0.12)


def test_an_answer_without_words_says_so():
    assert viewer_messages.exchange(Answer(question="What?")).answer == "(no words)"


# --- diagnostics ------------------------------------------------------------------------------------------------------


def diagnostics(node="/loc3r", **levels):
    camera = {"input rate [Hz]": "10.0", "decode mean/max [ms]": "1.20 / 3.40"}
    message = diagnostic_array(
        10**9,
        status("loc3r: camera", levels.get("camera", OK), "10.0 images/s", camera),
        status("loc3r: localizer", OK, "active", {"engines": "engines/nano", "keyframes": 24}),
        status("loc3r: alignment", levels.get("alignment", OK), "fitted to the odometry", {"scale": "1.002"}),
    )
    for one in message.status:
        one.hardware_id = node
    return message


def test_the_status_says_state_and_rate_and_what_the_map_rests_on():
    shown = viewer_messages.status(viewer_messages.parts(diagnostics(), "/loc3r"))
    assert shown.level is Level.OK
    assert shown.text == "active — 10.0 images/s"
    assert "engines nano, 24 keyframes" in shown.details[0]
    assert shown.details[1] == "map: fitted to the odometry, scale 1.002"


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ({"camera": WARN}, Level.WARN),
        ({"alignment": WARN, "camera": ERROR}, Level.ERROR),
        ({"camera": DiagnosticStatus.STALE}, Level.ERROR),
    ],
)
def test_the_worst_part_gives_the_light(levels, expected):
    assert viewer_messages.status(viewer_messages.parts(diagnostics(**levels), "/loc3r")).level is expected


def test_the_diagnostics_of_other_nodes_are_left_alone():
    lidar = DiagnosticStatus(name="lidar: rate", hardware_id="/loc3r")
    assert not viewer_messages.parts(DiagnosticArray(status=[lidar]), "/loc3r")
    assert not viewer_messages.parts(diagnostics("/red/loc3r"), "/loc3r")


def test_the_stages_are_read_as_the_node_writes_them():
    stages = Stages()
    stages.add("observe", 0.04)
    stages.add("observe", 0.06)
    pairs = [KeyValue(key=key, value=value) for key, value in milliseconds(stages.read()).items()]
    rows = viewer_messages.stages(viewer_messages.values(DiagnosticStatus(values=pairs)))
    assert rows == [Timing("observe", pytest.approx(0.05), pytest.approx(0.06))]
    assert viewer_messages.stages({"topic": "/image", "input rate [Hz]": "10.0"}) == []


def test_a_stage_that_rests_keeps_its_last_times():
    known = [Timing("decode", 1.0, 1.0), Timing("observe", 2.0, 2.0)]
    rows = viewer_messages.merged([Timing("decode", 3.0, 3.0)], known)
    assert rows == [Timing("decode", 3.0, 3.0), Timing("observe", 2.0, 2.0)]
