"""One node over real DDS: every encoding, every defect, bursts, quality of service, services, initial pose."""

import array
import re

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from harness import (
    BEST_EFFORT,
    LATCHED,
    RELIABLE,
    ROOT,
    NodeProcess,
    Probe,
    counts,
    image_message,
    set_parameters,
    static_robot,
    time_message,
    wait_until,
)
from loc3r_ros.srv import Ask, ListLabels, SessionFile, SetLabel, WhereAmI
from nav_msgs.msg import Path
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import DescribeParameters
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool, Trigger
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from loc3r_ros import images

pytestmark = pytest.mark.ros


class Camera:
    """The node, a camera and a robot that stands still."""

    def __init__(self, probe, node):
        self.probe, self.node = probe, node
        latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        probe.publisher(TFMessage, "/tf_static", latched).publish(static_robot())
        self.poses = probe.listen(PoseWithCovarianceStamped, "pose", LATCHED)
        self.diagnostics = probe.listen(DiagnosticArray, "/diagnostics")
        self.publish_reliably()

    def publish_reliably(self):
        """Be a reliable publisher, once the node has matched its subscription to that."""
        self.images = self.probe.publisher(Image, "image", RELIABLE)
        wait_until(lambda: reliability_of_subscription(self) == ReliabilityPolicy.RELIABLE, "a reliable subscription")
        wait_until(lambda: sends_through(self), "an image")

    def counts(self):
        """Return the counts once no frame is pending."""
        self.diagnostics.clear()
        return counts(self.diagnostics.wait(lambda m: counts(m)["pending"] == 0 and counts(m)["received"]))

    def send(self, message):
        """Publish an image and wait until the node has seen it."""
        self.images.publish(message)
        return self.await_pose(message)

    def await_pose(self, message):
        return self.poses.wait(lambda m: m.header.stamp == message.header.stamp, f"the pose at {message.header.stamp}")

    def good_image(self):
        return self.send(image_message(self.probe.now()))

    def set_parameters(self, **values):
        return set_parameters(self.probe, **values)


@pytest.fixture(scope="module")
def camera(probe):
    node = NodeProcess(parameters={"image_queue": 200, "image_timeout": 1.5, "transform_tolerance": 0.0})
    yield Camera(probe, node)
    assert node.stop() == 0, node.log
    assert "Traceback" not in node.log


# --- images -----------------------------------------------------------------------------------------------------------


def raw(encoding):
    """Return (rows, bytes) for a 64 x 48 picture in an encoding."""
    if encoding in ("nv12", "nv21"):
        return np.full((72, 64), 90, np.uint8)
    if encoding.endswith("16"):
        return np.full((48, 64), 9000, np.uint16)
    if encoding in ("yuv422", "uyvy", "yuyv", "yuv422_yuy2"):
        return np.full((48, 128), 90, np.uint8)
    channels = {"rgb8": 3, "bgr8": 3, "8UC3": 3, "rgba8": 4, "bgra8": 4, "8UC4": 4}.get(encoding, 1)
    return np.full((48, 64 * channels), 90, np.uint8)


@pytest.mark.parametrize("encoding", images.ENCODINGS)
def test_every_encoding_arrives(camera, encoding):
    camera.send(image_message(camera.probe.now(), raw(encoding), encoding, width=64, height=48))


