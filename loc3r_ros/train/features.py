"""What frozen networks see of scenes: computed once for each scene, then kept on the GPU or on disk."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loc3r_ros.data.cache import FeatureCache, SceneFeatures
from loc3r_ros.data.store import SceneStore
from loc3r_ros.model.config import Loc3RConfig
from loc3r_ros.train.shelf import Rows, Shelf, has_room
from loc3r_ros.train.towers import FrozenTowers

AT_ONCE = 1024
"""Scenes that a GPU looks at together: the pose prior takes their frames one after the other."""


class View(NamedTuple):
    """A scene, or what a mirror shows of it."""

    seed: int
    mirrored: bool = False


class FeatureShelf:
    """Features of a store's scenes.

    Args:
        towers: the frozen networks, on their device.
        store: of the scenes.
        config: of the model.
        capacity: views that will be asked for in all.
        device: where the features are wanted.
    """

    def __init__(
        self, towers: FrozenTowers, store: SceneStore, config: Loc3RConfig, capacity: int, device: torch.device
    ) -> None:
        self.towers, self.device = towers, device
        self.pictures = Shelf(store, ["rgb"], 0, device)
        self.whole = np.arange(store.form.frames)
        shapes = {
            "vision": ((store.form.frames, config.vision.grid**2, config.vision.hidden_size), torch.float16),
            "camera": ((store.form.frames, config.pose_prior.camera_dim), torch.float16),
        }
        fits = has_room(shapes, capacity, device)
        self._rows: Rows[View] | None = Rows(shapes, capacity, device) if fits else None

    @cached_property
    def _cache(self) -> FeatureCache:
        store = self.pictures.store
        return FeatureCache.open(store.folder / "features", self.towers.key(store.form.frames))

    def take(self, views: Sequence[View], frames: NDArray[np.intp]) -> tuple[Tensor, Tensor]:
        """Return (B, T, grid * grid, width) features and (B, T, camera_dim) camera tokens of T frames of B views."""
        if self._rows is None:
            scenes = [self._kept(view) for view in views]
            parts = (np.stack([part[frames] for part in field]) for field in zip(*scenes, strict=True))
            vision, camera = (torch.from_numpy(part).to(self.device) for part in parts)
            return vision, camera
        self.bring(views)
        taken = self._rows.take(views, frames)
        return taken["vision"], taken["camera"]

    def bring(self, views: Sequence[View]) -> None:
        """Compute the features of views that are not on the GPU yet; does nothing where they are kept on disk."""
        missing = self._rows.missing(views) if self._rows else []
        for start in range(0, len(missing), AT_ONCE):
            block = missing[start : start + AT_ONCE]
            vision, camera = self._see(block)
            self._rows.put(block, {"vision": vision, "camera": camera})  # type: ignore[union-attr]

    def _kept(self, view: View) -> SceneFeatures:
        number = ~view.seed if view.mirrored else view.seed
        kept = self._cache.get(number)
        if kept is None:
            kept = SceneFeatures(*(features[0].cpu().numpy() for features in self._see([view])))
            self._cache.put(number, kept)
        return kept

    def _see(self, views: Sequence[View]) -> tuple[Tensor, Tensor]:
        seeds = list(dict.fromkeys(view.seed for view in views))
        rgb = self.pictures.take(seeds, self.whole)["rgb"]
        pictures = rgb[torch.tensor([seeds.index(view.seed) for view in views]).to(rgb.device)]
        chosen = torch.tensor([view.mirrored for view in views]).to(rgb.device)[:, None, None, None, None]
        return self.towers.see(torch.where(chosen, pictures.flip(3), pictures))
