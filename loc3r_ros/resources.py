"""Where installed configuration and engines lie: a source tree, a pip installation or a ROS prefix."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from loc3r_ros.errors import ConfigError, EngineError

SHIPPED_ENGINES = "engines/nano"


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


def find_engines(folder: Path | None) -> Path:
    """Return the folder of engines that was named, or the one that ships.

    Raises:
        EngineError: none was named and none is installed.
    """
    if folder is not None:
        return folder
    try:
        return find_resource(SHIPPED_ENGINES)
    except ConfigError:
        raise EngineError(
            f"{SHIPPED_ENGINES} is not installed: name a folder with --engines. "
            "`loc3r export --random nano --out DIR` makes one with random weights, for trials."
        ) from None
