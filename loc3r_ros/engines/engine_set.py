"""All engines of one model, loaded: the graphs, the embedding table and the cache of the prompt's beginning."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loc3r_ros.engines import manifest as manifests
from loc3r_ros.engines.manifest import Manifest
from loc3r_ros.engines.protocol import Array, Backend, Engine
from loc3r_ros.errors import EngineError


def _onnxruntime(manifest: Manifest, folder: Path, threads: int) -> Backend:
    from loc3r_ros.engines.ort import OnnxRuntimeBackend

    return OnnxRuntimeBackend(threads)


def _tensorrt(manifest: Manifest, folder: Path, threads: int) -> Backend:
    from loc3r_ros.engines.trt import TensorRTBackend

    return TensorRTBackend(manifest, folder)


BACKENDS: dict[str, Callable[[Manifest, Path, int], Backend]] = {"onnxruntime": _onnxruntime, "tensorrt": _tensorrt}
"""Backends that load a folder, by their name in a manifest; each is imported when it is asked for."""


@dataclass(frozen=True)
class EngineSet:
    """What a localizer runs on.

    Attributes:
        manifest: sizes, names and calibration.
        backend: allocates the buffers that the engines read and write.
        pose_prior: image, state -> camera token, pose, new state.
        vision: image -> the tokens of a frame after its camera token.
        language: embeddings, cache -> heads and logits at chosen rows, new cache rows.
        embedding: (vocabulary, width) table.
        head: cache tensor name -> (head_tokens, kv_heads, head_dim): the prompt's fixed beginning.
        folder: where they were loaded from, or None.
    """

    manifest: Manifest
    backend: Backend
    pose_prior: Engine
    vision: Engine
    language: Engine
    embedding: Array
    head: dict[str, Array]
    folder: Path | None = None

    @classmethod
    def load(cls, folder: Path, threads: int = 0, hashes: bool = True) -> EngineSet:
        """Load a folder of engines.

        Args:
            folder: with a manifest.
            threads: of one run; 0 lets the backend decide.
            hashes: False checks sizes alone (see `Manifest.verify`).

        Raises:
            EngineError: the folder is missing, damaged, or for a backend that is not here.
        """
        manifest = Manifest.read(folder)
        manifest.verify(folder, hashes)
        if manifest.backend not in BACKENDS:
            raise EngineError(f"{folder} is for the backend {manifest.backend!r}; here are: {', '.join(BACKENDS)}.")
        try:
            backend = BACKENDS[manifest.backend](manifest, folder, threads)
        except ImportError as error:
            raise EngineError(f"{folder} needs a runtime that is not installed: {error}.") from error
        graphs = {name: backend.load(folder, spec) for name, spec in manifest.graphs.items()}
        embedding = np.load(folder / manifests.EMBEDDING_FILE, mmap_mode="r", allow_pickle=False)
        head = read_arrays(folder / manifests.HEAD_FILE)
        return cls(manifest, backend, **graphs, embedding=embedding, head=head, folder=folder)

    @property
    def prefix_rows(self) -> int | None:
        """Rows of the prefix's buffers, where the language graph's shapes are fixed; None where any number will do."""
        return self._fixed("prefix")

    @property
    def suffix_rows(self) -> int | None:
        """The same of the suffix."""
        return self._fixed("suffix")

    def _fixed(self, part: str) -> int | None:
        rows = self.language.spec.inputs[f"{part}_{self.manifest.language.cache_names[0]}"].shape[0]
        return rows if isinstance(rows, int) else None


def read_arrays(path: Path) -> dict[str, Array]:
    """Return the arrays of an npz file.

    Raises:
        EngineError: it is missing or no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise EngineError(f"{path} cannot be read: {error}.") from error
