"""Shared by all tests: where reference data lies, a private ROS domain, and how hypothesis draws."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

# Before any rclpy is imported: parallel runs on one machine must not see each other.
# The workers of one run inherit its environment, so each adds its own number.
_DOMAIN = int(os.environ.setdefault("LOC3R_TEST_DOMAIN", str(1 + os.getpid() % 90)))
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
os.environ["ROS_DOMAIN_ID"] = str(_DOMAIN + _WORKER)
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Fixed draws and no wall time: a red test is red on every machine.
settings.register_profile("loc3r", max_examples=60, deadline=None, derandomize=True)
settings.load_profile("loc3r")


def pytest_collection_modifyitems(items):
    """Leave out what this machine cannot run, with the reason."""
    shared = shared_folder()
    for item in items:
        if item.get_closest_marker("shared_data") and not shared.exists():
            item.add_marker(pytest.mark.skip(reason=f"no reference data in {shared}: set LOC3R_SHARED"))
        if item.get_closest_marker("gpu") and not has_cuda():
            item.add_marker(pytest.mark.skip(reason="no CUDA GPU"))


def shared_folder() -> Path:
    """Folder of the recorded walk and the reference fixtures."""
    return Path(os.environ.get("LOC3R_SHARED", ROOT.parent / "shared"))


def has_cuda() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def shared() -> Path:
    return shared_folder()


@pytest.fixture(scope="session")
def engine_folder(tmp_path_factory):
    """Return a function: size and precision -> folder of engines with random weights, made once."""
    made: dict[tuple[str, str], Path] = {}

    def make(size: str = "tiny", precision: str = "fp32") -> Path:
        if (size, precision) not in made:
            from loc3r_ros.export.folder import export_engines
            from loc3r_ros.export.source import random_source
            from loc3r_ros.model.config import preset

            folder = tmp_path_factory.mktemp("engines") / f"{size}_{precision}"
            export_engines(random_source(preset(size)), folder, precision)
            made[size, precision] = folder
        return made[size, precision]

    return make