def defects(now):
    good = image_message(now)
    return {
        "truncated": (image_message(now, data=good.data[:-1]), "truncated"),
        "empty": (image_message(now, data=array.array("B")), "truncated"),
        "zero size": (image_message(now, height=0, width=0, step=0, data=array.array("B")), "empty"),
        "wrong step": (image_message(now, step=10), "step of 10 bytes is too small"),
        "huge": (image_message(now, height=2**31, width=2**31), "more than"),
        "unknown encoding": (image_message(now, encoding="rgb9"), "Unknown image encoding 'rgb9'"),
        "depth": (image_message(now, encoding="32FC1"), "depth images"),
        "no stamp": (image_message(0), "stamp of the image is zero"),
        "negative stamp": (with_stamp(good, -5, 0), "is no time"),
        "nanoseconds over a second": (with_stamp(image_message(now), now // 10**9, 2 * 10**9), "is no time"),
        "far ahead": (image_message(now + 10**12), "ahead of the node's clock"),
        "long ago": (image_message(now - 10**12), "older than the one before it"),
        "a little late": (image_message(now - 3 * 10**8), "two cameras on one topic"),
    }


def with_stamp(message, seconds, nanoseconds):
    message.header.stamp.sec, message.header.stamp.nanosec = seconds, nanoseconds
    return message


def test_a_defect_is_named_and_counted_and_costs_nothing_else(camera):
    good = camera.good_image()
    before, written = camera.counts(), len(camera.node.log)
    for index, name in enumerate(names := list(defects(10**18)), 1):
        message, cause = defects(good.header.stamp.sec * 10**9 + good.header.stamp.nanosec)[name]
        is_second = re.search(cause, camera.node.log[written:])  # a second entry of one cause waits for 5 s
        camera.images.publish(message)
        if is_second:
            camera.diagnostics.wait(lambda m, n=index: counts(m)["failed"] == before["failed"] + n, name)
        camera.node.wait_for_log(cause, written)
        good = camera.good_image()
    after = camera.counts()
    assert after["failed"] - before["failed"] == after["processed"] - before["processed"] == len(names)
    assert after["replaced"] == before["replaced"]


def test_of_a_burst_every_frame_is_counted_and_the_newest_is_used(camera):
    before = camera.counts()
    messages = [image_message(camera.probe.now()) for _ in range(100)]
    for message in messages:
        camera.images.publish(message)
    camera.await_pose(messages[-1])
    after = camera.counts()
    change = {name: after[name] - before[name] for name in after}
    assert change["received"] == 100
    assert change["processed"] + change["replaced"] == 100
    assert change["failed"] == change["pending"] == 0


# --- quality of service and transport ---------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["auto", "reliable", "best_effort"])
@pytest.mark.parametrize("offered", [ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT])
def test_quality_of_service(camera, asked, offered):
    """Everything matches but a reliable subscription and a best-effort publisher, and that is said."""
    camera.probe.node.destroy_publisher(camera.images)
    written = len(camera.node.log)
    assert not camera.set_parameters(image_qos=asked)
    camera.images = camera.probe.publisher(Image, "image", QoSProfile(depth=10, reliability=offered), wait=False)
    if (asked, offered) == ("reliable", ReliabilityPolicy.BEST_EFFORT):
        camera.node.wait_for_log("QoS mismatch: image_qos asks for reliable", written)
        assert camera.images.get_subscription_count() == 0
        return
    wait_until(camera.images.get_subscription_count, "the match")
    if asked == "auto":  # chosen anew when the publisher appears
        wanted = offered
        wait_until(lambda: reliability_of_subscription(camera) == wanted, f"a subscription that is {wanted}")
        wait_until(camera.images.get_subscription_count, "the match")
    wait_until(lambda: sends_through(camera), "an image")


def reliability_of_subscription(camera):
    found = camera.probe.node.get_subscriptions_info_by_topic("/image")
    return found[0].qos_profile.reliability if len(found) == 1 else None


def sends_through(camera):
    """Send images until one arrives: best effort may lose the first ones."""
    message = image_message(camera.probe.now())
    camera.images.publish(message)
    return has_arrived(camera, message)


def has_arrived(camera, message):
    try:
        camera.poses.wait(lambda m: m.header.stamp == message.header.stamp, patience=0.3)
    except AssertionError:
        return False
    return True


@pytest.fixture
def plain_camera(camera):
    """The camera with a reliable publisher and the default parameters."""
    camera.probe.node.destroy_publisher(camera.images)
    assert not camera.set_parameters(image_qos="auto", image_transport="raw")
    camera.publish_reliably()
    return camera


def test_compressed_images_by_parameter(plain_camera):
    camera = plain_camera
    assert not camera.set_parameters(image_transport="compressed")
    publisher = camera.probe.publisher(CompressedImage, "image/compressed", BEST_EFFORT)
    _, jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))
    message = CompressedImage(format="jpeg", data=array.array("B", jpeg.tobytes()))

    def arrives():
        stamp = camera.probe.now()
        message.header.stamp, message.header.frame_id = time_message(stamp), "camera_optical_frame"
        publisher.publish(message)
        return has_arrived(camera, message)

    wait_until(arrives, "a compressed image")
    written = len(camera.node.log)
    message.data = message.data[:-10]
    message.header.stamp = time_message(camera.probe.now())
    publisher.publish(message)
    camera.node.wait_for_log("truncated", written)
    camera.probe.node.destroy_publisher(publisher)
    camera.node.wait_for_log("0 images in .* on /image/compressed: it has no publisher", written)


