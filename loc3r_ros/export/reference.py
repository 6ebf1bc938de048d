"""The run-time graphs of a model as engines that run in torch: what exported engines are compared with."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import cast

from torch import nn

from loc3r_ros.engines import EngineSet
from loc3r_ros.engines.torch_reference import Graph, TorchBackend, to_numpy
from loc3r_ros.export.graphs import LanguageGraph
from loc3r_ros.export.source import Source
from loc3r_ros.model.config import LanguageConfig

LEAST_BLOCK = 16


def torch_graphs(source: Source) -> dict[str, Graph]:
    """Return the graphs of a converted model; on a GPU with Triton single tokens of an answer run in fused kernels."""
    graphs: dict[str, nn.Module] = {name: module.eval() for name, module in source.graphs().items()}
    on_gpu = source.model.newline.is_cuda
    if on_gpu and find_spec("triton") and fits_blocks(source.model.config.language):
        from loc3r_ros.export.fused_decode import FusedLanguage

        graphs["language"] = FusedLanguage(cast(LanguageGraph, graphs["language"]))
    return dict(graphs)


def fits_blocks(language: LanguageConfig) -> bool:
    """Return whether Triton, whose blocks are powers of two of at least 16, knows the size of a head."""
    return language.head_dim >= LEAST_BLOCK and language.head_dim & (language.head_dim - 1) == 0


def reference_engines(
    source: Source, precision: str = "fp32", device: str = "cpu", fixed_frames: int | None = None
) -> EngineSet:
    """Return engines that run the model itself in torch, on any device. The model is converted and moved in place.

    Args:
        source: the model.
        precision: "fp32", "fp16" or "bf16".
        device: torch's name of it.
        fixed_frames: keyframes for which the cache's shapes are fixed; None leaves them variable.
    """
    manifest = source.manifest("torch", precision, fixed_frames)
    source.convert(precision, device)
    graphs = {manifest.graphs[name].file: graph for name, graph in torch_graphs(source).items()}
    backend = TorchBackend(graphs, device)
    return EngineSet(
        manifest=manifest,
        backend=backend,
        pose_prior=backend.load(Path(), manifest.graphs["pose_prior"]),
        vision=backend.load(Path(), manifest.graphs["vision"]),
        language=backend.load(Path(), manifest.graphs["language"]),
        embedding=to_numpy(source.model.language.embed_tokens.weight),
        head={name: to_numpy(tensor) for name, tensor in source.head_cache().items()},
    )
