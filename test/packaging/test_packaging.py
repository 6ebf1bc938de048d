"""The package's files agree with each other, and `pip install` works without ROS."""

import ast
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import loc3r_ros

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = (ROOT / "pyproject.toml").read_text()
REQUIREMENT_FILES = sorted((ROOT / "dev").glob("requirements*.txt"))


def test_one_version_everywhere():
    manifest = ElementTree.parse(ROOT / "package.xml")
    assert manifest.findtext("version") == loc3r_ros.__version__
    assert f'version = "{loc3r_ros.__version__}"' in PYPROJECT


def test_package_xml_is_complete_for_a_release():
    manifest = ElementTree.parse(ROOT / "package.xml").getroot()
    for tag in ("name", "version", "description", "maintainer", "license", "url", "author"):
        assert manifest.findtext(tag), f"<{tag}> is missing"
    assert manifest.findtext("member_of_group") == "rosidl_interface_packages"
    assert manifest.findtext("export/build_type") == "ament_cmake"
    assert {url.get("type") for url in manifest.findall("url")} == {"website", "repository", "bugtracker"}


def test_package_xml_names_every_ros_module_that_is_imported():
    manifest = ElementTree.parse(ROOT / "package.xml").getroot()
    named = {element.text for element in manifest if element.tag.endswith("depend")}
    provided_by = {"tf2_ros": "tf2_ros_py"}
    used = set()
    for path in (ROOT / "loc3r_ros" / "ros").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            used |= {name.partition(".")[0] for name in names}
    ros_modules = {
        name for name in used if name in {"rclpy", "tf2_ros"} or name.endswith(("_msgs", "_interfaces", "_srvs"))
    }
    assert {provided_by.get(name, name) for name in ros_modules} <= named


def test_every_interface_is_built():
    cmake = (ROOT / "CMakeLists.txt").read_text()
    for path in [*ROOT.glob("msg/*.msg"), *ROOT.glob("srv/*.srv"), *ROOT.glob("action/*.action")]:
        assert str(path.relative_to(ROOT)) in cmake


def pinned_names(path: Path) -> set[str]:
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return {re.split(r"[\[=<>;]", line)[0].strip().lower() for line in lines if line}


@pytest.mark.parametrize("origin", ["requirements-ros.txt", "requirements-system-ros.txt"])
def test_every_dependency_is_pinned(origin):
    pinned = pinned_names(ROOT / "dev" / origin) | pinned_names(ROOT / "dev" / "requirements.txt")
    declared = re.findall(r'^\s*"([A-Za-z0-9_-]+)>=', PYPROJECT, re.MULTILINE)
    assert len(declared) > 8
    assert {name.lower() for name in declared} - {"setuptools"} <= pinned


def test_pins_are_exact():
    for path in REQUIREMENT_FILES:
        for line in path.read_text().splitlines():
            requirement = line.split("#")[0].strip()
            assert not requirement or "==" in requirement or requirement == "setuptools<80", (
                f"{path.name}: {requirement}"
            )


@pytest.mark.slow
def test_pip_install_gives_the_api_and_the_command_without_ros(tmp_path):
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target"]
    copy = tmp_path / "source"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(copy)], check=True)
    subprocess.run([*install, str(target), str(copy)], check=True)
    code = "import sys, loc3r_ros, loc3r_ros.cli; print(loc3r_ros.__file__); print('rclpy' in sys.modules)"
    env = {"PYTHONPATH": str(target), "PATH": "/usr/bin:/bin", "_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    where, has_rclpy = done.stdout.split()
    assert Path(where).is_relative_to(target)
    assert has_rclpy == "False"
    assert (target / "bin" / "loc3r").exists()
    shown = subprocess.run(
        [target / "bin" / "loc3r", "--version"], env=env, cwd=tmp_path, capture_output=True, text=True
    )
    assert shown.stdout.strip() == loc3r_ros.__version__
    assert (target / "share" / "loc3r_ros" / "config" / "fastdds_large_images.xml").exists()
