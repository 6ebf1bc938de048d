"""The interfaces of this package: built, complete and commented."""

import itertools
import re
from pathlib import Path

import pytest
from rclpy.serialization import deserialize_message, serialize_message

import loc3r_ros
from loc3r_ros import action, msg, srv

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path for kind in ("msg", "srv", "action") for path in (ROOT / kind).glob(f"*.{kind}"))
MODULES = {"msg": msg, "srv": srv, "action": action}
PARTS = {"msg": ("",), "srv": ("Request", "Response"), "action": ("Goal", "Result", "Feedback")}


def parts_of(path):
    """Return the message classes that a file defines."""
    whole = getattr(MODULES[path.parent.name], path.stem)
    return [getattr(whole, part) if part else whole for part in PARTS[path.parent.name]]


def test_the_package_keeps_its_docstring_beside_the_generated_modules():
    assert loc3r_ros.__doc__
    assert loc3r_ros.__version__


@pytest.mark.ros
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_is_serialised_and_back(path):
    for part in parts_of(path):
        message = part()
        for field, kind in part.get_fields_and_field_types().items():
            if kind == "string":
                setattr(message, field, f"{field} ä")
            elif kind == "boolean":
                setattr(message, field, True)
            elif kind in ("float", "double"):
                setattr(message, field, 0.5)
            elif kind.startswith(("uint", "int")):
                setattr(message, field, 7)
        assert deserialize_message(serialize_message(message), part) == message


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_field_is_commented(path):
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# "), "the first line says what it is for"
    fields = 0
    for previous, line in itertools.pairwise(lines):
        if re.match(r"[A-Za-z]", line):
            fields += 1
            assert previous.startswith("# ") or "#" in line, f"{path.name}: '{line}' has no comment"
    assert fields == sum(len(part.get_fields_and_field_types()) for part in parts_of(path))
