"""The run-time graphs of a model: as a set of engines that runs in torch, and as a folder that runs anywhere."""

from __future__ import annotations

import hashlib
import platform
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from loc3r_ros import __version__
from loc3r_ros.engines import EngineSet, Manifest
from loc3r_ros.engines.manifest import (
    EMBEDDING_FILE,
    FILE_NAME,
    HEAD_FILE,
    TOKENIZER_FILE,
    Calibration,
    describe_files,
)
from loc3r_ros.engines.protocol import Array
from loc3r_ros.engines.torch_reference import TorchBackend, to_numpy
from loc3r_ros.errors import ConfigError
from loc3r_ros.export.graphs import LanguageGraph, PosePriorGraph, VisionGraph
from loc3r_ros.export.onnx_files import write_graph
from loc3r_ros.export.specs import DTYPES, dimensions, graph_specs, language_spec, pose_prior_spec, video_spec
from loc3r_ros.model.cut3r import Cut3R
from loc3r_ros.model.loc3r import Loc3R

MADE_WITH = ("torch", "transformers", "onnx", "numpy")
"""Packages whose versions a manifest names."""


@dataclass(frozen=True)
class Source:
    """What engines are made from.

    Attributes:
        model: the vision-language model.
        prior: its pose prior.
        head_ids: ids of the prompt before the video.
        tokenizer: file of the tokenizer.
        calibration: of the heads.
    """

    model: Loc3R
    prior: Cut3R
    head_ids: Sequence[int]
    tokenizer: Path | None = None
    calibration: Calibration = field(default_factory=Calibration)

    def graphs(self) -> dict[str, nn.Module]:
        """Return the modules of the three graphs."""
        return {
            "pose_prior": PosePriorGraph(self.prior, self.model.config.pose_prior.image_size),
            "vision": VisionGraph(self.model),
            "language": LanguageGraph(self.model),
        }

    def manifest(self, backend: str, precision: str) -> Manifest:
        """Return the description of the engines, without their files."""
        config, head = self.model.config, len(self.head_ids)
        return Manifest(
            name=config.name,
            backend=backend,
            precision=precision,
            model=hash_weights(self.model, self.prior),
            dimensions=dimensions(config, head),
            graphs=graph_specs(config, precision),
            video=video_spec(config),
            pose_prior=pose_prior_spec(config),
            language=language_spec(config, precision, head),
            calibration=self.calibration,
            versions=versions(),
        )

    @torch.inference_mode()
    def head_cache(self) -> dict[str, Tensor]:
        """Return the cache of the prompt before the video: name -> (head, kv_heads, head_dim)."""
        embed = self.model.language.embed_tokens
        ids = torch.tensor([list(self.head_ids)], device=embed.weight.device)
        _, cache = self.model.language(embed(ids))
        pairs = [tensor[0].transpose(0, 1) for layer in cache for tensor in (layer.keys, layer.values)]
        names = language_spec(self.model.config, "fp32", len(self.head_ids)).cache_names
        return dict(zip(names, pairs, strict=True))


def reference_engines(source: Source, precision: str = "fp32", device: str = "cpu") -> EngineSet:
    """Return engines that run the model itself in torch, on any device. The model is converted and moved in place.

    Args:
        source: the model.
        precision: "fp32", "fp16" or "bf16".
        device: torch's name of it.
    """
    manifest = source.manifest("torch", precision)
    convert(source, precision, device)
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


def export_engines(
    source: Source, folder: Path, precision: str = "fp32", progress: Callable[[str], None] = lambda _: None
) -> Manifest:
    """Write a folder of engines for onnxruntime. The model is converted to `precision` in place.

    The folder appears whole or not at all; one that is there is replaced.

    Args:
        source: the model, on the CPU.
        folder: to make.
        precision: "fp32" or "fp16".
        progress: is told what is being written.

    Raises:
        ConfigError: an unknown precision, or `folder` is something else.
    """
    if precision not in ("fp32", "fp16"):
        raise ConfigError(f"Engines for onnxruntime are fp32 or fp16, not {precision!r}.")
    if folder.exists() and any(folder.iterdir()) and not (folder / FILE_NAME).exists():
        raise ConfigError(f"{folder} holds something else than engines: choose another folder.")
    manifest = source.manifest("onnxruntime", precision)
    convert(source, precision, "cpu")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        made = Path(scratch)
        write_engines(source, manifest, made, progress)
        manifest = replace(manifest, files=describe_files(made))
        (made / FILE_NAME).write_text(manifest.to_json())
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
        made.mkdir()  # the context removes it
    folder.chmod(0o755)
    return manifest


def write_engines(source: Source, manifest: Manifest, folder: Path, progress: Callable[[str], None]) -> None:
    """Write every file but the manifest."""
    for name, module in source.graphs().items():
        progress(f"{manifest.graphs[name].file} ({manifest.precision})")
        write_graph(module, manifest.graphs[name], folder)
    np.save(folder / EMBEDDING_FILE, host(source.model.language.embed_tokens.weight))
    arrays = {name: host(tensor) for name, tensor in source.head_cache().items()}
    np.savez(folder / HEAD_FILE, allow_pickle=False, **arrays)
    if source.tokenizer:
        shutil.copyfile(source.tokenizer, folder / TOKENIZER_FILE)


def convert(source: Source, precision: str, device: str) -> None:
    """Convert and move a model in place."""
    dtype = getattr(torch, DTYPES[precision])
    for module in (source.model, source.prior):
        module.to(device=device, dtype=dtype).eval()


def host(tensor: Tensor) -> Array:
    """Return a tensor's values without a copy where it lies in host memory."""
    return tensor.detach().cpu().numpy()


def hash_weights(*modules: nn.Module) -> str:
    """Return a SHA-256 of all weights, in the order of their names."""
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of the software that makes engines."""
    found = {"loc3r_ros": __version__, "python": platform.python_version()}
    for package in MADE_WITH:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
