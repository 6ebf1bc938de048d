"""Which engines the demonstration runs on: those given, else those that ship."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loc3r_ros.engines.manifest import Manifest
from loc3r_ros.resources import SHIPPED_ENGINES, find_engines


@dataclass(frozen=True)
class Choice:
    """Engines to use.

    Attributes:
        folder: absolute path.
        text: what to call them.
        keyframes: how many keyframes they are made for.
    """

    folder: Path
    text: str
    keyframes: int


def choose_engines(given: Path | None) -> Choice:
    """Return the engines to use.

    Args:
        given: folder that the user named, if any.

    Raises:
        EngineError: the folder holds no engines, or none was named and none is installed.
    """
    folder = find_engines(given)
    text = f"engines {given}" if given else f"the shipped {SHIPPED_ENGINES}"
    return Choice(folder.resolve(), text, Manifest.read(folder).video.frames)
