"""docs/command_line.md has a row for every verb, with the first line of its help."""

import re
import shlex
from pathlib import Path

import pytest

from loc3r_ros import cli

PAGE = Path(__file__).resolve().parents[2] / "docs" / "command_line.md"


def rows():
    """Return verb -> what the page's table says of it."""
    return dict(re.findall(r"^\| `loc3r ([\w-]+)` \| (.*?) \|", PAGE.read_text(), re.MULTILINE))


def test_the_table_has_every_verb_and_no_other():
    assert sorted(rows()) == sorted(cli.verbs()), f"the table in {PAGE.name} and the verbs differ"


@pytest.mark.parametrize(("verb", "name"), cli.verbs().items())
def test_a_row_says_what_the_help_says(verb, name):
    assert rows().get(verb) == cli.load(name).__doc__.strip().splitlines()[0]


@pytest.mark.parametrize("verb", ["where", "ask", "label", "run"])
def test_examples_of_the_page_are_understood(verb):
    examples = re.findall(rf"^loc3r {verb}\b.*$", PAGE.read_text(), re.MULTILINE)
    assert examples, f"the page shows no example of loc3r {verb}"
    for example in examples:
        assert cli.build_parser().parse_args(shlex.split(example, comments=True)[1:]).verb == verb
