"""The robot never needs the synthetic world: nothing that its node can import leads to it, nor to numba."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("localizer", "memory", "engines", "prompt", "keyframes", "alignment", "images", "geometry", "bags")


def file_of(module):
    """Return the source of one of our modules, None for what is no module of ours."""
    path = ROOT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def imports_of(file):
    """Yield the modules that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def reachable_from(files):
    """Return all modules that files import, ours followed."""
    found, waiting = set(), list(files)
    while waiting:
        for module in set(imports_of(waiting.pop())) - found:
            found.add(module)
            if module.startswith("loc3r_ros") and (file := file_of(module)) is not None:
                waiting.append(file)
    return found


def sources_of(part):
    path = ROOT / "loc3r_ros" / part
    return sorted(path.rglob("*.py")) or [file for file in [path.with_suffix(".py")] if file.is_file()]


def wrong_modules(modules):
    return {module for module in modules if f"{module}.".startswith(("loc3r_ros.world.", "numba."))}


def test_the_node_does_not_lead_to_the_world():
    node = ROOT / "loc3r_ros" / "ros" / "node.py"
    assert not wrong_modules(reachable_from([node]))


@pytest.mark.parametrize("part", PARTS)
def test_no_part_of_the_robot_leads_to_the_world(part):
    assert not wrong_modules(reachable_from(sources_of(part)))


def test_the_check_follows_imports():
    assert wrong_modules(reachable_from([ROOT / "loc3r_ros" / "benchmarks" / "world.py"]))
