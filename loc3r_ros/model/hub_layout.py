"""Names and sizes of the public checkpoints: LLaVA-Video-7B-Qwen2 and Loc3R-VLM, `llava` or `llava_qwen`.

The names of LLaVA-Video's tensors are known. Those of Loc3R-VLM's own parts (camera MLP and heads) are not published:
they are found by the shapes of their linear layers, and by a table of likely names where shapes leave a choice.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from loc3r_ros.errors import CheckpointError, ConfigError
from loc3r_ros.interface import HEADING_BINS
from loc3r_ros.model.config import LanguageConfig, Loc3RConfig, PosePriorConfig, VideoConfig, VisionConfig

Shape = tuple[int, ...]

_TOWER = "model.vision_tower.vision_tower.vision_model."

OFFICIAL_PREFIXES = {
    _TOWER + "embeddings.patch_embedding.": "vision.patch_embedding.",
    _TOWER + "embeddings.position_embedding.": "vision.position_embedding.",
    _TOWER + "encoder.layers.": "vision.layers.",
    _TOWER + "post_layernorm.": "vision.post_layernorm.",
    "model.mm_projector.": "projector.",
    "model.image_newline": "newline",
    "model.embed_tokens.": "language.embed_tokens.",
    "model.layers.": "language.layers.",
    "model.norm.": "language.norm.",
    "lm_head.": "language.lm_head.",
}
"""Beginning of an official name -> ours, one to one."""

NEW_PARTS = {
    "camera": ("camera", "cam_", "pose_proj", "cut3r", "spatial_proj"),
    "heads.layout": ("layout", "bev", "f_proj", "proj_head"),
    "heads.position": ("position", "pos", "loc_head"),
    "heads.orientation": ("orientation", "ori", "heading", "angle"),
}
"""Our parts that LLaVA-Video lacks -> pieces of likely names."""

_LAYER_STEP = re.compile(
    r"^(\d+|(fc|linear|layer|lin|dense)_?\d+|proj(ection)?|linear|mlp|head|net|layers|in_proj|out_proj)$"
)


def our_name(official: str) -> str:
    """Return our name of one of LLaVA-Video's tensors, or the name as it is where it begins like none of them."""
    return _replace_beginning(official, OFFICIAL_PREFIXES)


def official_name(ours: str) -> str:
    """Return LLaVA-Video's name of one of our tensors, or the name as it is where LLaVA-Video has no such tensor."""
    return _replace_beginning(ours, {mine: theirs for theirs, mine in OFFICIAL_PREFIXES.items()})


def _replace_beginning(name: str, prefixes: Mapping[str, str]) -> str:
    for old, new in prefixes.items():
        if name.startswith(old):
            return new + name[len(old) :]
    return name


def map_names(official: Mapping[str, Shape], ours: Mapping[str, Shape]) -> dict[str, str]:
    """Match the tensors of an official checkpoint with ours.

    Args:
        official: name -> shape in the checkpoint.
        ours: name -> shape in our model.

    Returns:
        official name -> our name. Tensors of new parts that the checkpoint lacks (plain LLaVA-Video) are left out.

    Raises:
        CheckpointError: where a tensor of LLaVA-Video is missing or mis-shaped, a tensor fits nothing, or several
            tensors fit the same new part.
    """
    known = {name: our for name in official if (our := our_name(name)) in ours and not _is_new(our)}
    leftover = {name: shape for name, shape in official.items() if name not in known}
    found = match_new_parts(leftover, ours)
    mapping = known | found
    expected = {name for name in ours if not _is_new(name)}
    check_names(
        missing={official_name(name) for name in expected - set(known.values())},
        unexpected=set(official) - set(mapping),
        wrong=[
            f"{name} is {list(official[name])} instead of {list(ours[target])}"
            for name, target in mapping.items()
            if tuple(official[name]) != tuple(ours[target])
        ],
    )
    return mapping


def _is_new(name: str) -> bool:
    return any(name.startswith(part + ".") for part in NEW_PARTS)


def check_names(missing: Iterable[str], unexpected: Iterable[str], wrong: Iterable[str], where: str = "") -> None:
    """Raise CheckpointError, naming the keys, unless all three are empty."""
    kinds = {"missing": sorted(missing), "unexpected": sorted(unexpected), "of the wrong shape": sorted(wrong)}
    problems = [f"{kind}: {_some(names)}" for kind, names in kinds.items() if names]
    if problems:
        raise CheckpointError(f"The checkpoint{where} does not fit this model; tensors {'; '.join(problems)}.")


def _some(names: list[str], limit: int = 12) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def match_new_parts(leftover: Mapping[str, Shape], ours: Mapping[str, Shape]) -> dict[str, str]:
    """Find the camera MLP and the heads among tensors with unknown names, by the shapes of their linear layers."""
    groups = linear_chains(leftover)
    mapping: dict[str, str] = {}
    for part, words in NEW_PARTS.items():
        targets = [name for name in ours if name.startswith(part + ".")]
        shapes = [tuple(ours[name]) for name in targets]
        fitting = {root: names for root, names in groups.items() if [tuple(leftover[n]) for n in names] == shapes}
        if len(fitting) > 1:
            named = {root: names for root, names in fitting.items() if any(word in root.lower() for word in words)}
            if len(named) != 1:
                raise CheckpointError(
                    f"The checkpoint has several candidates for the part `{part}` of the shapes "
                    f"{[list(shape) for shape in shapes]}: {', '.join(sorted(fitting))}. Rename all but one of them."
                )
            fitting = named
        for root, names in fitting.items():
            del groups[root]
            mapping |= dict(zip(names, targets, strict=True))
    return mapping


