"""Recorded data on real topics: publishes a rosbag2 with /clock, as it was recorded, without decoding a message.

The messages go out as the bytes that were recorded. /clock carries the time of recording, so nodes with `use_sim_time`
live in the time of the bag; it jumps back where a loop starts again.
"""

from __future__ import annotations

import importlib
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rclpy.context import Context
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock

from loc3r_ros.bags import Bag, Topic
from loc3r_ros.errors import BagError, ConfigError
from loc3r_ros.ros.conversions import time_message

CLOCK_PERIOD = 1.0 / 40.0
"""Longest wall time between two messages on /clock while waiting for the next message, seconds."""
SETTLED = 1.0
"""Subscribers count as complete when none came or changed for so long, seconds."""
SLOWEST_SUBSCRIBER = 10.0
"""How long to wait for one message to be taken before going on without, seconds."""
QUEUE = 100
"""Messages of a topic that are kept until all subscribers have them."""
WINDOW = 5
"""The same where it goes as fast as they are taken: half of what subscribers hold by default.

Fast DDS asks for acknowledgements at once where this is the whole history of a publisher, else only every 3 s. It gives
them for what it holds: a subscriber that is slow to take it out may still lose some."""
CLOCK_TOPIC = "/clock"


@dataclass(frozen=True)
class Pace:
    """How fast to play: `rate` times the recorded speed, or as fast as reliable subscribers take it where None."""

    rate: float | None = 1.0

    def __post_init__(self) -> None:
        if self.rate is not None and not (math.isfinite(self.rate) and self.rate > 0):
            raise ConfigError(f"The rate must be a number above 0, not {self.rate:g}.")


class Player:
    """Publishes the messages of one bag."""

    def __init__(self, bag: Bag, pace: Pace, topics: Sequence[str] = (), context: Context | None = None) -> None:
        """Make the publishers.

        Args:
            bag: an open bag.
            pace: how fast to play.
            topics: names of the topics to publish; all if empty.
            context: of rclpy; its command line may remap the topics.

        Raises:
            BagError: a topic is not in the bag, or its message type is not installed.
        """
        self._bag = bag
        self._pace = pace
        self.topics = _select(bag, topics)
        types = {topic.name: message_class(topic) for topic in self.topics}
        self._node = Node("loc3r_replay", context=context, start_parameter_services=False, enable_rosout=False)
        self._publishers = {
            topic.name: self._node.create_publisher(types[topic.name], topic.name, _qos(topic, pace))
            for topic in self.topics
        }
        self._clock_publisher = self._node.create_publisher(Clock, CLOCK_TOPIC, 1)
        self._told: int | None = None
        self.sent: Counter[str] = Counter()

    def close(self) -> None:
        """Destroy the node with its publishers."""
        self._node.destroy_node()

    @property
    def names(self) -> dict[str, str]:
        """Recorded name -> name it is published under."""
        return {name: publisher.topic_name for name, publisher in self._publishers.items()}

    def wait_for_subscribers(self, timeout: float) -> bool:
        """Wait until somebody listens and nobody new has come for a second; say whether somebody does.

        Meanwhile time stands at the start of the bag, so that nodes know it before the first message comes.
        """
        deadline = time.monotonic() + timeout
        known, since = self._subscribers(), time.monotonic()
        while time.monotonic() < deadline and not (known and time.monotonic() - since > SETTLED):
            time.sleep(0.05)
            self._told = None  # whoever has just come does not know it
            self._publish_clock(self._bag.start)
            current = self._subscribers()
            if current != known:
                known, since = current, time.monotonic()
        return bool(known)

    def play(self, on_message: Callable[[], object] = lambda: None) -> None:
        """Publish every message once, in the recorded order; `sent` counts them by recorded name.

        Args:
            on_message: called after each message.
        """
        start = time.monotonic()
        for message in self._bag.messages([topic.name for topic in self.topics]):
            if self._pace.rate is not None:
                self._wait(start, message.time, self._pace.rate)
            self._publish_clock(message.time)
            self._publishers[message.topic].publish(bytes(message.data))
            self.sent[message.topic] += 1
            if self._pace.rate is None and self.sent[message.topic] % WINDOW == 0:
                self._wait_until_taken(self._publishers[message.topic])
            on_message()

    def finish(self) -> None:
        """Wait until reliable subscribers have taken everything (Fast DDS may need 3 s to know)."""
        for publisher in self._publishers.values():
            self._wait_until_taken(publisher)

    def _subscribers(self) -> set[tuple[Any, ...]]:
        infos = (self._node.get_subscriptions_info_by_topic(name) for name in self.names.values())
        return {(*info.endpoint_gid, info.qos_profile.reliability) for topic in infos for info in topic}

    def _wait(self, start: float, stamp: int, rate: float) -> None:
        """Sleep until a recorded time is due, publishing /clock meanwhile."""
        due = start + (stamp - self._bag.start) * 1e-9 / rate
        while (left := due - time.monotonic()) > 0:
            time.sleep(min(left, CLOCK_PERIOD))
            if left > CLOCK_PERIOD:
                self._publish_clock(stamp - round(max(due - time.monotonic(), 0.0) * rate * 1e9))

    def _publish_clock(self, stamp: int) -> None:
        """Tell the time, unless it is what was told last: every message on /clock wakes every node."""
        if stamp == self._told:
            return
        self._told = stamp
        self._clock_publisher.publish(Clock(clock=time_message(stamp)))

    def _wait_until_taken(self, publisher: Publisher[Any]) -> None:
        if not publisher.wait_for_all_acked(Duration(seconds=SLOWEST_SUBSCRIBER)):
            self._node.get_logger().warning(
                f"A subscriber of {publisher.topic_name} has not taken a message for {SLOWEST_SUBSCRIBER:g} s: "
                "going on without it.",
                throttle_duration_sec=SLOWEST_SUBSCRIBER,
            )


def message_class(topic: Topic) -> Any:
    """Return the class of a topic's messages.

    Raises:
        BagError: its package is not installed.
    """
    package, _, name = topic.type.replace("/msg/", "/").partition("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError) as error:
        raise BagError(
            f"The messages of {topic.name} are of type {topic.type}, which is not installed here: install {package}, "
            "or name the topics to play with --topics."
        ) from error


def _select(bag: Bag, names: Sequence[str]) -> tuple[Topic, ...]:
    known = {topic.name: topic for topic in bag.topics if topic.name != CLOCK_TOPIC}
    missing = [name for name in names if name not in known]
    if missing:
        raise BagError(f"{bag.path} has no topic {', '.join(missing)}; its topics are {', '.join(known)}.")
    chosen = tuple(topic for name, topic in known.items() if not names or name in names)
    if not any(topic.count for topic in chosen):
        raise BagError(f"{bag.path} has no messages to play.")
    return chosen


def _qos(topic: Topic, pace: Pace) -> QoSProfile:
    """Return a profile that every subscriber can match."""
    is_latched = topic.is_latched or topic.name.endswith("tf_static")
    return QoSProfile(
        depth=WINDOW if pace.rate is None and not is_latched else QUEUE,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if is_latched else DurabilityPolicy.VOLATILE,
    )
