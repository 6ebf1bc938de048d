"""Which engines the demonstration runs on: those given, those shipped, else random ones, named as such."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from loc3r_ros.engines.manifest import Manifest
from loc3r_ros.errors import ConfigError, EngineError
from loc3r_ros.resources import find_resource

SHIPPED = "engines/nano"
RANDOM = "nano_random"


@dataclass(frozen=True)
class Choice:
    """Engines to use.

    Attributes:
        folder: absolute path; None for no model.
        text: what to call them.
        keyframes: how many keyframes they are made for.
    """

    folder: Path | None
    text: str
    keyframes: int = 32


def choose_engines(given: Path | None, cache: Path, tell: Callable[[str], object]) -> Choice:
    """Return the engines to use.

    Args:
        given: folder that the user named, if any.
        cache: folder in which random engines are kept.
        tell: told what takes long.

    Raises:
        EngineError: the given folder holds no engines.
    """
    if given is not None:
        return _choice(given, f"engines {given}")
    try:
        return _choice(find_resource(SHIPPED), f"the shipped {SHIPPED}")
    except ConfigError:
        return _random_engines(cache / RANDOM, tell)


def _random_engines(folder: Path, tell: Callable[[str], object]) -> Choice:
    """Return engines of nano's size with random weights, made where there are none yet."""
    try:
        Manifest.read(folder)
    except EngineError:
        tell(f"No trained engines ship yet: making some with random weights in {folder} (about 20 s, once) ...")
        command = [
            sys.executable,
            "-m",
            "loc3r_ros.cli",
            "export",
            "--random",
            "nano",
            "--no-check",
            "--out",
            str(folder),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            return Choice(None, f"no model, only keyframes ({done.stderr.strip()})")
    return _choice(folder, "RANDOM WEIGHTS: answers have the right form and no meaning")


def _choice(folder: Path, text: str) -> Choice:
    return Choice(folder.resolve(), text, Manifest.read(folder).video.frames)
