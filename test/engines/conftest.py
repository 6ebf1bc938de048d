"""Packages whose interfaces our GPU code is checked against; none of them is installed, for none could run here."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "loc3r_ros" / "contracts"


@pytest.fixture(scope="session")
def package_file():
    """Return a function: pinned requirement -> its wheel or source archive, from a cache outside the tree."""

    def fetch(requirement, *options):
        folder = CACHE / f"{requirement}-py{sys.version_info.major}{sys.version_info.minor}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                download(requirement, options, folder)
        return next(folder.iterdir())

    return fetch


def download(requirement, options, folder):
    """Fetch with pip, or skip the test with the reason."""
    scratch = folder.with_suffix(".part")
    shutil.rmtree(scratch, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    try:
        done = subprocess.run(
            [*command, *options, "--dest", str(scratch), requirement], capture_output=True, text=True, timeout=180
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"{requirement} could not be downloaded within three minutes")
    if done.returncode:
        pytest.skip(f"{requirement} cannot be had here: {(done.stderr.strip().splitlines() or ['no reason'])[-1]}")
    scratch.rename(folder)
