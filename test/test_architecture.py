"""The table of docs/architecture.md says who may import whom: this keeps it so."""

import ast
import re
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "loc3r_ros"
ANYTHING = {"all"}


def read_table() -> dict[str, tuple[set[str], set[str]]]:
    """Return part -> (our parts, third-party modules) that it may import."""
    rules = {}
    for line in (ROOT / "docs" / "architecture.md").read_text().splitlines():
        match = re.fullmatch(r"\| `(\w+)` \|([^|]*)\|([^|]*)\|([^|]*)\|", line)
        if match:
            ours, theirs = ({name.strip() for name in match[i].split(",") if name.strip()} for i in (3, 4))
            rules[match[1]] = (ours, theirs)
    return rules


RULES = read_table()
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            module = node.module or ""
            names |= {f"loc3r_ros.{alias.name}" for alias in node.names} if module == "loc3r_ros" else {module}
    return names


def forbidden_imports(part: str, names: set[str]) -> set[str]:
    ours, theirs = RULES[part]
    wrong = set()
    for name in names:
        top, _, rest = name.partition(".")
        if top in sys.stdlib_module_names or top == "__future__":
            continue
        if top == "loc3r_ros":
            imported = rest.partition(".")[0]
            is_generated = imported in {"msg", "srv", "action"}
            allowed = part == "ros" if is_generated else imported in ours | {part, "__version__"}
            if not allowed and ours != ANYTHING:
                wrong.add(name)
        elif theirs != ANYTHING and top not in theirs:
            wrong.add(name)
    return wrong


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_table(path):
    part = part_of(path)
    assert part in RULES, f"docs/architecture.md has no row for `{part}`"
    assert not forbidden_imports(part, imports_of(ast.parse(path.read_text())))


def test_the_rule_catches_a_wrong_import():
    assert forbidden_imports("geometry", {"torch", "numpy", "loc3r_ros.localizer"}) == {"torch", "loc3r_ros.localizer"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_stay_small(path):
    assert len(path.read_text().splitlines()) <= 430, "split it: a module has about 400 lines at most"


def test_pytest_passes_over_no_folder_of_tests(pytestconfig):
    skipped = pytestconfig.getini("norecursedirs")
    parts = {part for path in (ROOT / "test").rglob("test_*.py") for part in path.relative_to(ROOT).parent.parts}
    assert "build" in parts and not [part for part in parts if any(fnmatch(part, pattern) for pattern in skipped)]