def linear_chains(shapes: Mapping[str, Shape]) -> dict[str, list[str]]:
    """Group tensors by the module that they belong to: root -> names, layer after layer, weight before bias."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in sorted(shapes, key=_natural):
        path = name.split(".")[:-1]
        while len(path) > 1 and _LAYER_STEP.match(path[-1]):
            path.pop()
        groups[".".join(path)].append(name)
    return dict(groups)


def _natural(name: str) -> tuple[Any, ...]:
    """Order layer 10 after layer 2, and a layer's weight before its bias."""
    stem, _, kind = name.rpartition(".")
    pieces = re.split(r"(\d+)", stem)
    return (*((0, int(piece), "") if piece.isdigit() else (1, 0, piece) for piece in pieces), (2, kind != "weight", ""))


def pose_prior_prefix(names: Iterable[str]) -> str | None:
    """Return what stands before the names of a pose prior that a checkpoint carries along, or None without one."""
    prefixes = {name.removesuffix(_PRIOR_MARK) for name in names if name.endswith("." + _PRIOR_MARK)}
    if len(prefixes) > 1:
        raise CheckpointError(f"The checkpoint carries several pose priors: {', '.join(sorted(prefixes))}.")
    return next(iter(prefixes), None)


_PRIOR_MARK = "pose_retriever.mem"
"""A tensor that only CUT3R has."""

_TOWERS = {"siglip-so400m-patch14-384": (384, 16)}
"""Vision tower -> (image size, heads), which tensors do not show."""


def config_from_hub(hub: Mapping[str, Any], shapes: Mapping[str, Shape], special: Sequence[int]) -> Loc3RConfig:
    """Read our config from a checkpoint's `config.json` and the shapes of its tensors.

    Args:
        hub: the parsed `config.json`.
        shapes: name -> shape of the checkpoint's tensors.
        special: ids of `<Pos>`, `<Ori>` and the tokens that end an answer.

    Raises:
        CheckpointError: where the checkpoint is no LLaVA-Video or Loc3R-VLM, or has no rows for the special tokens.
    """
    kind = hub.get("model_type")
    if kind not in ("llava", "llava_qwen"):
        raise CheckpointError(f"The checkpoint's model_type is {kind!r}: only llava and llava_qwen can be imported.")
    try:
        return Loc3RConfig(
            vision=_vision_config(hub, shapes),
            video=_video_config(hub),
            pose_prior=PosePriorConfig(),
            language=_language_config(hub, shapes, special),
            head_hidden=_head_hidden(shapes),
        )
    except KeyError as error:
        raise CheckpointError(f"The checkpoint lacks {error.args[0]}, which tells the model's size.") from error
    except (ConfigError, TypeError, ValueError) as error:
        raise CheckpointError(f"The checkpoint's config.json describes no model that can be built: {error}") from error


def _vision_config(hub: Mapping[str, Any], shapes: Mapping[str, Shape]) -> VisionConfig:
    hidden, _, patch, _ = shapes[_TOWER + "embeddings.patch_embedding.weight"]
    tower = str(hub.get("mm_vision_tower", "")).rsplit("/", 1)[-1]
    if tower not in _TOWERS:
        raise CheckpointError(f"The checkpoint's vision tower {tower!r} is unknown; known: {', '.join(_TOWERS)}.")
    image_size, heads = _TOWERS[tower]
    layers = {match[1] for key in shapes if (match := re.match(re.escape(_TOWER) + r"encoder\.layers\.(\d+)\.", key))}
    return VisionConfig(
        image_size=image_size,
        patch_size=patch,
        hidden_size=hidden,
        intermediate_size=shapes[_TOWER + "encoder.layers.0.mlp.fc1.weight"][0],
        layers=len(layers),
        heads=heads,
    )


def _head_hidden(shapes: Mapping[str, Shape]) -> int:
    """Return the width inside the heads, which the last layer of the orientation head shows; 0 without one."""
    return next((shape[1] for shape in shapes.values() if len(shape) == 2 and shape[0] == HEADING_BINS), 0)


def _video_config(hub: Mapping[str, Any]) -> VideoConfig:
    return VideoConfig(
        pool=hub.get("mm_spatial_pool_mode", "bilinear"),
        pool_stride=int(hub.get("mm_spatial_pool_stride") or 2),
        newline=hub.get("mm_newline_position", "grid"),
    )


def _language_config(hub: Mapping[str, Any], shapes: Mapping[str, Shape], special: Sequence[int]) -> LanguageConfig:
    vocabulary, hidden = shapes["model.embed_tokens.weight"]
    theta = (hub.get("rope_parameters") or hub).get("rope_theta", 1e6)
    return LanguageConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=shapes["model.layers.0.mlp.gate_proj.weight"][0],
        layers=int(hub["num_hidden_layers"]),
        heads=int(hub["num_attention_heads"]),
        kv_heads=int(hub["num_key_value_heads"]),
        max_positions=int(hub.get("max_position_embeddings", 32768)),
        rope_theta=float(theta),
        norm_eps=float(hub.get("rms_norm_eps", 1e-6)),
        tie_embeddings="lm_head.weight" not in shapes,
        position_token=special[0],
        orientation_token=special[1],
        stop_tokens=tuple(special[2:]),
    )
