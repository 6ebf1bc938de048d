"""The run-time graphs of a model as engines that run in torch: what exported engines are compared with."""

from __future__ import annotations

from pathlib import Path

from loc3r_ros.engines import EngineSet
from loc3r_ros.engines.torch_reference import TorchBackend, to_numpy
from loc3r_ros.export.source import Source


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
    graphs = {manifest.graphs[name].file: module.eval() for name, module in source.graphs().items()}
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
