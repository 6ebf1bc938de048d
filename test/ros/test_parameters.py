"""The table of parameters: what it refuses, and that everything said of it is true."""

import ast
import dataclasses
from pathlib import Path

import pytest
import yaml

from loc3r_ros.errors import ConfigError
from loc3r_ros.ros.parameters import ENTRIES, Parameters, changed, markdown_table

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("image_qos", "maybe", "Parameter image_qos must be one of auto, reliable, best_effort, not 'maybe'."),
        ("image_queue", 0, "Parameter image_queue must lie in 1 to 1000, not 0."),
        ("image_queue", True, "Parameter image_queue must be a integer, not True of another type."),
        ("transform_rate", 20, "Parameter transform_rate must be a double, not 20 of another type: write 20.0."),
        ("transform_rate", float("nan"), "Parameter transform_rate must lie in 1 to 200 Hz, not nan."),
        ("map_frame", "", "Parameter map_frame must not be empty."),
        ("base_frame", "odom", "map_frame, odom_frame and base_frame must differ"),
    ],
)
def test_a_wrong_value_is_refused_with_a_sentence(name, value, sentence):
    with pytest.raises(ConfigError) as caught:
        changed(Parameters(), {name: value}, configured=False)
    assert str(caught.value).startswith(sentence)


def test_good_values_are_taken_and_foreign_ones_left_alone():
    parameters = changed(Parameters(), {"transform_rate": 50.0, "use_sim_time": True}, configured=True)
    assert parameters == dataclasses.replace(Parameters(), transform_rate=50.0)


def test_what_configuring_reads_changes_only_before():
    with pytest.raises(ConfigError, match="deactivate and clean up first"):
        changed(Parameters(), {"engines": "elsewhere"}, configured=True)
    assert changed(Parameters(), {"engines": ""}, configured=True) == Parameters()
    assert changed(Parameters(), {"engines": "elsewhere"}, configured=False).engines == "elsewhere"


def test_the_defaults_are_allowed():
    for entry in ENTRIES.values():
        entry.check(entry.default)
    Parameters().check()


def test_every_parameter_is_read_somewhere():
    read = set()
    for path in (ROOT / "loc3r_ros" / "ros").glob("*.py"):
        if path.name != "parameters.py":
            tree = ast.parse(path.read_text())
            read |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert set(ENTRIES) - read == set()


def test_the_page_has_this_table():
    page = (ROOT / "docs" / "node.md").read_text()
    assert markdown_table() in page, f"put this into docs/node.md:\n{markdown_table()}"


@pytest.mark.parametrize("profile", ["nano_cpu", "jetson_orin"])
def test_the_shipped_profiles_are_allowed(profile):
    values = yaml.safe_load((ROOT / "config" / f"{profile}.yaml").read_text())["/**"]["ros__parameters"]
    assert set(values) <= set(ENTRIES)
    changed(Parameters(), values, configured=False)