def test_silence_is_explained(plain_camera):
    camera = plain_camera
    camera.probe.node.destroy_publisher(camera.images)
    written = len(camera.node.log)
    camera.node.wait_for_log("0 images in 1.5 s on /image: it has no publisher", written)
    elsewhere = camera.probe.publisher(Image, "elsewhere/image", wait=False)
    camera.node.wait_for_log("images are published on /elsewhere/image", written)
    with Probe() as other:  # Fast DDS allows one type for a topic within a process
        other.publisher(CompressedImage, "image", wait=False)
        camera.node.wait_for_log("publisher sends sensor_msgs/msg/CompressedImage, not sensor_msgs/msg/Image", written)
    silent = camera.probe.publisher(Image, "image", wait=False)
    camera.node.wait_for_log("matched, so the camera sends nothing", written)
    for publisher in (elsewhere, silent):
        camera.probe.node.destroy_publisher(publisher)
    camera.publish_reliably()
    silence = camera.node.wait_for_log(r"Images arrive on /image, after \d+ s without", written)[written:]
    said = re.findall("0 images in .*", silence)
    assert len(said) == len(set(said)), "a reason was told twice"
    assert silence.count("Images arrive") == 1


# --- results and requests ---------------------------------------------------------------------------------------------


def test_a_keyframe_is_published_where_the_camera_is(plain_camera):
    path = plain_camera.probe.listen(Path, "keyframes", LATCHED).wait(lambda m: m.poses)
    assert path.header.frame_id == "map"
    pose = path.poses[0].pose
    assert (pose.position.x, pose.position.y, pose.position.z) == pytest.approx((1.2, 2.0, 0.4))
    assert (pose.orientation.x, pose.orientation.y, pose.orientation.z) == pytest.approx((0, 0, 0), abs=1e-9)


def test_markers_come_where_someone_listens(plain_camera):
    plain_camera.probe.call(Trigger, "reset")
    plain_camera.good_image()
    markers = plain_camera.probe.listen(MarkerArray, "markers", LATCHED).wait(
        lambda m: any(marker.ns == "keyframes" for marker in m.markers)
    )
    frustum = next(marker for marker in markers.markers if marker.ns == "keyframes")
    assert len(frustum.points) == len(frustum.colors) == 16
    assert (frustum.points[0].x, frustum.points[0].y, frustum.points[0].z) == pytest.approx((1.2, 2.0, 0.4))


def test_requests_say_that_a_model_is_missing(plain_camera):
    call = plain_camera.probe.call
    for response in (
        call(WhereAmI, "/where_am_i"),
        call(WhereAmI, "/where_am_i", situation="I am beside the sofa.", question="What is left?"),
        call(Ask, "ask", question="What is here?"),
        call(SessionFile, "save_session", path="a"),
        call(SessionFile, "load_session", path="a"),
    ):
        assert not response.success
        assert "No model is loaded" in response.message
        assert "set the parameter engines" in response.message


def test_labels_name_the_robots_place(plain_camera):
    call = plain_camera.probe.call
    plain_camera.good_image()
    named = call(SetLabel, "set_label", label="kitchen door")
    assert named.success, named.message
    listed = call(ListLabels, "list_labels")
    assert listed.labels == ["kitchen door"]
    assert listed.poses[0].header.frame_id == "map"
    assert (listed.poses[0].pose.position.x, listed.poses[0].pose.position.y) == pytest.approx((1.0, 2.0))
    assert "empty" in call(SetLabel, "set_label", label=" ").message
    assert call(Trigger, "reset").success
    assert call(ListLabels, "list_labels").labels == []


def test_the_node_can_be_told_to_look_away(plain_camera):
    assert plain_camera.probe.call(SetBool, "enable", data=False).success
    wait_until(lambda: plain_camera.images.get_subscription_count() == 0, "the end of the subscription")
    plain_camera.diagnostics.clear()
    plain_camera.diagnostics.wait(lambda m: m.status[0].message == "paused by the service enable")
    assert plain_camera.probe.call(SetBool, "enable", data=True).success
    wait_until(plain_camera.images.get_subscription_count, "the subscription")
    wait_until(lambda: sends_through(plain_camera), "an image")


def test_parameters_are_described_and_refused_with_a_sentence(plain_camera):
    refused = plain_camera.set_parameters(
        image_qos="perhaps", transform_rate=1e4, transform_tolerance=float("nan"), image_queue=2.0, map_frame="world"
    )
    assert refused == [
        "Parameter image_qos must be one of auto, reliable, best_effort, not 'perhaps'.",
        "Parameter transform_rate must lie in 1 to 200 Hz, not 10000.",
        "Parameter transform_tolerance must lie in 0 to 10 s, not nan.",
        "Parameter image_queue must be a integer, not 2.0 of another type.",
        "Parameter map_frame is read when the node is configured: deactivate and clean up first.",
    ]
    described = plain_camera.probe.call(DescribeParameters, "loc3r/describe_parameters", names=["transform_rate"])
    descriptor = described.descriptors[0]
    assert descriptor.type == ParameterType.PARAMETER_DOUBLE
    assert (descriptor.floating_point_range[0].from_value, descriptor.floating_point_range[0].to_value) == (1.0, 200.0)
    assert descriptor.description.endswith("[Hz]")


