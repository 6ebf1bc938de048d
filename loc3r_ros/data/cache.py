"""Features of frozen networks on disk: they are computed once for each scene, whatever the number of epochs."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class SceneFeatures(NamedTuple):
    """A scene as frozen networks see it.

    Attributes:
        vision: (N, grid * grid, width) float16 features of the vision tower.
        camera: (N, camera_dim) float16 camera tokens of the pose prior.
    """

    vision: NDArray[np.float16]
    camera: NDArray[np.float16]


@dataclass(frozen=True)
class FeatureCache:
    """A folder of scenes, one file each.

    Attributes:
        folder: of this `key` alone: a name made of the hash of the networks, the generator's version and the sizes.
    """

    folder: Path

    @classmethod
    def open(cls, root: Path, key: str) -> FeatureCache:
        """Return the cache of a key under a root folder, which is made if need be."""
        folder = root / key
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder)

    def get(self, seed: int) -> SceneFeatures | None:
        """Return a scene, or None where it is not there or its file is damaged."""
        try:
            with np.load(self._file(seed)) as arrays:
                return SceneFeatures(arrays["vision"], arrays["camera"])
        except (FileNotFoundError, EOFError, zipfile.BadZipFile, KeyError, ValueError):
            return None

    def put(self, seed: int, features: SceneFeatures) -> None:
        """Keep a scene; the file appears whole or not at all."""
        scratch = self.folder / f".{seed}-{os.getpid()}.npz"
        np.savez(scratch, **features._asdict())
        scratch.replace(self._file(seed))

    def _file(self, seed: int) -> Path:
        return self.folder / f"{seed}.npz"
