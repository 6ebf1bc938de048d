"""What compiled engines were compiled for; where any of it differs, they must be compiled again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from loc3r_ros.engines.manifest import Manifest
from loc3r_ros.errors import EngineError

COMMAND = "command"
"""Entry of `Manifest.build` beside the key: the command that made the folder."""
PARTS = {
    "model": "hash of the model",
    "precision": "precision",
    "shapes": "hash of the graphs' shapes",
    "tensorrt": "version of TensorRT",
    "compute_capability": "compute capability of the GPU",
}


def build_key(manifest: Manifest, tensorrt: str, compute_capability: str) -> dict[str, str]:
    """Return the key of engines: hash of the model, precision, hash of all shapes, TensorRT and GPU.

    Args:
        manifest: its graphs' files may have any names, for ONNX and compiled engines differ in them.
        tensorrt: version in full, as a compiled engine runs on no other.
        compute_capability: such as "8.7".
    """
    graphs = {name: {**asdict(spec), "file": ""} for name, spec in manifest.graphs.items()}
    shapes = json.dumps([graphs, manifest.dimensions], sort_keys=True)
    return {
        "model": manifest.model,
        "precision": manifest.precision,
        "shapes": hashlib.sha256(shapes.encode()).hexdigest()[:16],
        "tensorrt": tensorrt,
        "compute_capability": compute_capability,
    }


def differences(found: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """Return a phrase for every part of a key that is not as wanted."""
    return [
        f"the {phrase} is {found.get(part, 'unknown')} instead of {wanted[part]}"
        for part, phrase in PARTS.items()
        if found.get(part) != wanted[part]
    ]


def check_build(manifest: Manifest, folder: Path, tensorrt: str, compute_capability: str) -> None:
    """Refuse compiled engines that were made for something else.

    Raises:
        EngineError: says which parts differ and the command that compiles them again.
    """
    wrong = differences(manifest.build, build_key(manifest, tensorrt, compute_capability))
    if wrong:
        command = manifest.build.get(COMMAND, f"loc3r build ENGINES --out {folder}")
        raise EngineError(
            f"The engines in {folder} were not built for this machine: {'; '.join(wrong)}. Build them again: {command}"
        )
