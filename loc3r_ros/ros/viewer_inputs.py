"""What the page hears: what the node hears, found in the graph, and the pictures of its keyframes.

The page listens to images, transforms and layout only while somebody looks at it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from loc3r_ros.errors import ImageError
from loc3r_ros.interface import ImageArray
from loc3r_ros.ros.conversions import decode_image, stamp_from_message
from loc3r_ros.ros.qos import STATIC_TRANSFORMS, TRANSFORMS
from loc3r_ros.viewer import shapes

NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
"""The page never makes a publisher wait or send twice."""
IMAGE_TYPES = {"sensor_msgs/msg/Image": Image, "sensor_msgs/msg/CompressedImage": CompressedImage}
INFO_TYPE, TRANSFORM_TYPE = "sensor_msgs/msg/CameraInfo", "tf2_msgs/msg/TFMessage"
LATE = 48
"""Pictures that are kept until the node says which of them became keyframes."""
SMALL = 128
"""Pixels on the longer side of a kept picture."""


Wanted = dict[tuple[str, str], tuple[Any, Callable[[Any], None], QoSProfile]]
"""(topic, name of the type) -> type, callback, quality of service."""


@dataclass(frozen=True)
class Target:
    """The node that the page belongs to.

    Attributes:
        name: its name, without namespace.
        identity: changes when it is started anew.
    """

    name: str
    identity: tuple[int, ...]


def find_node(node: Node) -> Target | None:
    """Return the node `loc3r` in the namespace of `node`, by whatever name; None where there is none."""
    space = node.get_namespace()
    for publisher in node.get_publishers_info_by_topic(node.resolve_topic_name("language_pose")):
        if publisher.node_namespace == space:
            return Target(publisher.node_name, tuple(publisher.endpoint_gid))
    return None


def heard_by(node: Node, target: Target) -> dict[str, str]:
    """Return topic -> type of what the node listens to with its camera; empty while it is not active."""
    try:
        heard = node.get_subscriber_names_and_types_by_node(f"_{target.name}_inputs", node.get_namespace())
    except RuntimeError:  # not there, or just gone
        return {}
    return {name: types[0] for name, types in heard}


def image_source(node: Node, topic: str, heard: Mapping[str, str]) -> tuple[str, str] | None:
    """Return topic and type of the images to show.

    Args:
        node: any node.
        topic: the topic that the user wants; empty for what the node listens to.
        heard: topic -> type of that.
    """
    if topic:
        offers = node.get_publishers_info_by_topic(node.resolve_topic_name(topic))
        heard = {node.resolve_topic_name(topic): offer.topic_type for offer in offers}
    return next(((name, kind) for name, kind in sorted(heard.items()) if kind in IMAGE_TYPES), None)


class Subscriptions:
    """Subscriptions that come and go with what is wanted."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._held: dict[tuple[str, str], Subscription] = {}

    def want(self, wanted: Wanted) -> None:
        """Hold exactly these subscriptions."""
        for key in self._held.keys() - wanted.keys():
            self._node.destroy_subscription(self._held.pop(key))
        for key in wanted.keys() - self._held.keys():
            message_type, callback, qos = wanted[key]
            self._held[key] = self._node.create_subscription(message_type, key[0], callback, qos)


def camera_subscriptions(
    heard: Mapping[str, str],
    on_info: Callable[[CameraInfo], None],
    on_transforms: Callable[[TFMessage, bool], None],
) -> Wanted:
    """Return the subscriptions to the calibration and the transforms that the node listens to."""
    wanted: Wanted = {}
    for name, kind in heard.items():
        if kind == INFO_TYPE:
            wanted[name, kind] = CameraInfo, on_info, NEWEST
        elif kind == TRANSFORM_TYPE and name.endswith("static"):
            wanted[name, kind] = TFMessage, lambda message: on_transforms(message, True), STATIC_TRANSFORMS
        elif kind == TRANSFORM_TYPE:
            wanted[name, kind] = TFMessage, lambda message: on_transforms(message, False), TRANSFORMS
    return wanted


class Pictures:
    """The last pictures, small, by their stamps; compressed ones are decoded only where they are asked for."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, ImageArray | CompressedImage] = OrderedDict()

    def keep(self, message: Image | CompressedImage) -> None:
        """Keep a picture for a while."""
        try:
            raw = isinstance(message, Image)
            kept = shapes.fit(decode_image(message), SMALL) if raw else message
        except ImageError:
            return  # the node says so
        self._kept[stamp_from_message(message.header.stamp)] = kept
        while len(self._kept) > LATE:
            self._kept.popitem(last=False)

    def at(self, stamp: int) -> ImageArray | None:
        """Return the picture with exactly this stamp (ns), where it is kept."""
        kept = self._kept.get(stamp)
        try:
            return decode_image(kept) if isinstance(kept, CompressedImage) else kept
        except ImageError:
            return None
