"""Bags of both storages, written here and read back, and the recorded walk."""

import shutil

import cv2
import numpy as np
import pytest
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from loc3r_ros import geometry
from loc3r_ros.bags import Bag, Track, TransformTree
from loc3r_ros.errors import BagError
from loc3r_ros.keyframes import KeyframeBuffer, MotionPolicy

STORE = get_typestore(Stores.LATEST)
START = 1_700_000_000_000_000_000
PERIOD = 100_000_000
STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite": StoragePlugin.SQLITE3}


def make(kind, *arguments):
    package, name = kind.split("/")
    return STORE.types[f"{package}/msg/{name}"](*arguments)


def header(stamp, frame):
    return make("std_msgs/Header", make("builtin_interfaces/Time", *divmod(stamp, 10**9)), frame)


def picture(seed, width=20, height=16):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def raw_image(stamp, rgb, encoding="rgb8", padding=0):
    pixels = rgb if encoding == "rgb8" else rgb[..., ::-1]
    rows = np.pad(pixels.reshape(len(rgb), -1), ((0, 0), (0, padding)))
    height, width = rgb.shape[:2]
    return make("sensor_msgs/Image", header(stamp, "camera"), height, width, encoding, 0, rows.shape[1], rows.ravel())


def compressed_image(stamp, rgb):
    encoded = cv2.imencode(".png", rgb[..., ::-1])[1].ravel()
    return make("sensor_msgs/CompressedImage", header(stamp, "camera"), "rgb8; png compressed bgr8", encoded)


def ros_pose(matrix):
    position, quaternion = geometry.to_position_quaternion(matrix)
    return make(
        "geometry_msgs/Pose", make("geometry_msgs/Point", *position), make("geometry_msgs/Quaternion", *quaternion)
    )


def odometry(stamp, matrix):
    pose = make("geometry_msgs/PoseWithCovariance", ros_pose(matrix), np.zeros(36))
    still = make("geometry_msgs/Vector3", 0.0, 0.0, 0.0)
    twist = make("geometry_msgs/TwistWithCovariance", make("geometry_msgs/Twist", still, still), np.zeros(36))
    return make("nav_msgs/Odometry", header(stamp, "odom"), "base_link", pose, twist)


def transform(stamp, parent, child, matrix):
    position, quaternion = geometry.to_position_quaternion(matrix)
    motion = make(
        "geometry_msgs/Transform",
        make("geometry_msgs/Vector3", *position),
        make("geometry_msgs/Quaternion", *quaternion),
    )
    stamped = make("geometry_msgs/TransformStamped", header(stamp, parent), child, motion)
    return make("tf2_msgs/TFMessage", [stamped])


def write(path, topics, storage="mcap", compress=False):
    """Write topic -> [(time, message)]."""
    with Writer(path, version=9, storage_plugin=STORAGES[storage]) as writer:
        connections = {}
        for topic, rows in topics.items():
            kind = rows[0][1].__msgtype__
            connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
        entries = [(time, topic, message) for topic, rows in topics.items() for time, message in rows]
        for time, topic, message in sorted(entries, key=lambda entry: entry[0]):
            writer.write(connections[topic], time, STORE.serialize_cdr(message, message.__msgtype__))
    return path


def base_at(i):
    return geometry.from_planar([0.3 * i, 0.1 * i, 0.05 * i])


BASE_T_CAMERA = geometry.from_position_rpy([0.2, 0, 1.1], 0, 0.2, 0) @ geometry.CAMERA_LINK_T_OPTICAL


