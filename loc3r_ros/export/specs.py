"""The inputs and outputs of the three graphs, by name, type and shape: one description for every backend."""

from __future__ import annotations

from collections.abc import Mapping

from loc3r_ros.engines.manifest import GraphSpec, LanguageSpec, PosePriorSpec, TensorSpec, VideoSpec
from loc3r_ros.export.graphs import LanguageGraph, PosePriorGraph, VisionGraph
from loc3r_ros.model.config import Loc3RConfig

DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "int8": "float32", "int4": "float32"}
"""Precision -> element type of tokens, states, cache and weights that are not quantised; bf16 runs in torch alone."""
LONGEST_TEXT = 1536
"""Tokens of the longest text that is run at once, and of the longest question with its answer."""


def video_spec(config: Loc3RConfig) -> VideoSpec:
    """Return how this model sees frames."""
    layout = config.layout
    return VideoSpec(
        image_size=config.vision.image_size,
        rows=layout.rows,
        columns=layout.columns,
        newline=layout.newline,
        frames=config.video.frames,
        pixels_per_patch=config.pixels_per_patch,
        tokens=layout.tokens_per_frame,
    )


def pose_prior_spec(config: Loc3RConfig) -> PosePriorSpec:
    """Return the pose prior's picture and state. By VLM-3R's route it is given the vision tower's picture."""
    prior = config.pose_prior
    side = config.vision.image_size
    return PosePriorSpec(
        image_size=(side, side) if prior.route == "vlm3r" else prior.image_size,
        route=prior.route,
        state={
            "state": (prior.state_tokens, prior.decoder_dim),
            "memory": (prior.memory_slots, 2 * prior.decoder_dim),
        },
    )


def language_spec(config: Loc3RConfig, precision: str, head_tokens: int) -> LanguageSpec:
    """Return the language model's sizes."""
    language = config.language
    return LanguageSpec(
        layers=language.layers,
        kv_heads=language.kv_heads,
        head_dim=language.head_dim,
        hidden_size=language.hidden_size,
        vocab_size=language.vocab_size,
        max_positions=language.max_positions,
        position_token=language.position_token,
        orientation_token=language.orientation_token,
        stop_tokens=language.stop_tokens,
        repetition_penalty=language.repetition_penalty,
        head_tokens=head_tokens,
        cache_dtype=DTYPES[precision],
    )


def dimensions(config: Loc3RConfig, head_tokens: int) -> dict[str, tuple[int, int, int]]:
    """Return smallest, usual and largest value of every variable size."""
    frame, frames, most = config.layout.tokens_per_frame, config.video.frames, config.language.max_positions
    patches = config.layout.patches_per_frame
    return {
        "tokens": (1, frame, max(frame, min(LONGEST_TEXT, most))),
        "prefix": (head_tokens, head_tokens + frames * frame, most),
        "suffix": (0, 64, min(LONGEST_TEXT, most)),
        "layouts": (0, patches, patches),
        "positions": (0, 1, 1),
        "orientations": (0, 1, 1),
        "predictions": (0, 1, 1),
    }


def graph_specs(config: Loc3RConfig, precision: str, fixed: Mapping[str, int]) -> dict[str, GraphSpec]:
    """Return the description of every graph, files named `<graph>.onnx`.

    Args:
        config: of the model.
        precision: one of `DTYPES`.
        fixed: variable sizes that get a fixed value instead; see `fixed_cache`.
    """
    dtype = DTYPES[precision]
    specs = {
        "pose_prior": _pose_prior(config, dtype),
        "vision": _vision(config, dtype),
        "language": _language(config, dtype),
    }
    return {name: _with_fixed(spec, fixed) for name, spec in specs.items()}


def fixed_cache(config: Loc3RConfig, head_tokens: int, frames: int) -> dict[str, int]:
    """Return fixed sizes of both parts of the cache, for compilers that are faster with them.

    Args:
        config: of the model.
        head_tokens: length of the prompt before the video.
        frames: keyframes that fit, the slack of an eviction block included.
    """
    return {"prefix": head_tokens + frames * config.layout.tokens_per_frame, "suffix": LONGEST_TEXT}


def _with_fixed(spec: GraphSpec, fixed: Mapping[str, int]) -> GraphSpec:
    def tensors(specs: dict[str, TensorSpec]) -> dict[str, TensorSpec]:
        return {
            name: TensorSpec(tensor.dtype, tuple(n if isinstance(n, int) else fixed.get(n, n) for n in tensor.shape))
            for name, tensor in specs.items()
        }

    return GraphSpec(spec.file, tensors(spec.inputs), tensors(spec.outputs))


def _pose_prior(config: Loc3RConfig, dtype: str) -> GraphSpec:
    spec = pose_prior_spec(config)
    state, memory = (TensorSpec(dtype, spec.state[name]) for name in ("state", "memory"))
    inputs = (TensorSpec("uint8", (*spec.image_size, 3)), state, memory, TensorSpec("bool", (1,)))
    outputs = (
        TensorSpec(dtype, (1, config.language.hidden_size)),
        TensorSpec("float32", (4, 4)),
        state,
        memory,
    )
    return GraphSpec(
        "pose_prior.onnx",
        dict(zip(PosePriorGraph.INPUTS, inputs, strict=True)),
        dict(zip(PosePriorGraph.OUTPUTS, outputs, strict=True)),
    )


def _vision(config: Loc3RConfig, dtype: str) -> GraphSpec:
    side = config.vision.image_size
    inputs = (TensorSpec("uint8", (side, side, 3)),)
    outputs = (TensorSpec(dtype, (config.layout.tokens_per_frame - 1, config.language.hidden_size)),)
    return GraphSpec(
        "vision.onnx",
        dict(zip(VisionGraph.INPUTS, inputs, strict=True)),
        dict(zip(VisionGraph.OUTPUTS, outputs, strict=True)),
    )


def _language(config: Loc3RConfig, dtype: str) -> GraphSpec:
    language = config.language
    rows = ("layouts", "positions", "orientations", "predictions")
    inputs = dict(
        zip(
            LanguageGraph.INPUTS,
            (
                TensorSpec(dtype, ("tokens", language.hidden_size)),
                *[TensorSpec("int64", (1,))] * 3,
                *(TensorSpec("int64", (name,)) for name in rows),
            ),
            strict=True,
        )
    )
    widths = (4, 4, config.heading_bins, language.vocab_size)
    heads = (TensorSpec("float32", (name, width)) for name, width in zip(rows, widths, strict=True))
    outputs = dict(zip(LanguageGraph.OUTPUTS, heads, strict=True))
    names = language_spec(config, "fp32", 1).cache_names
    for part in ("prefix", "suffix"):
        inputs |= {f"{part}_{name}": _cache(config, dtype, part) for name in names}
    outputs |= {name: _cache(config, dtype, "tokens") for name in names}
    return GraphSpec("language.onnx", inputs, outputs)


def _cache(config: Loc3RConfig, dtype: str, rows: str) -> TensorSpec:
    return TensorSpec(dtype, (rows, config.language.kv_heads, config.language.head_dim))
