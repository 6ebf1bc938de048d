"""A real walk from its bag through the node: keyframes, transforms, layout, answers, what the pose prior is worth."""

import math
import subprocess
import sys

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from harness import LATCHED, NodeProcess
from loc3r_ros.srv import Ask, WhereAmI
from nav_msgs.msg import Path
from sensor_msgs.msg import PointCloud2
from tf2_msgs.msg import TFMessage

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.shared_data]

SITUATION = "I am standing beside the desk, facing the window."
WALK = {  # the bag has poses of the camera in its frame "map": they are this robot's odometry
    "use_sim_time": True,
    "map_frame": "world",
    "odom_frame": "map",
    "base_frame": "camera_optical_frame",
}


@pytest.fixture(scope="module")
def inboxes(probe, shared, engine_folder):
    """Play the walk once; return what the node said meanwhile."""
    kinds = {"keyframes": (Path, LATCHED), "layout": (PointCloud2, LATCHED), "/tf": (TFMessage, None)}
    inboxes = {name: probe.listen(kind, name, *filter(None, [qos])) for name, (kind, qos) in kinds.items()}
    inboxes["/diagnostics"] = probe.listen(DiagnosticArray, "/diagnostics")
    node = NodeProcess(
        parameters={**WALK, "engines": engine_folder("tiny"), "keyframe_count": 4},
        remap={"image": "/camera/image_raw", "camera_info": "/camera/camera_info"},
    )
    inboxes["/diagnostics"].wait(lambda message: localizer(message).message.startswith("active"), "loaded engines", 120)
    bag = str(shared / "data" / "hololens_office")
    command = [sys.executable, "-m", "loc3r_ros.cli", "replay", bag, "--rate", "3", "--wait", "60"]
    assert subprocess.run(command, capture_output=True, timeout=200).returncode == 0
    yield inboxes
    assert node.stop() == 0, node.log
    assert "Traceback" not in node.log


def status_of(message, name):
    return next(status for status in message.status if status.name.endswith(name))


def localizer(message):
    return status_of(message, "localizer")


def test_keyframes_come_with_their_places(inboxes):
    path = inboxes["keyframes"].wait(lambda message: len(message.poses) >= 3, "three keyframes")
    assert path.header.frame_id == "world"
    places = np.array([(pose.pose.position.x, pose.pose.position.y) for pose in path.poses])
    assert np.isfinite(places).all()
    assert np.ptp(places, axis=0).max() > 0.1


def test_the_map_is_tied_to_the_odometry(inboxes):
    def frames(message):
        return {(one.header.frame_id, one.child_frame_id) for one in message.transforms}

    inboxes["/tf"].wait(lambda message: ("world", "map") in frames(message), "world -> map")


def test_the_layout_comes(inboxes):
    cloud = inboxes["layout"].wait(lambda message: message.width > 0, "a layout")
    assert cloud.header.frame_id == "world"
    assert {"x", "y", "rgb", "sigma", "keyframe"} <= {field.name for field in cloud.fields}


def test_places_and_answers_come(probe, inboxes):
    place = probe.call(WhereAmI, "where_am_i", situation=SITUATION, question="What is in front of me?")
    assert place.success, place.message
    assert place.pose.header.frame_id == "world"
    assert 0.0 < place.pose.confidence < 1.0
    assert probe.call(Ask, "ask", question="How many chairs are there?").success


def test_what_the_pose_prior_is_worth_is_told(inboxes):
    """Compared with the odometry at the keyframes: scale with its deviation, outliers, and a reason where it failed."""
    told = inboxes["/diagnostics"].wait(lambda message: status_of(message, "alignment").values, "the alignment")
    values = {pair.key: pair.value for pair in status_of(told, "alignment").values}
    assert math.isfinite(float(values["scale"])) and float(values["scale sigma"]) > 0
    assert int(values["outliers"]) <= int(values["keyframes with odometry"])
