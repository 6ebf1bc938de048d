"""Scenes of a store as tensors on a device: on a GPU with room for all, a scene is brought once and stays there."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loc3r_ros.data.store import SceneStore

SHARE = 0.6
"""Of the GPU's free memory that scenes may take."""
BLOCK = 128
"""Scenes that are read at once."""
READERS = 8


K = TypeVar("K", bound=Hashable)
Shapes = Mapping[str, tuple[Sequence[int], torch.dtype]]
"""Shape and type of one scene's row, by name."""


class Rows(Generic[K]):
    """Tensors on a device, a row for each scene that was put there.

    Args:
        shapes: of the tensors.
        capacity: scenes that there is room for.
        device: where they stay.
    """

    def __init__(self, shapes: Shapes, capacity: int, device: torch.device) -> None:
        self.tensors = {
            name: torch.empty((capacity, *shape), dtype=dtype, device=device) for name, (shape, dtype) in shapes.items()
        }
        self._rows: dict[K, int] = {}

    def missing(self, keys: Sequence[K]) -> list[K]:
        """Return those of some scenes that are not there, each once."""
        return [key for key in dict.fromkeys(keys) if key not in self._rows]

    def put(self, keys: Sequence[K], arrays: Mapping[str, Tensor]) -> None:
        """Keep scenes that are not there yet, (len(keys), ...) each."""
        start = len(self._rows)
        for name, tensor in self.tensors.items():
            tensor[start : start + len(keys)].copy_(arrays[name])
        self._rows |= {key: start + number for number, key in enumerate(keys)}

    def take(self, keys: Sequence[K], frames: NDArray[np.intp]) -> dict[str, Tensor]:
        """Return (B, T, ...) the pictures at (B, T) or (T,) places of B scenes that are there."""
        device = next(iter(self.tensors.values())).device
        rows = torch.tensor([self._rows[key] for key in keys])[:, None].to(device, non_blocking=True)
        places = torch.from_numpy(np.ascontiguousarray(frames)).to(device, non_blocking=True)
        return {name: tensor[rows, places] for name, tensor in self.tensors.items()}


class Shelf:
    """Some fields of a store's scenes.

    Args:
        store: of the scenes.
        fields: of its records.
        capacity: scenes that stay on the device, if it is a GPU with room for them; 0 where each is asked for once.
        device: where tensors are wanted.
    """

    def __init__(self, store: SceneStore, fields: Sequence[str], capacity: int, device: torch.device) -> None:
        self.store, self.fields, self.device = store, tuple(fields), device
        frames, record = store.form.frames, store.form.record()
        shapes = {name: ((frames, *record[name].shape), tensor_type(record[name].base)) for name in self.fields}
        fits = capacity > 0 and has_room(shapes, capacity, device)
        self._rows: Rows[int] | None = Rows(shapes, capacity, device) if fits else None

    def take(self, seeds: Sequence[int], frames: NDArray[np.intp]) -> dict[str, Tensor]:
        """Return (B, T, ...) fields of the pictures at (B, T) or (T,) places of B scenes."""
        if self._rows is None:
            return self._read(seeds, np.broadcast_to(frames, (len(seeds), frames.shape[-1])))
        missing = self._rows.missing(seeds)
        for start in range(0, len(missing), BLOCK):
            block = missing[start : start + BLOCK]
            whole = np.tile(np.arange(self.store.form.frames), (len(block), 1))
            self._rows.put(block, self._read(block, whole))
        return self._rows.take(seeds, frames)

    def _read(self, seeds: Sequence[int], frames: NDArray[np.intp]) -> dict[str, Tensor]:
        with ThreadPoolExecutor(READERS) as readers:
            scenes = list(readers.map(self._read_one, seeds, frames))
        stacked = {name: np.stack([scene[name] for scene in scenes]) for name in self.fields}
        return {name: torch.from_numpy(array).to(self.device) for name, array in stacked.items()}

    def _read_one(self, seed: int, frames: NDArray[np.intp]) -> dict[str, NDArray]:
        records = self.store.read(seed)
        return {name: records[name][frames] for name in self.fields}


def has_room(shapes: Shapes, capacity: int, device: torch.device) -> bool:
    """Say whether a device is a GPU whose free memory has room for so many scenes."""
    if device.type != "cuda":
        return False
    scene = sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in shapes.values())
    return scene * capacity < SHARE * torch.cuda.mem_get_info(device)[0]


def tensor_type(dtype: np.dtype) -> torch.dtype:
    """Return torch's name of a NumPy type."""
    return torch.from_numpy(np.empty(0, dtype)).dtype