def robot_bag(path, storage="mcap", image=raw_image):
    """Ten frames, odometry and transforms half a period off the frames; the images come late, as they do."""
    stamps = [START + i * PERIOD for i in range(10)]
    halves = [START + PERIOD // 2 + i * PERIOD for i in range(-1, 10)]
    return write(
        path,
        {
            "/image": [(stamp + 30_000_000, image(stamp, picture(i))) for i, stamp in enumerate(stamps)],
            "/odom": [(stamp, odometry(stamp, base_at(i - 0.5))) for i, stamp in enumerate(halves)],
            "/tf": [(s, transform(s, "odom", "base_link", base_at(i - 0.5))) for i, s in enumerate(halves)],
            "/tf_static": [(START, transform(0, "base_link", "camera", BASE_T_CAMERA))],
        },
        storage,
    )


@pytest.fixture(scope="module")
def bag_path(tmp_path_factory):
    return robot_bag(tmp_path_factory.mktemp("bags") / "robot")


class TestReading:
    @pytest.mark.parametrize("storage", STORAGES)
    @pytest.mark.parametrize("image", [raw_image, compressed_image])
    def test_frames_come_as_they_were_written(self, tmp_path, storage, image):
        with Bag(robot_bag(tmp_path / "bag", storage, image)) as bag:
            frames = list(bag.frames())
        assert [frame.stamp for frame in frames] == [START + i * PERIOD for i in range(10)]
        assert all(frame.frame_id == "camera" for frame in frames)
        assert all(np.array_equal(frame.image, picture(i)) for i, frame in enumerate(frames))

    @pytest.mark.parametrize(("encoding", "padding"), [("bgr8", 0), ("rgb8", 7)])
    def test_encoding_and_padding_are_honoured(self, tmp_path, encoding, padding):
        write(tmp_path / "bag", {"/image": [(START, raw_image(START, picture(3), encoding, padding))]})
        with Bag(tmp_path / "bag") as bag:
            assert np.array_equal(next(bag.frames("/image")).image, picture(3))

    def test_one_file_of_a_bag_will_do(self, bag_path):
        with Bag(next(bag_path.glob("*.mcap"))) as bag:
            assert len(list(bag.frames())) == 10

    @pytest.mark.parametrize("mode", [CompressionMode.FILE, CompressionMode.MESSAGE])
    def test_a_compressed_bag_is_read(self, tmp_path, mode):
        writer = Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.SQLITE3)
        writer.set_compression(mode, CompressionFormat.ZSTD)
        with writer:
            message = raw_image(START, picture(1))
            connection = writer.add_connection("/image", message.__msgtype__, typestore=STORE)
            writer.write(connection, START, STORE.serialize_cdr(message, message.__msgtype__))
        with Bag(tmp_path / "bag") as bag:
            assert np.array_equal(next(bag.frames()).image, picture(1))

    def test_topics_and_times(self, bag_path):
        with Bag(bag_path) as bag:
            assert [(t.name, t.type, t.count) for t in bag.topics] == [
                ("/image", "sensor_msgs/msg/Image", 10),
                ("/odom", "nav_msgs/msg/Odometry", 11),
                ("/tf", "tf2_msgs/msg/TFMessage", 11),
                ("/tf_static", "tf2_msgs/msg/TFMessage", 1),
            ]
            assert bag.start == START - PERIOD // 2
            assert bag.duration == 10 * PERIOD

    @pytest.mark.parametrize("storage", STORAGES)
    @pytest.mark.parametrize("durability", [QosDurability.TRANSIENT_LOCAL, QosDurability.VOLATILE])
    def test_latched_topics_are_told_from_others(self, tmp_path, storage, durability):
        never, message = QosTime(0, 0), odometry(START, base_at(0))
        offer = Qos(
            QosHistory.KEEP_LAST,
            1,
            QosReliability.RELIABLE,
            durability,
            deadline=never,
            lifespan=never,
            liveliness=QosLiveliness.AUTOMATIC,
            liveliness_lease_duration=never,
            avoid_ros_namespace_conventions=False,
        )
        with Writer(tmp_path / "bag", version=9, storage_plugin=STORAGES[storage]) as writer:
            connection = writer.add_connection(
                "/odom", message.__msgtype__, typestore=STORE, offered_qos_profiles=[offer]
            )
            writer.write(connection, START, STORE.serialize_cdr(message, message.__msgtype__))
        with Bag(tmp_path / "bag") as bag:
            assert [t.is_latched for t in bag.topics] == [durability is QosDurability.TRANSIENT_LOCAL]

    def test_messages_are_the_recorded_bytes_in_order_of_time(self, bag_path):
        with Bag(bag_path) as bag:
            everything = list(bag.messages())
            assert [m.time for m in everything] == sorted(m.time for m in everything)
            assert len(everything) == 33
            odom = list(bag.messages(["/odom"]))
        assert {m.topic for m in odom} == {"/odom"}
        assert STORE.deserialize_cdr(odom[0].data, odom[0].type).child_frame_id == "base_link"

    def test_a_damaged_image_costs_one_frame_and_leaves_a_warning(self, tmp_path, caplog):
        rows = [(START + i, raw_image(START + i, picture(i))) for i in range(3)]
        rows[1][1].step = 5
        write(tmp_path / "bag", {"/image": rows})
        with Bag(tmp_path / "bag") as bag:
            assert [frame.stamp - START for frame in bag.frames()] == [0, 2]
        assert "step of 5 bytes" in caplog.text
        assert "/image" in caplog.text


