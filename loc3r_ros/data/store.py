"""Rendered scenes, kept on disk: a scene is rendered when it is first asked for, and all stages of training read it.

A scene is one file of `SceneForm.record()` for each picture, and its texts as JSON. A folder under /dev/shm keeps them
in memory.
"""

from __future__ import annotations

import os
import threading
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loc3r_ros.data.dense import dense_targets
from loc3r_ros.data.scenes import SceneTruth, make_truth
from loc3r_ros.data.seeds import with_room
from loc3r_ros.world.generate import GENERATOR_VERSION
from loc3r_ros.world.questions import Question
from loc3r_ros.world.sample import Sample, make_sample

FORMAT = 1
"""Of the files; raise it when what they hold changes."""
_header = threading.Lock()
"""NumPy reads a file's header with `ast`, which CPython 3.11 does not always survive in two threads at once
("SystemError: AST constructor recursion depth mismatch", https://github.com/python/cpython/issues/106905)."""


@dataclass(frozen=True)
class SceneForm:
    """How scenes are shown.

    Attributes:
        frames: pictures of a walk.
        size: side of a picture, pixels.
        patches: patch tokens along a side, of which the bird's-eye view is known.
        patch_pixels: side of the square that a patch token sees; pixels beyond the last patch belong to none.
        cells: places along a side of which category, colour and normal are known.
        cell_pixels: side of such a cell; pixels beyond the last cell belong to none.
        situations: the most described observers.
    """

    frames: int
    size: int
    patches: int
    patch_pixels: float
    cells: int
    cell_pixels: float
    situations: int

    def record(self) -> np.dtype:
        """Return how a picture and its truth are kept: see `Sample`, `DenseTargets` and `SceneTruth`."""
        cells, patches = (self.cells, self.cells), (self.patches, self.patches)
        fields: list[tuple[Any, ...]] = [
            ("pose", "<f8", (4, 4)),
            ("layout", "<f4", (*patches, 2)),
            ("depth", "<f2", (self.size, self.size)),
            ("normal", "<f2", (*cells, 3)),
            ("cell_depth", "<f2", cells),
            ("rgb", "u1", (self.size, self.size, 3)),
            ("category", "i1", cells),
            ("colour", "i1", cells),
            ("layout_valid", "?", patches),
        ]
        return np.dtype(fields, align=True)

    @property
    def name(self) -> str:
        """Of the folder that holds such scenes and no others."""
        return "-".join(["scenes", *map(str, (FORMAT, GENERATOR_VERSION, *astuple(self)))])


@dataclass(frozen=True)
class SceneStore:
    """A folder of scenes of one form."""

    folder: Path
    form: SceneForm

    @classmethod
    def open(cls, root: Path, form: SceneForm) -> SceneStore:
        """Return the store of a form under a root folder, which is made if need be."""
        folder = root / form.name
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder, form)

    def has(self, seed: int) -> bool:
        """Say whether a scene was rendered."""
        return self._pictures(seed).exists()

    def keep(self, seed: int) -> None:
        """Render the scene of a seed, or of the next one that leaves room to walk in, unless it is there."""
        if self.has(seed):
            return
        sample = with_room(seed, self._render)
        scratch = self.folder / f".{seed}-{os.getpid()}"
        scratch.write_text(make_truth(sample).text_to_json())
        scratch.replace(self._text(seed))
        with scratch.open("wb") as file:
            np.save(file, pictures(sample, self.form))
        scratch.replace(self._pictures(seed))  # the last file, which appears whole or not at all, makes the scene

    def read(self, seed: int) -> NDArray[np.void]:
        """Return the (frames,) records of a scene as a view of its file."""
        self.keep(seed)
        with _header:
            return np.load(self._pictures(seed), mmap_mode="r")

    def truth(self, seed: int) -> SceneTruth:
        """Return what is true of a scene."""
        records = self.read(seed)
        return SceneTruth.from_parts(self._text(seed).read_text(), records["layout"], records["layout_valid"])

    def questions(self, seed: int) -> tuple[Question, ...]:
        """Return the questions of a scene."""
        return self.truth(seed).questions

    def _render(self, seed: int) -> Sample:
        form = self.form
        grid, extent = (form.patches,) * 2, round(form.patches * form.patch_pixels)
        return make_sample(
            seed,
            frames=form.frames,
            width=form.size,
            height=form.size,
            grid=grid,
            situations=form.situations,
            extent=extent,
        )

    def _pictures(self, seed: int) -> Path:
        return self.folder / f"{seed}.npy"

    def _text(self, seed: int) -> Path:
        return self.folder / f"{seed}.json"


def pictures(sample: Sample, form: SceneForm) -> NDArray[np.void]:
    """Return the records of a scene."""
    dense = dense_targets(sample, form.cells, form.cell_pixels)
    records = np.empty(form.frames, form.record())
    records["pose"], records["rgb"], records["depth"] = sample.world_t_camera, sample.frames.rgb, sample.frames.depth
    records["layout"], records["layout_valid"] = sample.layout.position, sample.layout.valid
    records["category"], records["colour"] = dense.category, dense.colour
    records["normal"], records["cell_depth"] = dense.normal, dense.depth
    return records
