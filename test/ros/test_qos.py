"""The choice of quality of service, and why nothing arrives."""

import itertools

import pytest
from rclpy.qos import DurabilityPolicy, QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible

from loc3r_ros.ros.qos import Offer, choose_policies, explain_silence, profile

IMAGE = "sensor_msgs/msg/Image"


def offer(reliable=True, latched=False, message_type=IMAGE):
    return Offer(
        message_type,
        QoSProfile(
            depth=1,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        ),
    )


KINDS = [offer(reliable, latched) for reliable, latched in itertools.product((True, False), repeat=2)]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_auto_matches_every_publisher_and_asks_for_all_they_offer(count):
    for offers in itertools.combinations_with_replacement(KINDS, count):
        policies = choose_policies("auto", offers, 5)
        for publisher in offers:
            compatibility, reason = qos_check_compatible(publisher.qos, profile(policies))
            assert compatibility != QoSCompatibility.ERROR, reason  # liveliness is left to the system
        if len(offers) == 1:
            qos = profile(policies)
            assert (qos.reliability, qos.durability) == (offers[0].qos.reliability, offers[0].qos.durability)


@pytest.mark.parametrize("name", ["reliable", "best_effort"])
def test_a_name_is_a_name(name):
    assert choose_policies(name, [offer(reliable=name != "reliable")], 3).is_reliable == (name == "reliable")


@pytest.mark.parametrize(
    ("is_reliable", "offers", "others", "cause"),
    [
        (False, [], [], "it has no publisher (no node publishes images of this type)"),
        (False, [], ["/camera/image_raw"], "images are published on /camera/image_raw"),
        (False, [offer(message_type="std_msgs/msg/String")], [], "its publisher sends std_msgs/msg/String, not"),
        (True, [offer(reliable=False)], [], "QoS mismatch: image_qos asks for reliable"),
        (False, [offer(reliable=False)], [], "FASTDDS_DEFAULT_PROFILES_FILE"),
        (True, [offer()], [], "1 publisher(s) matched, so the camera sends nothing"),
    ],
)
def test_silence_has_a_cause(monkeypatch, is_reliable, offers, others, cause):
    for name in ("FASTDDS", "FASTRTPS"):
        monkeypatch.delenv(f"{name}_DEFAULT_PROFILES_FILE", raising=False)
    assert cause in explain_silence("/image", IMAGE, is_reliable, offers, others)


def test_with_the_profile_the_segment_is_not_blamed(monkeypatch):
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", "some.xml")
    assert "sends nothing" in explain_silence("/image", IMAGE, False, [offer(reliable=False)], [])
