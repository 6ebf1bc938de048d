"""The pages hang together: every relative link leads to a file."""

import argparse
import re
from pathlib import Path

import pytest

from loc3r_ros.commands import replay

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    broken = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert not broken


def test_every_page_can_be_reached_from_the_readme():
    linked = {Path(link).name for page in PAGES for link in LINK.findall(page.read_text())}
    assert {page.name for page in PAGES} - linked <= {"README.md"}


def test_the_page_of_replay_has_its_options():
    parser = argparse.ArgumentParser()
    replay.add_arguments(parser)
    options = {text for action in parser._actions for text in action.option_strings} - {"-h", "--help"}
    page = (ROOT / "docs" / "replay.md").read_text()
    assert set(re.findall(r"^\| `(--[\w-]+)", page, re.MULTILINE)) == options
