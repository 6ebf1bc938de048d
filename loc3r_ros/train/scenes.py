"""The store of a run: scenes in the form in which a model looks at them."""

from __future__ import annotations

import json
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from tqdm import tqdm

from loc3r_ros.data.store import SceneForm, SceneStore
from loc3r_ros.model.config import Loc3RConfig
from loc3r_ros.train.config import DataConfig
from loc3r_ros.world.balance import Balancer

CELLS = 2
"""Places along a side of the vision tower's patches of which category, colour and normal are known."""
_AT_ONCE = 8
_scratch: list[TemporaryDirectory[str]] = []


def form_of(model: Loc3RConfig, data: DataConfig) -> SceneForm:
    """Return how a model looks at the scenes of a recipe."""
    vision = model.vision
    return SceneForm(
        frames=data.walk_frames,
        size=vision.image_size,
        patches=model.pooled_grid,
        patch_pixels=model.pixels_per_patch,
        cells=CELLS * vision.grid,
        cell_pixels=vision.patch_size / CELLS,
        situations=data.situations,
    )


def open_store(model: Loc3RConfig, data: DataConfig) -> SceneStore:
    """Return the store of a recipe; without a cache its folder goes when the process ends."""
    root = data.cache
    if not root:
        _scratch.append(TemporaryDirectory(prefix="loc3r_scenes_"))
        root = _scratch[-1].name
    return SceneStore.open(Path(root), form_of(model, data))


def render_scenes(store: SceneStore, data: DataConfig) -> int:
    """Render all scenes of a recipe, ahead of its training, and return how many were not there yet.

    Stages do it by themselves as they go; a machine with many cores and a fast GPU does it first.
    """
    seeds = [*data.validation_seeds(), *data.seeds()]
    missing = [seed for seed in seeds if not store.has(seed)]
    bar = tqdm(desc="scenes", total=len(missing), unit="scene", dynamic_ncols=True)
    if not missing:
        return 0
    store.keep(missing[0])  # compiles the renderer before there are many processes
    with bar, ProcessPoolExecutor(max(1, data.workers)) as pool:
        for _ in pool.map(store.keep, missing, chunksize=_AT_ONCE):
            bar.update()
    return len(missing)


def balanced_questions(store: SceneStore, data: DataConfig) -> dict[int, list[int]]:
    """Return, for each scene of a recipe, which of its questions keep the answers in balance (see `Balancer`).

    Training and validation scenes are balanced by themselves, in the order of their seeds, and the choice is kept.
    """
    taken: dict[int, list[int]] = {}
    for seeds in (data.validation_seeds(), data.seeds()):
        file = store.folder / f"balance-{seeds.start}-{seeds.stop}.json"
        if not file.exists():
            scratch = file.with_suffix(f".{os.getpid()}")
            scratch.write_text(json.dumps(_balance(store, seeds, data.workers)))
            scratch.replace(file)
        taken |= {int(seed): numbers for seed, numbers in json.loads(file.read_text()).items()}
    return taken


def _balance(store: SceneStore, seeds: range, workers: int) -> dict[int, list[int]]:
    balancer = Balancer()
    with ProcessPoolExecutor(max(1, workers)) as pool:
        scenes = pool.map(store.questions, seeds, chunksize=_AT_ONCE)
        return {
            seed: [number for number, question in enumerate(questions) if balancer.take(question)]
            for seed, questions in tqdm(zip(seeds, scenes, strict=True), desc="balance", total=len(seeds), unit="scene")
        }
