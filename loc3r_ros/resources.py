"""Where installed configuration and engines lie: a source tree, a pip installation or a ROS prefix."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from loc3r_ros.errors import ConfigError


def _roots() -> Iterator[Path]:
    yield Path(__file__).resolve().parent.parent
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        if prefix:
            yield Path(prefix) / "share" / "loc3r_ros"
    yield Path(sys.prefix) / "share" / "loc3r_ros"


def find_resource(name: str) -> Path:
    """Return the path of a shipped file or folder such as "config/nano_cpu.yaml".

    Raises:
        ConfigError: when no installation holds it.
    """
    for root in _roots():
        if (root / name).exists():
            return root / name
    raise ConfigError(
        f"'{name}' is part of loc3r_ros but was not found; installed folders: {', '.join(map(str, _roots()))}."
    )