def test_the_correction_is_broadcast_at_its_rate_and_follows_the_initial_pose(plain_camera):
    camera = plain_camera
    broadcasts = camera.probe.listen(TFMessage, "/tf")
    first = broadcasts.wait(is_correction)
    assert (first.transforms[0].header.frame_id, first.transforms[0].child_frame_id) == ("map", "odom")
    assert first.transforms[0].transform.translation.x == 0.0
    assert camera.poses.messages[-1].pose.covariance[0] == 9999.0
    publisher = camera.probe.publisher(PoseWithCovarianceStamped, "initialpose")
    written = len(camera.node.log)
    for changes, cause in (
        ({"frame": "odom"}, "its frame is 'odom', not 'map'"),
        ({"w": 2.0}, "length 2"),
        ({"x": float("nan")}, "not finite"),
        ({"variance": -1.0}, "variances below zero"),
    ):
        publisher.publish(initial_pose(camera.probe.now(), **changes))
        camera.node.wait_for_log(f"initialpose refused: .*{cause}", written)
    publisher.publish(initial_pose(0, x=5.0))
    moved = broadcasts.wait(lambda m: is_correction(m) and m.transforms[0].transform.translation.x > 0)
    translation = moved.transforms[0].transform.translation
    assert (translation.x, translation.y) == pytest.approx((4.0, -2.0))
    pose = camera.good_image()
    assert (pose.pose.pose.position.x, pose.pose.pose.position.y) == pytest.approx((5.0, 0.0))
    assert pose.pose.covariance[0] == pytest.approx(0.25)
    assert pose.pose.covariance[7] == pytest.approx(1e-6)  # never zero
    assert (pose.pose.covariance >= 0).all()


def is_correction(message):
    return message.transforms[0].child_frame_id == "odom"


def initial_pose(stamp, frame="map", x=0.0, w=1.0, variance=0.25):
    message = PoseWithCovarianceStamped()
    message.header.frame_id, message.header.stamp = frame, time_message(stamp)
    message.pose.pose.position.x, message.pose.pose.orientation.w = x, w
    message.pose.covariance[0] = variance
    return message


def test_the_page_names_every_topic_and_service(plain_camera):
    """docs/node.md and the graph of the running node, both ways."""
    node = plain_camera.probe.node
    page = (ROOT / "docs" / "node.md").read_text()
    written = {}
    for kind, names in re.findall(r"^\| (sub|pub|srv|action) \| (`[^|]*) \|", page, re.MULTILINE):
        written.setdefault(kind, set()).update("/" + name.lstrip("/") for name in re.findall(r"`([^`]+)`", names))

    def names_of(getter, *nodes):
        return {name for owner in nodes for name, _ in getter(owner, "/")}

    subscribed = names_of(node.get_subscriber_names_and_types_by_node, "loc3r", "_loc3r_inputs")
    published = names_of(node.get_publisher_names_and_types_by_node, "loc3r")
    served = names_of(node.get_service_names_and_types_by_node, "loc3r")
    assert written["sub"] == subscribed - STANDARD | {"/image/compressed"}
    assert written["pub"] | {"/tf"} == {name for name in published - STANDARD if "/_action/" not in name}
    assert written["srv"] == {name for name in served if not name.startswith("/loc3r/") and "/_action/" not in name}
    assert written["action"] == {name.split("/_action/")[0] for name in served if "/_action/" in name}


STANDARD = {"/parameter_events", "/rosout", "/loc3r/transition_event"}
"""What every lifecycle node has."""


def test_diagnostics_tell_rates_times_and_memory(plain_camera):
    plain_camera.good_image()
    plain_camera.diagnostics.clear()
    message = plain_camera.diagnostics.wait(lambda m: m.status[0].message.endswith("images/s"))
    camera, localizer, alignment = message.status
    values = {pair.key: pair.value for pair in (*camera.values, *localizer.values)}
    assert [part.name for part in message.status] == [f"loc3r: {name}" for name in ("camera", "localizer", "alignment")]
    assert alignment.message == "no anchor yet"
    assert float(values["input rate [Hz]"]) > 0
    for stage in ("age", "decode", "odometry", "observe", "publish"):
        assert len(values[f"{stage} mean/max [ms]"].split("/")) == 2
    assert values["state"] == "active"
    assert int(values["memory resident [MB]"]) > 10
