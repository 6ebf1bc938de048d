"""RViz's view: known displays and properties, and topics that the running node publishes as it asks for them.

RViz is not installed everywhere. The names below are those of its displays (rviz_default_plugins, its display classes
and the properties that they make), written down from its source.
"""

import re
from pathlib import Path

import pytest
import yaml
from harness import LATCHED, RELIABLE, wait_until
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "launch.md"
COMMON = {"Class", "Name", "Enabled", "Value"}
ARROW = {"Shaft Length", "Head Length"}
PROPERTIES = {
    "Grid": {"Alpha", "Cell Size", "Color", "Line Style", "Normal Cell Count", "Offset", "Plane", "Plane Cell Count",
             "Reference Frame"},
    "TF": {"Frame Timeout", "Frames", "Marker Scale", "Show Arrows", "Show Axes", "Show Names", "Tree",
           "Update Interval"},
    "Image": {"Topic", "Normalize Range", "Min Value", "Max Value", "Median window"},
    "PointCloud2": {"Topic", "Alpha", "Color Transformer", "Position Transformer", "Decay Time", "Selectable",
                    "Size (m)", "Size (Pixels)", "Style"},
    "Map": {"Topic", "Update Topic", "Alpha", "Color Scheme", "Draw Behind", "Use Timestamp"},
    "Path": {"Topic", "Alpha", "Buffer Length", "Color", "Line Style", "Line Width", "Offset", "Pose Style",
             "Pose Color", "Shaft Diameter", "Head Diameter", *ARROW},
    "MarkerArray": {"Topic", "Namespaces"},
    "PoseWithCovariance": {"Topic", "Alpha", "Color", "Shape", "Shaft Radius", "Head Radius", "Axes Length",
                           "Axes Radius", "Covariance", *ARROW},
}  # fmt: skip
TYPES = {
    "Image": "sensor_msgs/msg/Image",
    "PointCloud2": "sensor_msgs/msg/PointCloud2",
    "Map": "nav_msgs/msg/OccupancyGrid",
    "Path": "nav_msgs/msg/Path",
    "MarkerArray": "visualization_msgs/msg/MarkerArray",
    "PoseWithCovariance": "geometry_msgs/msg/PoseWithCovarianceStamped",
}
TOOLS = {
    "SetInitialPose": "geometry_msgs/msg/PoseWithCovarianceStamped",
    "SetGoal": "geometry_msgs/msg/PoseStamped",
}
POLICIES = {
    "Reliability Policy": {"Reliable": ReliabilityPolicy.RELIABLE, "Best Effort": ReliabilityPolicy.BEST_EFFORT},
    "Durability Policy": {
        "Transient Local": DurabilityPolicy.TRANSIENT_LOCAL,
        "Volatile": DurabilityPolicy.VOLATILE,
    },
    "History Policy": {"Keep Last": None},
}
VIEW = yaml.safe_load((ROOT / "config" / "loc3r.rviz").read_text())["Visualization Manager"]


def kind(entry):
    package, name = entry["Class"].split("/")
    assert package == "rviz_default_plugins"
    return name


DISPLAYS = {kind(entry): entry for entry in VIEW["Displays"]}
SHOWN = {name: entry for name, entry in DISPLAYS.items() if "Topic" in entry}


def test_every_display_and_property_exists():
    assert len(DISPLAYS) == len(VIEW["Displays"]), "the test tells displays apart by their class"
    for name, entry in DISPLAYS.items():
        assert set(entry) <= PROPERTIES[name] | COMMON, name
        assert entry["Enabled"] is entry["Value"] is (name != "Map"), "the grid is the layout once more: at will"
    assert VIEW["Global Options"]["Fixed Frame"] == "map"


def test_the_topics_are_relative_and_their_quality_of_service_is_complete():
    tools = [entry for entry in VIEW["Tools"] if kind(entry) in TOOLS]
    for entry in [*SHOWN.values(), *tools]:
        topic = entry["Topic"]
        assert not topic["Value"].startswith("/")
        assert set(topic) == {"Value", "Depth", *POLICIES}
        assert all(topic[policy] in names for policy, names in POLICIES.items())


@pytest.mark.ros
def test_what_it_shows_is_what_the_running_node_sends(probe, start_node):
    start_node(namespace="/seen")
    for name, entry in SHOWN.items():
        topic = f"/seen/{entry['Topic']['Value']}"
        if name == "Image":  # the camera sends it, the node only hears it
            listeners = wait_for(probe.node.get_subscriptions_info_by_topic, topic)
            assert listeners[0].topic_type == TYPES[name]
            assert entry["Topic"]["Reliability Policy"] == "Best Effort", "a reliable view would see no camera driver"
            continue
        (offer,) = wait_for(probe.node.get_publishers_info_by_topic, topic)
        assert offer.topic_type == TYPES[name], topic
        assert is_compatible(offer.qos_profile, entry["Topic"]), topic
    for entry in VIEW["Tools"]:
        if kind(entry) == "SetInitialPose":
            listeners = wait_for(probe.node.get_subscriptions_info_by_topic, f"/seen/{entry['Topic']['Value']}")
            assert listeners[0].topic_type == TOOLS["SetInitialPose"]


def wait_for(look, topic):
    return wait_until(lambda: look(topic), f"an end of {topic}")


def is_compatible(offered, asked):
    """Say whether a publisher offers at least what a subscription asks for, by the rules of DDS."""
    reliability = POLICIES["Reliability Policy"][asked["Reliability Policy"]]
    durability = POLICIES["Durability Policy"][asked["Durability Policy"]]
    return (reliability == ReliabilityPolicy.BEST_EFFORT or offered.reliability == ReliabilityPolicy.RELIABLE) and (
        durability == DurabilityPolicy.VOLATILE or offered.durability == DurabilityPolicy.TRANSIENT_LOCAL
    )


def test_the_rules_of_compatibility():
    latched = {"Reliability Policy": "Reliable", "Durability Policy": "Transient Local"}
    assert is_compatible(LATCHED, latched)
    assert not is_compatible(RELIABLE, latched)
    assert is_compatible(RELIABLE, {"Reliability Policy": "Best Effort", "Durability Policy": "Volatile"})


def table():
    rows = [f"| {entry['Name']} | {name} | `{entry['Topic']['Value']}` |" for name, entry in SHOWN.items()]
    return "\n".join(["| display | class | topic |", "| --- | --- | --- |", *rows])


def test_the_page_has_the_displays():
    assert table() in PAGE.read_text(), f"put this into {PAGE.name}:\n{table()}"


def profiles():
    files = {name: ROOT / "config" / f"{name}.yaml" for name in ("nano_cpu", "jetson_orin")}
    values = {name: yaml.safe_load(path.read_text())["/**"]["ros__parameters"] for name, path in files.items()}
    names = list(dict.fromkeys(name for profile in values.values() for name in profile))
    rows = [
        f"| `{name}` | " + " | ".join(f"`{values[file].get(name, '')}`" for file in values) + " |" for name in names
    ]
    return "\n".join(["| parameter | nano_cpu | jetson_orin |", "| --- | --- | --- |", *rows]).replace("``", "")


def test_the_page_has_the_profiles():
    assert profiles() in PAGE.read_text(), f"put this into {PAGE.name}:\n{profiles()}"


def test_every_shipped_configuration_is_named_on_the_page():
    files = {path.name for path in (ROOT / "config").iterdir() if path.is_file() and not path.name.startswith(".")}
    pages = "\n".join(path.read_text() for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")])
    assert {name for name in files if not re.search(re.escape(name.removesuffix(".yaml")), pages)} == set()
