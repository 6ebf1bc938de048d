"""Public checkpoints into our own folder, verified: LLaVA-Video, Loc3R-VLM and CUT3R."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from loc3r_ros.errors import CheckpointError
from loc3r_ros.model.checkpoint import (
    CONFIG_FILE,
    POSE_PRIOR_FILE,
    check_shapes,
    empty_model,
    load_pose_prior,
    save_pose_prior,
    shapes_of,
)
from loc3r_ros.model.checkpoint_files import TensorInfo, read, save_tensors, scan, write
from loc3r_ros.model.config import Loc3RConfig
from loc3r_ros.model.cut3r import Cut3R, load_cut3r_checkpoint
from loc3r_ros.model.hub_layout import config_from_hub, map_names, pose_prior_prefix
from loc3r_ros.model.loc3r import INITIAL_STD
from loc3r_ros.prompt.tokenizer import END_OF_TEXT, MESSAGE_END, ORIENTATION, POSITION, TextTokenizer, load_qwen2

NEWLINE = "model.image_newline"
"""A small tensor of every official checkpoint, which tells its type."""


@dataclass(frozen=True)
class Imported:
    """What an import made.

    Attributes:
        tensors: number of tensors copied.
        untrained: names of tensors that the checkpoint lacks and that were initialised at random.
        has_pose_prior: whether the folder has a pose prior now.
    """

    tensors: int
    untrained: tuple[str, ...]
    has_pose_prior: bool


def import_checkpoint(source: Path, out: Path) -> Imported:
    """Convert a public checkpoint into our own folder and verify it.

    Args:
        source: a Hugging Face folder of LLaVA-Video or Loc3R-VLM, or a file of CUT3R (`.pth`, `.safetensors`).
        out: our folder, made or completed: model and pose prior may be imported in either order.

    Raises:
        CheckpointError: where the checkpoint is none of these or does not fit; `out` may then be incomplete.
    """
    if source.is_dir():
        return import_hub(source, out)
    if source.is_file():
        return import_pose_prior(source, out)
    raise CheckpointError(f"There is no checkpoint at {source}: give a Hugging Face folder or a CUT3R file.")


def import_hub(source: Path, out: Path) -> Imported:
    """Convert a Hugging Face folder of LLaVA-Video or Loc3R-VLM."""
    if source.resolve() == out.resolve():
        raise CheckpointError(f"{source} cannot be converted into itself: choose another folder with --out.")
    infos = scan(source)
    prior = pose_prior_prefix(infos)
    infos_prior = {name: info for name, info in infos.items() if prior is not None and name.startswith(prior)}
    infos = {name: info for name, info in infos.items() if name not in infos_prior}
    tokenizer = load_qwen2(source)
    config = _config(source, out, infos, tokenizer)
    expected = shapes_of(empty_model(config))
    names = map_names({name: info.shape for name, info in infos.items()}, expected)
    untrained = tuple(name for name in expected if name not in set(names.values()))
    sample = next(read({NEWLINE: infos[NEWLINE]}))[NEWLINE]
    new = initial_tensors({name: expected[name] for name in untrained}, sample.dtype)
    write(out, _renamed(infos, names, new))
    config.save(out / CONFIG_FILE)
    tokenizer.save(out)
    verify(out, infos, names, expected)
    if prior:
        import_embedded_prior(infos_prior, prior, out)
    return Imported(len(names), untrained, (out / POSE_PRIOR_FILE).exists())


def import_pose_prior(source: Path, out: Path) -> Imported:
    """Convert a CUT3R checkpoint into the pose prior of our folder."""
    network = load_cut3r_checkpoint(source)
    out.mkdir(parents=True, exist_ok=True)
    config = Loc3RConfig.load(out / CONFIG_FILE) if (out / CONFIG_FILE).exists() else Loc3RConfig()
    _with_pose_prior(config, network).save(out / CONFIG_FILE)
    save_pose_prior(network, out)
    written = load_pose_prior(out).state_dict()
    for name, tensor in network.state_dict().items():
        _check_copy(name, tensor.cpu(), written[name])
    return Imported(len(written), (), True)


def _with_pose_prior(config: Loc3RConfig, network: Cut3R) -> Loc3RConfig:
    """Return the config with the network's sizes, and its own image size and route."""
    ours, theirs = config.pose_prior, network.config
    if ours.camera_dim != theirs.camera_dim:
        raise CheckpointError(
            f"The model in the folder takes camera tokens of width {ours.camera_dim}, but this pose prior gives "
            f"{theirs.camera_dim}: choose another folder with --out."
        )
    return replace(config, pose_prior=replace(theirs, image_size=ours.image_size, route=ours.route))


def import_embedded_prior(infos: Mapping[str, TensorInfo], prefix: str, out: Path) -> None:
    """Convert the pose prior that a checkpoint carries under a prefix."""
    tensors = {name.removeprefix(prefix): tensor for part in read(infos) for name, tensor in part.items()}
    with TemporaryDirectory(dir=out) as folder:
        file = Path(folder) / POSE_PRIOR_FILE
        save_tensors(file, tensors)
        import_pose_prior(file, out)


def _config(source: Path, out: Path, infos: Mapping[str, TensorInfo], tokenizer: TextTokenizer) -> Loc3RConfig:
    """Read the checkpoint's config, and take over the pose prior that the folder already has."""
    try:
        hub: Any = json.loads((source / CONFIG_FILE).read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{source / CONFIG_FILE} cannot be read: {error}.") from error
    special = [tokenizer.special(token) for token in (POSITION, ORIENTATION, MESSAGE_END, END_OF_TEXT)]
    config = config_from_hub(hub, {name: info.shape for name, info in infos.items()}, special)
    if (out / POSE_PRIOR_FILE).exists() and (out / CONFIG_FILE).exists():
        config = replace(config, pose_prior=Loc3RConfig.load(out / CONFIG_FILE).pose_prior)
    return config


def initial_tensors(shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return new weights (normal, the same each time) and biases (zero) for parts that a checkpoint lacks."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: (
            torch.zeros(shape) if name.endswith("bias") else torch.randn(shape, generator=generator) * INITIAL_STD
        ).to(dtype)
        for name, shape in shapes.items()
    }


def _renamed(
    infos: Mapping[str, TensorInfo], names: Mapping[str, str], new: Mapping[str, Tensor]
) -> Iterator[tuple[str, Tensor]]:
    for tensors in read(infos):
        for name, tensor in tensors.items():
            yield names[name], tensor
    yield from new.items()


def verify(
    out: Path, source: Mapping[str, TensorInfo], names: Mapping[str, str], expected: Mapping[str, tuple[int, ...]]
) -> None:
    """Read a converted folder again and compare every tensor with its source; CheckpointError where one differs."""
    written = scan(out)
    check_shapes({name: info.shape for name, info in written.items()}, expected, f" {out}")
    for tensors in read(source):
        ours = {names[name]: written[names[name]] for name in tensors}
        copies = {name: tensor for part in read(ours) for name, tensor in part.items()}
        for name, tensor in tensors.items():
            _check_copy(name, tensor, copies[names[name]])


def _check_copy(name: str, source: Tensor, copy: Tensor) -> None:
    if not torch.isfinite(source).all():
        raise CheckpointError(f"The checkpoint's tensor {name} holds numbers that are not finite: fetch it again.")
    if not torch.equal(source, copy.to(source.dtype)):
        raise CheckpointError(f"The converted tensor {name} differs from its source: is the disk full or faulty?")
