"""What engines are made from: a model, its pose prior, its tokenizer and the prompt's beginning."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import Tensor, nn

from loc3r_ros import __version__
from loc3r_ros.engines import Manifest
from loc3r_ros.engines.manifest import CALIBRATION_FILE, Calibration
from loc3r_ros.errors import ConfigError
from loc3r_ros.export.graphs import LanguageGraph, PosePriorGraph, VisionGraph
from loc3r_ros.export.specs import (
    DTYPES,
    dimensions,
    fixed_cache,
    graph_specs,
    language_spec,
    pose_prior_spec,
    video_spec,
)
from loc3r_ros.model.checkpoint import load_model, load_pose_prior
from loc3r_ros.model.config import Loc3RConfig, build
from loc3r_ros.model.cut3r import Cut3R
from loc3r_ros.model.loc3r import Loc3R
from loc3r_ros.prompt.template import PromptTemplate
from loc3r_ros.prompt.tokenizer import END_OF_TEXT, MESSAGE_END, ORIENTATION, POSITION, TextTokenizer
from loc3r_ros.prompt.training import train_tokenizer

MADE_WITH = ("torch", "transformers", "onnx", "numpy")
"""Packages whose versions a manifest names."""


@dataclass(frozen=True)
class Source:
    """What engines are made from.

    Attributes:
        model: the vision-language model.
        prior: its pose prior.
        tokenizer: its tokenizer, whose `<Pos>` and `<Ori>` must be the model's.
        calibration: of the heads.
    """

    model: Loc3R
    prior: Cut3R
    tokenizer: TextTokenizer
    calibration: Calibration = field(default_factory=Calibration)

    def __post_init__(self) -> None:
        language = self.model.config.language
        for token, expected in ((POSITION, language.position_token), (ORIENTATION, language.orientation_token)):
            found = self.tokenizer.special(token)
            if found != expected:
                raise ConfigError(
                    f"The tokenizer's {token} is {found}, the model's is {expected}: they do not belong together."
                )
        if self.tokenizer.size > language.vocab_size:
            raise ConfigError(
                f"The tokenizer has {self.tokenizer.size} ids, but the model knows only {language.vocab_size}."
            )

    @property
    def head_ids(self) -> list[int]:
        """The ids of the prompt before the video."""
        return PromptTemplate(self.tokenizer).prefix.tolist()

    def graphs(self) -> dict[str, nn.Module]:
        """Return the modules of the three graphs."""
        return {
            "pose_prior": PosePriorGraph(self.prior, self.model),
            "vision": VisionGraph(self.model),
            "language": LanguageGraph(self.model),
        }

    def manifest(self, backend: str, precision: str, fixed_frames: int | None = None) -> Manifest:
        """Return the description of the engines, without their files; see `export_engines`."""
        config, head = self.model.config, len(self.head_ids)
        fixed = {} if fixed_frames is None else fixed_cache(config, head, fixed_frames)
        return Manifest(
            name=config.name,
            backend=backend,
            precision=precision,
            model=hash_weights(self.model, self.prior),
            dimensions={name: sizes for name, sizes in dimensions(config, head).items() if name not in fixed},
            graphs=graph_specs(config, precision, fixed),
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

    def convert(self, precision: str, device: str = "cpu") -> None:
        """Convert and move the model in place."""
        dtype = getattr(torch, DTYPES[precision])
        for module in (self.model, self.prior):
            module.to(device=device, dtype=dtype).eval()


def load_source(folder: Path) -> Source:
    """Load our own folder of a model (`loc3r import`, or a training run).

    Raises:
        ConfigError: its config, tokenizer or calibration is missing or wrong.
        CheckpointError: its weights are missing or do not fit.
    """
    model, prior = load_model(folder), load_pose_prior(folder)
    return Source(model, prior, TextTokenizer.load(folder), load_calibration(folder))


def load_calibration(folder: Path) -> Calibration:
    """Return what `loc3r evaluate --calibrate --model` stored, or the neutral calibration where it did not."""
    file = folder / CALIBRATION_FILE
    return build(Calibration, json.loads(file.read_text()), str(file)) if file.exists() else Calibration()


def random_source(config: Loc3RConfig, seed: int = 0) -> Source:
    """Return a model with random weights and a tokenizer of bytes, for benchmarks and tests of any size."""
    torch.manual_seed(seed)
    tokenizer = train_tokenizer([], config.language.vocab_size)
    language = replace(
        config.language,
        position_token=tokenizer.special(POSITION),
        orientation_token=tokenizer.special(ORIENTATION),
        stop_tokens=(tokenizer.special(MESSAGE_END), tokenizer.special(END_OF_TEXT)),
    )
    config = replace(config, language=language)
    return Source(Loc3R(config).eval(), Cut3R(config.pose_prior).eval(), tokenizer)


def hash_weights(*modules: nn.Module) -> str:
    """Return a SHA-256 of all weights, in the order of their names; "" where they are outlines without values."""
    if any(tensor.is_meta for module in modules for tensor in module.parameters()):
        return ""
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