class TestPoses:
    def test_odometry_is_interpolated_at_the_image_stamps(self, bag_path):
        with Bag(bag_path) as bag:
            track = bag.track("/odom")
            assert (track.frame_id, track.child_frame_id) == ("odom", "base_link")
            for i, frame in enumerate(bag.frames()):
                np.testing.assert_allclose(track.at(frame.stamp), base_at(i), atol=1e-6)
            assert track.at(START - PERIOD) is None

    def test_transforms_join_moving_and_fixed_frames_at_the_stamp(self, bag_path):
        with Bag(bag_path) as bag:
            tree = bag.transforms()
        for i in (0, 4, 9):
            stamp, expected = START + i * PERIOD, base_at(i) @ BASE_T_CAMERA
            np.testing.assert_allclose(tree.lookup("odom", "camera", stamp), expected, atol=1e-6)
            np.testing.assert_allclose(tree.lookup("camera", "odom", stamp), geometry.invert(expected), atol=1e-6)
        np.testing.assert_allclose(tree.lookup("base_link", "camera", START - 10**12), BASE_T_CAMERA, atol=1e-12)

    def test_what_is_not_covered_is_none(self, bag_path):
        with Bag(bag_path) as bag:
            tree = bag.transforms()
        assert tree.lookup("odom", "camera", START + 100 * PERIOD) is None
        assert tree.lookup("odom", "elsewhere", START) is None

    def test_siblings_meet_at_their_parent_and_loops_end(self):
        left, right = (geometry.make_pose(np.eye(3), [0, y, 0]) for y in (0.1, -0.1))
        tree = TransformTree({}, {"left": ("base", left), "right": ("base", right)})
        np.testing.assert_allclose(tree.lookup("left", "right", 0)[:3, 3], [0, -0.2, 0])
        loop = TransformTree({}, {"a": ("b", left), "b": ("a", right)})
        assert loop.lookup("a", "c", 0) is None

    def test_stamped_poses_with_and_without_covariance(self, tmp_path):
        covered = make("geometry_msgs/PoseWithCovariance", ros_pose(base_at(2)), np.zeros(36))
        write(
            tmp_path / "bag",
            {
                "/pose": [(START, make("geometry_msgs/PoseStamped", header(START, "map"), ros_pose(base_at(1))))],
                "/amcl": [(START, make("geometry_msgs/PoseWithCovarianceStamped", header(START, "map"), covered))],
            },
        )
        with Bag(tmp_path / "bag") as bag:
            np.testing.assert_allclose(bag.track("/pose").at(START), base_at(1), atol=1e-9)
            np.testing.assert_allclose(bag.track("/amcl").at(START), base_at(2), atol=1e-9)

    def test_broken_poses_are_left_out_with_a_warning(self, tmp_path, caplog):
        rows = [(START + i, odometry(START + i, base_at(i))) for i in range(4)]
        rows[1][1].pose.pose.position = make("geometry_msgs/Point", float("nan"), 0.0, 0.0)
        rows[2][1].header.stamp = make("builtin_interfaces/Time", -5, 0)
        write(tmp_path / "bag", {"/odom": rows})
        with Bag(tmp_path / "bag") as bag:
            assert (bag.track("/odom").stamps - START).tolist() == [0, 3]
        assert "not finite" in caplog.text
        assert "is no time" in caplog.text

    def test_a_track_is_sorted_and_the_last_of_two_counts(self, tmp_path):
        order = [3, 1, 2, 2]
        rows = [(START + k, odometry(START + i, base_at(i + k))) for k, i in enumerate(order)]
        write(tmp_path / "bag", {"/odom": rows})
        with Bag(tmp_path / "bag") as bag:
            track: Track = bag.track("/odom")
        assert (track.stamps - START).tolist() == [1, 2, 3]
        np.testing.assert_allclose(track.at(START + 2), base_at(5), atol=1e-9)


