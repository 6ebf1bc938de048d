"""Quality of service: names for users, the choice from the publishers, and why no image arrives."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

QOS_NAMES = ("auto", "reliable", "best_effort")

LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""For what changes rarely: a late subscriber gets the last message."""

STATIC_TRANSFORMS = QoSProfile(
    depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
TRANSFORMS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE)


@dataclass(frozen=True)
class Offer:
    """What one publisher of a topic offers."""

    message_type: str
    qos: QoSProfile


@dataclass(frozen=True)
class Policies:
    """What an image subscription asks for.

    Attributes:
        is_reliable: every image, sent again where it was lost.
        is_latched: the last image of the past too.
        depth: how many images may wait between DDS and the executor.
    """

    is_reliable: bool
    is_latched: bool
    depth: int


def choose_policies(name: str, offers: Sequence[Offer], depth: int) -> Policies:
    """Return what an image subscription should ask for.

    A subscription that asks for more than a publisher offers gets nothing from it (yolo_ros issues 17 and 65). So
    "auto" is reliable only if every publisher is, and asks for the last image of the past only if every one keeps it.

    Args:
        name: one of `QOS_NAMES`.
        offers: the publishers of the topic at this moment.
        depth: how many images may wait between DDS and the executor.
    """
    if name != "auto" or not offers:
        return Policies(name == "reliable", False, depth)
    is_latched = all(offer.qos.durability == DurabilityPolicy.TRANSIENT_LOCAL for offer in offers)
    return Policies(all(map(_is_reliable, offers)), is_latched, depth)


def profile(policies: Policies) -> QoSProfile:
    """Return the profile of some policies."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=policies.depth,
        reliability=ReliabilityPolicy.RELIABLE if policies.is_reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if policies.is_latched else DurabilityPolicy.VOLATILE,
    )


def explain_silence(
    topic: str, message_type: str, is_reliable: bool, offers: Sequence[Offer], others: Sequence[str]
) -> str:
    """Return a sentence on why no image arrives on a topic.

    Args:
        topic: the fully resolved name.
        message_type: the type subscribed to, such as "sensor_msgs/msg/Image".
        is_reliable: whether the subscription asks for reliable.
        offers: the publishers of the topic, of any type.
        others: topics of this type that do have publishers.
    """
    if not offers:
        hint = f"images are published on {', '.join(others)}" if others else "no node publishes images of this type"
        return f"it has no publisher ({hint}); check image_topic, image_transport and the namespace."
    matching = [offer for offer in offers if offer.message_type == message_type]
    if not matching:
        types = ", ".join(sorted({offer.message_type for offer in offers}))
        return f"its publisher sends {types}, not {message_type}; check image_transport."
    if is_reliable and not any(map(_is_reliable, matching)):
        return "QoS mismatch: image_qos asks for reliable, its publisher offers best effort; set image_qos to auto."
    if not all(map(_is_reliable, matching)) and not _has_dds_profile():
        return (
            f"{len(matching)} publisher(s) matched, not all reliable. Fast DDS drops most best-effort images above 0.5 "
            "MB with its default shared-memory segment: set FASTDDS_DEFAULT_PROFILES_FILE to "
            "config/fastdds_large_images.xml in both processes, or publish reliable."
        )
    return f"{len(matching)} publisher(s) matched, so the camera sends nothing: look at its driver, or at a paused bag."


def _is_reliable(offer: Offer) -> bool:
    return bool(offer.qos.reliability == ReliabilityPolicy.RELIABLE)


def _has_dds_profile() -> bool:
    return any(os.environ.get(f"{name}_DEFAULT_PROFILES_FILE") for name in ("FASTDDS", "FASTRTPS"))
