"""The page of symptoms quotes sentences that the code says."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
ELSEWHERE = {"ModuleNotFoundError: No module named 'loc3r_ros.msg'", "pose", "processed", "replaced", "map", "odom"}
"""Python's own words, and names."""


def said():
    """Return the quotations of the first columns."""
    first = re.findall(r"^\| ([^|]+) \|", PAGE, re.MULTILINE)
    return sorted({quote for cell in first for quote in re.findall(r"`([^`]+)`", cell)} - ELSEWHERE)


@pytest.fixture(scope="module")
def source():
    """Return all code, with strings that go on over lines in one piece."""
    text = "\n".join(path.read_text() for path in (ROOT / "loc3r_ros").rglob("*.py"))
    return re.sub(r'"\s*\n\s*f?"', "", text)


def test_there_are_quotations():
    assert len(said()) > 30


@pytest.mark.parametrize("quote", said())
def test_the_code_says_it(source, quote):
    assert quote in source