class TestSentences:
    def test_a_missing_bag(self, tmp_path):
        with pytest.raises(BagError, match=r"There is no bag at .*nowhere"):
            Bag(tmp_path / "nowhere")

    def test_a_folder_that_is_no_bag(self, tmp_path):
        with pytest.raises(BagError, match="cannot be read"):
            Bag(tmp_path)

    def test_a_ros_1_bag(self, tmp_path):
        (tmp_path / "old.bag").write_bytes(b"#ROSBAG V2.0\n")
        with pytest.raises(BagError, match="rosbags-convert"):
            Bag(tmp_path / "old.bag")

    def test_an_unknown_storage(self, tmp_path, bag_path):
        shutil.copytree(bag_path, tmp_path / "bag")
        metadata = tmp_path / "bag" / "metadata.yaml"
        metadata.write_text(metadata.read_text().replace("storage_identifier: mcap", "storage_identifier: tape"))
        with pytest.raises(BagError, match="'tape' not supported"):
            Bag(tmp_path / "bag")

    @pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
    @pytest.mark.parametrize("storage", STORAGES)
    def test_a_damaged_file(self, tmp_path, storage, share):
        """A cut file is refused, or read as far as it goes; nothing but a `BagError` comes out."""
        path = robot_bag(tmp_path / "bag", storage)
        [file] = [p for p in path.iterdir() if p.suffix != ".yaml"]
        content = file.read_bytes()
        file.write_bytes(content[: int(share * len(content))])
        try:
            with Bag(path) as bag:
                assert len(list(bag.frames())) < 10
        except BagError as error:
            assert "cannot be read" in str(error)

    def test_metadata_that_make_no_sense(self, tmp_path, bag_path):
        shutil.copytree(bag_path, tmp_path / "bag")
        for text in ("", "{", "rosbag2_bagfile_information: 5", "\0"):
            (tmp_path / "bag" / "metadata.yaml").write_text(text)
            with pytest.raises(BagError, match="cannot be read"):
                Bag(tmp_path / "bag")

    def test_topics_that_are_not_there_are_answered_with_those_that_are(self, tmp_path, bag_path):
        with Bag(bag_path) as bag:
            with pytest.raises(
                BagError, match=r"no topic /camera; its topics are /image \(sensor_msgs/msg/Image\), /o"
            ):
                list(bag.frames("/camera"))
            with pytest.raises(BagError, match=r"/odom .* is of type .*; image topics are /image"):
                list(bag.frames("/odom"))
            with pytest.raises(BagError, match="holds no pose"):
                bag.track("/image")
        write(tmp_path / "blind", {"/odom": [(START, odometry(START, base_at(0)))]})
        with Bag(tmp_path / "blind") as bag, pytest.raises(BagError, match=r"no image topic; its topics are /odom"):
            bag.image_topic()

    def test_several_image_topics_must_be_chosen_from(self, tmp_path):
        rows = [(START, raw_image(START, picture(0)))]
        write(tmp_path / "bag", {"/left": rows, "/right": rows})
        with Bag(tmp_path / "bag") as bag:
            with pytest.raises(BagError, match="choose one of /left"):
                bag.image_topic()
            assert len(list(bag.frames("/right"))) == 1


@pytest.mark.shared_data
class TestRecordedWalk:
    """25 s of a person in an office: 125 images at 5 Hz with ground-truth camera poses."""

    @pytest.fixture
    def bag(self, shared):
        with Bag(shared / "data" / "hololens_office") as bag:
            yield bag

    def test_every_image_has_its_pose_by_topic_and_by_transform(self, bag, shared):
        track, tree = bag.track("/ground_truth/camera_pose"), bag.transforms()
        truth = np.loadtxt(shared / "data" / "hololens_office" / "poses.txt").reshape(-1, 4, 4)
        frames = list(bag.frames())
        assert len(frames) == len(truth) == 125
        for frame in frames:
            assert frame.image.shape == (360, 540, 3)
            pose = track.at(frame.stamp)
            np.testing.assert_allclose(tree.lookup(track.frame_id, frame.frame_id, frame.stamp), pose, atol=1e-9)

    def test_keyframes_agree_with_the_motion(self, bag):
        """A plain walk over the ground truth gives the same keyframes as the buffer on the decoded frames."""
        track, policy = bag.track("/ground_truth/camera_pose"), MotionPolicy()
        buffer, expected, last = KeyframeBuffer(200, policy), [], None
        for frame in bag.frames():
            pose = track.at(frame.stamp)
            buffer.offer(frame.stamp, frame.image, pose, "map")
            turn = np.arccos(np.clip((np.trace(last[:3, :3].T @ pose[:3, :3]) - 1) / 2, -1, 1)) if expected else 9.0
            moved = np.linalg.norm(pose[:3, 3] - last[:3, 3]) if expected else 9.0
            if moved >= policy.min_translation or turn >= policy.min_rotation:
                expected.append(frame.stamp)
                last = pose
        assert [keyframe.stamp for keyframe in buffer.keyframes] == expected
        assert 10 < len(expected) < 125
        assert buffer.counts.offered == 125

    def test_without_poses_fewer_frames_are_kept_while_the_picture_stays(self, bag):
        buffer = KeyframeBuffer(200, MotionPolicy(), blind_interval=1.0)
        for frame in bag.frames():
            buffer.offer(frame.stamp, frame.image)
        assert 8 <= len(buffer.keyframes) <= 25


def test_a_tree_of_nothing_knows_every_frame_in_itself():
    np.testing.assert_array_equal(TransformTree({}, {}).lookup("map", "map", 0), np.eye(4))
