"""The file of a saved memory: named arrays, the engines they came from, nothing that could be executed."""

from __future__ import annotations

import json
import os
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from loc3r_ros.engines import EngineSet
from loc3r_ros.engines.protocol import Array
from loc3r_ros.errors import ConfigError, SessionError
from loc3r_ros.memory import Memory
from loc3r_ros.memory.saved import SavedMemory

FORMAT = 2
HEADER = "header"
NOTES = "notes"


def save(memory: Memory, engines: EngineSet, path: Path, notes: str) -> None:
    """Write a memory, whole or not at all; see `Localizer.save`."""
    header = {
        "format": FORMAT,
        "engines": str(engines.folder or ""),
        "fingerprint": engines.manifest.fingerprint,
        "name": engines.manifest.name,
    }
    arrays = memory.capture().arrays()
    scratch = path.with_name(f".{path.name}.part")  # one name: what a process that died left is written over
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("wb") as stream:
            texts = {HEADER: np.array(json.dumps(header)), NOTES: np.array(notes)}
            np.savez(stream, **texts, **arrays)  # type: ignore[arg-type]
            stream.flush()
            os.fsync(stream.fileno())  # before it takes the place of the last good one
        scratch.replace(path)
    except OSError as error:
        with suppress(OSError):
            scratch.unlink()
        raise SessionError(f"The memory could not be saved to {path}: {error.strerror or error}.") from error


def restore(memory: Memory, engines: EngineSet, path: Path, now: int | None) -> str:
    """Go on with a saved memory; see `Localizer.restore`."""
    header, arrays = _read(path)
    if header.get("fingerprint") != engines.manifest.fingerprint:
        raise SessionError(
            f"{path} was saved with other engines ({header.get('name')}, {header.get('fingerprint')}) than those that "
            f"run now ({engines.manifest.name}, {engines.manifest.fingerprint}): what one model has seen means nothing "
            f"to another. Load {header.get('engines') or 'the engines that saved it'}, or start a new memory."
        )
    try:
        memory.restore(SavedMemory.from_arrays(arrays).of_another_run(now))
        return str(arrays[NOTES])
    except ConfigError as error:
        raise SessionError(f"{path} does not fit this memory: {error}") from error
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise SessionError(f"{path} is damaged: {error!r}.") from error


def engines_of(path: Path) -> Path:
    """Return the folder of the engines that a memory was saved with."""
    folder = _read(path, only_header=True)[0].get("engines")
    if not folder:
        raise SessionError(f"{path} does not say where its engines lie: name them.")
    return Path(folder)


def _read(path: Path, only_header: bool = False) -> tuple[dict[str, Any], dict[str, Array]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            header = json.loads(str(file[HEADER]))
            names = [] if only_header else [name for name in file.files if name != HEADER]
            arrays = {name: file[name] for name in names}
    except FileNotFoundError as error:
        raise SessionError(f"There is no saved memory {path}.") from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise SessionError(f"{path} is no saved memory, or it is damaged: {error}.") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise SessionError(f"{path} was saved by another version of loc3r_ros: start a new memory.")
    return header, arrays
