"""A folder of engines for onnxruntime, written whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from loc3r_ros.engines import Manifest
from loc3r_ros.engines.manifest import EMBEDDING_FILE, FILE_NAME, HEAD_FILE, describe_files
from loc3r_ros.engines.protocol import Array
from loc3r_ros.errors import ConfigError
from loc3r_ros.export.onnx_files import write_graph
from loc3r_ros.export.source import Source

BITS: dict[str, dict[str, int]] = {
    "fp32": {},
    "fp16": {},
    "int8": {"pose_prior": 8, "vision": 8, "language": 8},
    "int4": {"pose_prior": 8, "vision": 8, "language": 4},
}
"""Precision of engines for onnxruntime -> graph -> bits of its weights, where they are quantised."""


def export_engines(
    source: Source,
    folder: Path,
    precision: str = "fp32",
    fixed_frames: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Manifest:
    """Write a folder of engines for onnxruntime. The model is converted to `precision` in place.

    The folder appears whole or not at all; one that is there is replaced.

    Args:
        source: the model, on the CPU.
        folder: to make.
        precision: one of `BITS`.
        fixed_frames: keyframes for which the cache's shapes are fixed; None leaves them variable, which is faster here
            but not for every compiler.
        progress: is told what is being written.

    Raises:
        ConfigError: an unknown precision, or `folder` is something else.
    """
    if precision not in BITS:
        raise ConfigError(f"Engines for onnxruntime are {', '.join(BITS)}, not {precision!r}.")
    if folder.exists() and any(folder.iterdir()) and not (folder / FILE_NAME).exists():
        raise ConfigError(f"{folder} holds something else than engines: choose another folder.")
    manifest = source.manifest("onnxruntime", precision, fixed_frames)
    source.convert(precision)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        made = Path(scratch)
        write_engines(source, manifest, made, progress)
        manifest = replace(manifest, files=describe_files(made))
        (made / FILE_NAME).write_text(manifest.to_json())
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
        made.mkdir()  # the context removes it
    folder.chmod(0o755)
    return manifest


def write_engines(source: Source, manifest: Manifest, folder: Path, progress: Callable[[str], None]) -> None:
    """Write every file but the manifest."""
    for name, module in source.graphs().items():
        progress(f"{manifest.graphs[name].file} ({manifest.precision})")
        write_graph(module, manifest.graphs[name], folder, BITS[manifest.precision].get(name))
    np.save(folder / EMBEDDING_FILE, host(source.model.language.embed_tokens.weight))
    arrays = {name: host(tensor) for name, tensor in source.head_cache().items()}
    np.savez(folder / HEAD_FILE, **arrays)  # type: ignore[arg-type]
    source.tokenizer.save(folder)


def host(tensor: Tensor) -> Array:
    """Return a tensor's values without a copy where it lies in host memory."""
    return tensor.detach().cpu().numpy()
