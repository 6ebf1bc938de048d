"""Packaging without ROS: `pip install .` gives the Python API and the `loc3r` command. colcon ignores this file."""

from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent


def shared_files() -> list[tuple[str, list[str]]]:
    """Install the folders config and engines under share/loc3r_ros, where colcon puts them too."""
    files = (path for folder in ("config", "engines") for path in (ROOT / folder).rglob("*") if path.is_file())
    by_folder: dict[str, list[str]] = {}
    for path in sorted(files):
        relative = path.relative_to(ROOT)
        by_folder.setdefault(f"share/loc3r_ros/{relative.parent.as_posix()}", []).append(relative.as_posix())
    return list(by_folder.items())


setup(data_files=shared_files())
