"""A model without its values: the manifest and the sizes of the weights of any size of model, in a second."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from loc3r_ros.engines import Manifest
from loc3r_ros.export.source import random_source
from loc3r_ros.export.specs import DTYPES
from loc3r_ros.model.config import preset


@dataclass(frozen=True)
class Outline:
    """What engines of a model would be.

    Attributes:
        manifest: as `loc3r export` would write it, without hashes.
        weights: graph -> bytes of its weights.
        matrices: (inputs, outputs) of the language graph's matrices.
        table: bytes of the embedding table.
    """

    manifest: Manifest
    weights: dict[str, int]
    matrices: list[tuple[int, int]]
    table: int


def outline(size: str, precision: str, fixed_frames: int | None = None) -> Outline:
    """Return the outline of engines.

    Args:
        size: of the model, such as "7b".
        precision: "fp32" or "fp16".
        fixed_frames: see `export_engines`.

    Raises:
        ConfigError: there is no such size.
    """
    with torch.device("meta"):
        source = random_source(preset(size))
    item = getattr(torch, DTYPES[precision]).itemsize
    model, prior = source.model, source.prior
    linear = [part for part in source.graphs()["language"].modules() if isinstance(part, nn.Linear)]
    matrices = [(part.in_features, part.out_features) for part in linear]
    table = model.language.embed_tokens.weight
    if model.language.lm_head is None:  # tied: the graph holds the table once more
        matrices.append((table.shape[1], table.shape[0]))
    elements = {
        "pose_prior": _elements(prior)
        - _elements(prior.downstream_head)
        + _elements(prior.downstream_head.pose_head)
        + _elements(model.camera),
        "vision": _elements(model.vision) + _elements(model.projector),
        "language": sum(inputs * outputs for inputs, outputs in matrices),
    }
    return Outline(
        manifest=source.manifest("onnxruntime", precision, fixed_frames),
        weights={name: item * count for name, count in elements.items()},
        matrices=matrices,
        table=item * table.numel(),
    )


def _elements(module: nn.Module | None) -> int:
    return 0 if module is None else sum(parameter.numel() for parameter in module.parameters())
