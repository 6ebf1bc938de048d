"""Recorded data: reads a rosbag2 (MCAP or SQLite) without ROS.

    with Bag(path) as bag:
        frames = bag.transforms()
        for frame in bag.frames():
            odom_t_camera = frames.lookup("odom", frame.frame_id, frame.stamp)

Messages come in the order in which they were recorded; stamps are those of the message headers, in nanoseconds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability
from rosbags.typesys import Stores, get_typestore

from loc3r_ros import geometry, images
from loc3r_ros.errors import BagError, ImageError, PoseError
from loc3r_ros.interface import FloatArray, ImageArray

logger = logging.getLogger(__name__)

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
TRANSFORMS = "tf2_msgs/msg/TFMessage"

_POSE_OF: dict[str, Callable[[Any], Any]] = {
    "geometry_msgs/msg/PoseStamped": lambda message: message.pose,
    "geometry_msgs/msg/PoseWithCovarianceStamped": lambda message: message.pose.pose,
    "nav_msgs/msg/Odometry": lambda message: message.pose.pose,
}


@dataclass(frozen=True)
class Topic:
    """A topic of a bag.

    Attributes:
        name: its name.
        type: its message type ("sensor_msgs/msg/Image").
        count: number of messages.
        is_latched: whether its publisher kept the last messages for late subscribers (transient local).
    """

    name: str
    type: str
    count: int
    is_latched: bool = False


@dataclass(frozen=True)
class Message:
    """A message as it was recorded.

    Attributes:
        topic: where it was published.
        type: its message type.
        time: when it was recorded, ns.
        data: CDR, as a publisher sends it.
    """

    topic: str
    type: str
    time: int
    data: bytes


@dataclass(frozen=True)
class Frame:
    """A picture: the stamp (ns) and frame of its header, and (H, W, 3) uint8 RGB."""

    stamp: int
    frame_id: str
    image: ImageArray


@dataclass(frozen=True)
class Track:
    """Poses over time: `frame_id_t_child_frame_id` at (N,) rising stamps, ns, as (N, 4, 4) matrices."""

    frame_id: str
    child_frame_id: str
    stamps: npt.NDArray[np.int64]
    poses: FloatArray

    def at(self, stamp: int) -> FloatArray | None:
        """Return the (4, 4) pose at a stamp, interpolated; None before the first and after the last."""
        return geometry.pose_at(stamp, self.stamps, self.poses)


class TransformTree:
    """The frames of /tf and /tf_static: each child frame has one parent."""

    def __init__(self, moving: dict[str, Track], fixed: dict[str, tuple[str, FloatArray]]) -> None:
        """Hold child -> track in its parent, and child -> (parent, `parent_t_child`) for those that never move."""
        self._moving = moving
        self._fixed = fixed

    def lookup(self, target: str, source: str, stamp: int) -> FloatArray | None:
        """Return the (4, 4) `target_t_source` at a stamp (ns), or None where frames or stamp are not covered."""
        target_chain, source_chain = self._chain(target, stamp), self._chain(source, stamp)
        common = next((frame for frame in source_chain if frame in target_chain), None)
        if common is None:
            return None
        return geometry.relative(target_chain[common], source_chain[common])

    def _chain(self, frame: str, stamp: int) -> dict[str, FloatArray]:
        """Return ancestor -> `ancestor_t_frame`, from the frame itself upwards as far as the stamp is covered."""
        chain: dict[str, FloatArray] = {}
        here, pose = frame, np.eye(4)
        while here not in chain:  # a loop in the tree ends here as well
            chain[here] = pose
            parent, parent_t_here = self._parent(here, stamp)
            if parent_t_here is None:
                break
            here, pose = parent, parent_t_here @ pose
        return chain

    def _parent(self, child: str, stamp: int) -> tuple[str, FloatArray | None]:
        if child in self._moving:
            return self._moving[child].frame_id, self._moving[child].at(stamp)
        return self._fixed.get(child, ("", None))


class Bag:
    """A rosbag2, open for reading as a context manager."""

    def __init__(self, path: Path | str) -> None:
        """Open a bag.

        Args:
            path: the bag's folder, or one .mcap or .db3 file.

        Raises:
            BagError: it is missing, not a rosbag2, damaged, or of an unknown storage.
        """
        self.path = Path(path)
        if not self.path.exists():
            raise BagError(f"There is no bag at {self.path}.")
        if self.path.suffix == ".bag":
            raise BagError(f"{self.path} is a ROS 1 bag: convert it with `rosbags-convert` first.")
        with _damage_as_error(self.path):
            self._reader = AnyReader([self.path], default_typestore=get_typestore(Stores.LATEST))
            self._reader.open()

    def __enter__(self) -> Bag:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._reader.close()

    @property
    def topics(self) -> tuple[Topic, ...]:
        """The topics, by name."""
        infos = self._reader.topics.items()
        return tuple(
            Topic(name, info.msgtype or "", info.msgcount, _is_latched(info.connections)) for name, info in infos
        )

    @property
    def start(self) -> int:
        """When the first message was recorded, ns."""
        return self._reader.start_time

    @property
    def duration(self) -> int:
        """Time from the first to the last message, ns."""
        return max(self._reader.end_time - 1 - self._reader.start_time, 0)

    def messages(self, topics: Sequence[str] = ()) -> Iterator[Message]:
        """Yield the messages of some topics, or of all, as they were recorded.

        Raises:
            BagError: a topic is not in the bag, or the bag is damaged.
        """
        for name in topics:
            self._topic(name)
        connections = [c for c in self._reader.connections if not topics or c.topic in topics]
        with _damage_as_error(self.path):
            for connection, time, data in self._reader.messages(connections) if connections else ():
                yield Message(connection.topic, connection.msgtype, time, data)

    def image_topic(self, name: str = "") -> Topic:
        """Return the image topic of that name, or the only one that the bag has.

        Raises:
            BagError: there is none, or several to choose from; the sentence lists them.
        """
        pictures = [topic for topic in self.topics if topic.type in (IMAGE, COMPRESSED_IMAGE)]
        if name:
            topic = self._topic(name)
            if topic not in pictures:
                raise BagError(f"{name} in {self.path} is of type {topic.type}; image topics are {_names(pictures)}.")
            return topic
        if not pictures:
            raise BagError(f"{self.path} has no image topic; its topics are {_names(self.topics)}.")
        if len(pictures) > 1:
            raise BagError(f"{self.path} has several image topics, choose one of {_names(pictures)}.")
        return pictures[0]

    def frames(self, topic: str = "") -> Iterator[Frame]:
        """Yield the pictures of an image topic, raw or compressed; one that cannot be decoded only leaves a warning.

        Raises:
            BagError: as `image_topic`.
        """
        name = self.image_topic(topic).name
        for message in self.messages([name]):
            try:
                yield self._frame(message)
            except ImageError as error:
                logger.warning("%s at %.3f s: %s", name, (message.time - self.start) * 1e-9, error)

    def track(self, topic: str) -> Track:
        """Return the poses of a topic of type PoseStamped, PoseWithCovarianceStamped or Odometry.

        Raises:
            BagError: it is missing, of another type, or holds no valid pose.
        """
        info = self._topic(topic)
        if info.type not in _POSE_OF:
            raise BagError(f"{topic} in {self.path} is of type {info.type}, which holds no pose.")
        messages = [self._decode(message) for message in self.messages([topic])]
        poses = [_POSE_OF[info.type](message) for message in messages]
        rows = [(message, pose.position, pose.orientation) for message, pose in zip(messages, poses, strict=True)]
        valid = _valid(rows, topic)
        if not valid:
            raise BagError(f"{topic} in {self.path} holds no valid pose.")
        return _make_track(messages[0].header.frame_id, getattr(messages[0], "child_frame_id", ""), valid)

    def transforms(self) -> TransformTree:
        """Return the frames of /tf and /tf_static; an empty tree where the bag has neither."""
        fixed, moving = {}, {}
        for topic in self.topics:
            if topic.type == TRANSFORMS:
                tracks = self._transform_tracks(topic.name)
                if topic.name.endswith("tf_static"):
                    fixed.update({child: (track.frame_id, track.poses[-1]) for child, track in tracks.items()})
                else:
                    moving.update(tracks)
        return TransformTree(moving, fixed)

    def _transform_tracks(self, topic: str) -> dict[str, Track]:
        """Return child -> its poses in its parent, from one topic of transforms."""
        rows: dict[tuple[str, str], list[tuple[Any, Any, Any]]] = {}
        for message in self.messages([topic]):
            for stamped in self._decode(message).transforms:
                edge = (stamped.header.frame_id.lstrip("/"), stamped.child_frame_id.lstrip("/"))
                rows.setdefault(edge, []).append((stamped, stamped.transform.translation, stamped.transform.rotation))
        valid = {edge: _valid(entries, topic) for edge, entries in rows.items()}
        return {child: _make_track(parent, child, poses) for (parent, child), poses in valid.items() if poses}

    def _topic(self, name: str) -> Topic:
        for topic in self.topics:
            if topic.name == name:
                return topic
        raise BagError(f"{self.path} has no topic {name}; its topics are {_names(self.topics)}.")

    def _decode(self, message: Message) -> Any:
        with _damage_as_error(self.path):
            return self._reader.deserialize(message.data, message.type)

    def _frame(self, message: Message) -> Frame:
        decoded = self._decode(message)
        if message.type == IMAGE:
            image = images.decode(
                decoded.data, decoded.encoding, decoded.width, decoded.height, decoded.step, decoded.is_bigendian
            )
        else:
            image = images.decode_compressed(decoded.data, decoded.format)
        return Frame(_stamp(decoded), decoded.header.frame_id, image)


@contextmanager
def _damage_as_error(path: Path) -> Iterator[None]:
    """Turn whatever a parser meets in a damaged file into a sentence."""
    try:
        yield
    except (BagError, GeneratorExit):
        raise
    except Exception as error:
        raise BagError(f"The bag {path} cannot be read ({type(error).__name__}: {error}).") from error


def _is_latched(connections: Sequence[Any]) -> bool:
    offers = [offer for connection in connections for offer in connection.ext.offered_qos_profiles]
    return any(offer.durability is QosDurability.TRANSIENT_LOCAL for offer in offers)


def _names(topics: Sequence[Topic]) -> str:
    return ", ".join(f"{topic.name} ({topic.type})" for topic in topics) or "none"


def _stamp(message: Any) -> int:
    return images.stamp_to_ns(message.header.stamp.sec, message.header.stamp.nanosec)


def _valid(rows: Sequence[tuple[Any, Any, Any]], topic: str) -> list[tuple[int, FloatArray]]:
    """Return stamp and matrix of each (message, position, orientation) that is a pose; the others leave a warning."""
    poses = []
    for message, position, turn in rows:
        try:
            where, how = (position.x, position.y, position.z), (turn.x, turn.y, turn.z, turn.w)
            poses.append((_stamp(message), geometry.from_position_quaternion(where, how)))
        except (PoseError, ImageError) as error:
            logger.warning("%s: %s", topic, error)
    return poses


def _make_track(frame_id: str, child_frame_id: str, poses: Sequence[tuple[int, FloatArray]]) -> Track:
    """Sort by stamp; of several poses with one stamp the last counts."""
    by_stamp = dict(poses)
    stamps = sorted(by_stamp)
    matrices = np.array([by_stamp[stamp] for stamp in stamps]).reshape(-1, 4, 4)
    return Track(frame_id, child_frame_id, np.array(stamps, dtype=np.int64), matrices)
