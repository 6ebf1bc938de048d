"""The launch file: its arguments are those of its page, and it is a launch description where launch is installed."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "launch" / "loc3r.launch.py"
NAV2 = {"namespace", "use_sim_time", "params_file", "autostart", "log_level", "use_respawn"}


def calls(name):
    """Return the calls of a function or class in the launch file."""
    tree = ast.parse(FILE.read_text())
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == name]


def declared():
    """Return argument -> (default, description) as written; the default of a substitution is its last strings."""
    found = {}
    for call in calls("DeclareLaunchArgument"):
        options = {keyword.arg: keyword.value for keyword in call.keywords}
        strings = [n.value for n in ast.walk(options["default_value"]) if isinstance(n, ast.Constant)]
        found[call.args[0].value] = "/".join(strings), options["description"].value
    return found


def documented():
    page = (ROOT / "docs" / "node.md").read_text().split("## Launch arguments")[1]
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\| (.*) \|$", page, re.MULTILINE)
    return {name: (default.strip(" `"), text) for name, default, text in rows}


def test_the_page_has_the_arguments():
    assert declared() == documented()
    assert set(declared()) >= NAV2 | {"image_topic", "camera_info_topic", "engines", "bag", "rviz"}


def test_every_argument_is_used():
    used = {call.args[0].value for call in calls("LaunchConfiguration")}
    assert used == set(declared())


def test_the_node_is_the_one_that_is_installed_and_tf_has_the_namespace():
    node = next(call for call in calls("Node") if "executable" in ast.dump(call) and "loc3r_node" in ast.dump(call))
    options = {keyword.arg: keyword.value for keyword in node.keywords}
    assert options["package"].value == "loc3r_ros"
    assert (ROOT / "scripts" / options["executable"].value).exists()
    pairs = [tuple(getattr(item, "value", None) for item in pair.elts) for pair in options["remappings"].elts]
    assert {("/tf", "tf"), ("/tf_static", "tf_static")} <= set(pairs)
    assert {"image", "camera_info"} <= {old for old, _ in pairs}


def test_it_is_a_launch_description():
    pytest.importorskip("launch_ros", reason="launch_ros is not installed here")
    from launch.actions import DeclareLaunchArgument

    spec = importlib.util.spec_from_file_location("loc3r_launch", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    entities = module.generate_launch_description().entities
    names = {entity.name for entity in entities if isinstance(entity, DeclareLaunchArgument)}
    assert names == set(declared())
