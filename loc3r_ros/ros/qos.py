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


def choose_qos(name: str, offers: Sequence[Offer], depth: int) -> QoSProfile:
    """Return the profile for an image subscription.

    A subscription that asks for more than a publisher offers gets nothing from it (yolo_ros issues 17 and 65). So
    "auto" is reliable only if every publisher is, and asks for the last image of the past only if every one keeps it.

    Args:
        name: one of `QOS_NAMES`.
        offers: the publishers of the topic at this moment.
        depth: how many images may wait between DDS and the executor.
    """
    reliable, latched = name == "reliable", False
    if name == "auto" and offers:
        reliable = all(offer.qos.reliability == ReliabilityPolicy.RELIABLE for offer in offers)
        latched = all(offer.qos.durability == DurabilityPolicy.TRANSIENT_LOCAL for offer in offers)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def same_policies(a: QoSProfile, b: QoSProfile) -> bool:
    """Say whether two profiles ask for the same."""
    return (a.reliability, a.durability, a.depth) == (b.reliability, b.durability, b.depth)


def explain_silence(
    topic: str, message_type: str, asked: QoSProfile, offers: Sequence[Offer], others: Sequence[str]
) -> str:
    """Return a sentence on why no image arrives on a topic.

    Args:
        topic: the fully resolved name.
        message_type: the type subscribed to, such as "sensor_msgs/msg/Image".
        asked: the profile of the subscription.
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
    if asked.reliability == ReliabilityPolicy.RELIABLE and all(not _is_reliable(offer) for offer in matching):
        return "QoS mismatch: image_qos asks for reliable, its publisher offers best effort; set image_qos to auto."
    if not all(_is_reliable(offer) for offer in matching) and not _has_dds_profile():
        return (
            f"{len(matching)} publisher(s) matched, not all reliable. Fast DDS drops most best-effort images above 0.5 MB "
            "with its default shared-memory segment: set FASTDDS_DEFAULT_PROFILES_FILE to config/fastdds_large_images.xml "
            "in both processes, or publish reliable."
        )
    return f"{len(matching)} publisher(s) matched, so the camera sends nothing: look at its driver, or at a paused bag."


def _is_reliable(offer: Offer) -> bool:
    return bool(offer.qos.reliability == ReliabilityPolicy.RELIABLE)


def _has_dds_profile() -> bool:
    return any(os.environ.get(f"{name}_DEFAULT_PROFILES_FILE") for name in ("FASTDDS", "FASTRTPS"))
