"""Our own folder of a model: `config.json`, safetensors of the model and of its pose prior, `tokenizer.json`.

A folder in which training has begun holds the vision tower by itself, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from loc3r_ros.errors import CheckpointError
from loc3r_ros.model.checkpoint_files import read, save_tensors, scan, scan_file, write
from loc3r_ros.model.config import Loc3RConfig
from loc3r_ros.model.cut3r import Cut3R, load_cut3r_checkpoint
from loc3r_ros.model.hub_layout import check_names
from loc3r_ros.model.loc3r import Loc3R
from loc3r_ros.model.vision import VisionTower

CONFIG_FILE = "config.json"
POSE_PRIOR_FILE = "pose_prior.safetensors"
VISION_FILE = "vision.safetensors"


def empty_model(config: Loc3RConfig) -> Loc3R:
    """Build a model without memory for its parameters (meta device)."""
    with torch.device("meta"):
        return Loc3R(config)


def load_model(folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> Loc3R:
    """Load a model from our own folder, file by file and without a second copy.

    Args:
        folder: what `save_model` or `loc3r import` wrote.
        device: where the parameters go.
        dtype: their type; as stored where None. On the CPU, parameters whose type stays are memory-mapped.

    Raises:
        ConfigError: where `config.json` is missing or wrong.
        CheckpointError: where tensors are missing, unexpected or mis-shaped, or a file is damaged.
    """
    model = empty_model(Loc3RConfig.load(folder / CONFIG_FILE))
    infos = scan(folder)
    check_shapes({name: info.shape for name, info in infos.items()}, shapes_of(model), f" {folder}")
    for tensors in read(infos):
        moved = {name: tensor.to(device=device, dtype=dtype) for name, tensor in tensors.items()}
        model.load_state_dict(moved, strict=False, assign=True)
    return model.eval()


def save_model(model: Loc3R, folder: Path) -> None:
    """Write config and weights of a model into a folder."""
    write(folder, ((name, tensor.detach().cpu()) for name, tensor in model.state_dict().items()))
    model.config.save(folder / CONFIG_FILE)


def load_pose_prior(folder: Path, dtype: torch.dtype = torch.float32) -> Cut3R:
    """Load the pose prior from our own folder; CheckpointError where it is missing or does not fit."""
    file = folder / POSE_PRIOR_FILE
    if not file.exists():
        raise CheckpointError(
            f"{folder} has no {POSE_PRIOR_FILE}: import a CUT3R file with `loc3r import CUT3R.pth --out {folder}`."
        )
    return load_cut3r_checkpoint(file, Loc3RConfig.load(folder / CONFIG_FILE).pose_prior, dtype)


def save_pose_prior(network: Cut3R, folder: Path) -> None:
    """Write the pose prior's weights into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    save_tensors(folder / POSE_PRIOR_FILE, tensors)


def load_vision(folder: Path) -> VisionTower:
    """Load a trained vision tower, in float32; CheckpointError where it is missing or does not fit."""
    file = folder / VISION_FILE
    if not file.exists():
        raise CheckpointError(f"{folder} has no {VISION_FILE}: train it first, with `loc3r train vision`.")
    tower = VisionTower(Loc3RConfig.load(folder / CONFIG_FILE).vision)
    infos = scan_file(file)
    check_shapes({name: info.shape for name, info in infos.items()}, shapes_of(tower), f" {file}")
    for tensors in read(infos):
        tower.load_state_dict(tensors)
    return tower.eval()


def save_vision(tower: VisionTower, folder: Path) -> None:
    """Write the vision tower's weights into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(folder / VISION_FILE, {name: tensor.detach().cpu() for name, tensor in tower.state_dict().items()})


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of a module's parameters and buffers."""
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def check_shapes(found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Raise CheckpointError, naming the tensors, unless names and shapes are those expected."""
    check_names(
        missing=set(expected) - set(found),
        unexpected=set(found) - set(expected),
        wrong=[
            f"{name} is {list(found[name])} instead of {list(expected[name])}"
            for name in set(found) & set(expected)
            if found[name] != expected[name]
        ],
        where=where,
    )
