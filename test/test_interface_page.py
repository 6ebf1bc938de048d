"""docs/interfaces.md has a table for every message, service and action, made of their definitions."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "interfaces.md"
FILES = [path for kind in ("msg", "srv", "action") for path in sorted((ROOT / kind).glob(f"*.{kind}"))]
PARTS = {"msg": [""], "srv": ["request", "response"], "action": ["goal", "result", "feedback"]}


def section(path):
    """Return the section of a definition: its first comment, then a table of its fields for each part."""
    head, rest = re.fullmatch(r"((?:#[^\n]*\n)+)(?:\n|(?=---))(.*)", path.read_text(), re.DOTALL).groups()
    lines = [f"### {path.stem}", "", joined(head.splitlines()), ""]
    for name, part in zip(PARTS[path.suffix[1:]], re.split(r"^---$", rest, flags=re.MULTILINE), strict=True):
        rows = [f"| `{field}` | {kind} | {comment} |" for kind, field, comment in fields(part)]
        header = f"| {name or 'field'} | type | |"
        lines += [header, "| --- | --- | --- |", *(rows or ["| | | empty |"]), ""]
    return "\n".join(lines).strip()


def joined(comments):
    return " ".join(line.removeprefix("#").strip() for line in comments)


def fields(part):
    """Yield the type, name and comment of each field; the comment stands above it."""
    comments = []
    for line in part.strip().splitlines():
        if line.startswith("#"):
            comments.append(line)
        elif line.strip():
            kind, name = line.split()
            yield kind, name, joined(comments)
            comments = []


def test_there_are_definitions():
    assert len(FILES) >= 8


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_page_has_the_definition(path):
    assert section(path) in PAGE.read_text(), f"put this into {PAGE.name}:\n{section(path)}"


def test_the_page_has_no_other():
    assert re.findall(r"^### (\w+)$", PAGE.read_text(), re.MULTILINE) == [path.stem for path in FILES]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_field_is_commented(path):
    rows = re.findall(r"^\| `\w+` \| \S+ \|(.*)\|$", section(path), re.MULTILINE)
    assert all(comment.strip() for comment in rows)


if __name__ == "__main__":  # writes the page anew
    titles = {"msg": "Messages", "srv": "Services", "action": "Action"}
    note = "Made from the definitions by `python test/test_interface_page.py`; a test keeps it so."
    parts = ["# Messages, services and the action", note]
    for kind, title in titles.items():
        parts += [f"## {title}", *(section(path) for path in FILES if path.suffix == f".{kind}")]
    PAGE.write_text("\n\n".join(parts) + "\n")
