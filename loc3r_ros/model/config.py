"""One configuration for every size of the model: `nano` runs on two CPU cores, `7b` is the paper's.

Nothing else differs between sizes. A config is frozen, checks itself and travels as JSON beside the weights.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from loc3r_ros.errors import ConfigError
from loc3r_ros.interface import HEADING_BINS
from loc3r_ros.prompt.layout import Newline, VideoLayout

Pool = Literal["bilinear", "average"]
PosePriorRoute = Literal["vlm3r", "cut3r"]
StateRule = Literal["cut3r", "ttt3r"]
DenseHead = Literal["none", "linear", "dpt"]


def require(condition: bool, sentence: str) -> None:
    """Raise ConfigError with `sentence` unless `condition` holds."""
    if not condition:
        raise ConfigError(sentence)


def _check(config: Any, part: str) -> None:
    """Check what all parts share: choices are among those named, and sizes are positive."""
    hints = get_type_hints(type(config))
    for item in fields(config):
        value, hint = getattr(config, item.name), hints[item.name]
        where = f"{part}.{item.name}"
        if get_origin(hint) is Literal:
            require(value in get_args(hint), f"{where} is {value!r}; choose one of {', '.join(get_args(hint))}.")
        elif hint is int and not item.name.endswith("_token"):
            require(value >= 1, f"{where} must be at least 1, not {value}.")


@dataclass(frozen=True)
class VisionConfig:
    """SigLIP tower. `layers` counts the layers that are kept: SigLIP so400m has 27 and LLaVA-Video drops the last."""

    image_size: int = 384
    patch_size: int = 14
    hidden_size: int = 1152
    intermediate_size: int = 4304
    layers: int = 26
    heads: int = 16

    def __post_init__(self) -> None:
        _check(self, "vision")
        require(self.hidden_size % self.heads == 0, "vision.hidden_size must be a multiple of vision.heads.")
        require(self.image_size >= self.patch_size, "vision.image_size must be at least vision.patch_size.")

    @property
    def grid(self) -> int:
        """Patches along a side: 27 for 384 / 14 (the last 6 pixels are never seen)."""
        return self.image_size // self.patch_size


@dataclass(frozen=True)
class VideoConfig:
    """How a frame's patches become tokens, and how many frames the model is made for.

    Attributes:
        pool: "bilinear" keeps ceil(grid / stride) patches a side, "average" floor.
        pool_stride: patches that pooling joins along a side; 1 leaves them.
        newline: LLaVA-Video's newline layout.
        camera: whether a camera token from the pose prior begins each frame; False is plain LLaVA-Video.
        frames: keyframes that the model was trained with.
    """

    pool: Pool = "bilinear"
    pool_stride: int = 2
    newline: Newline = "grid"
    camera: bool = True
    frames: int = 32

    def __post_init__(self) -> None:
        _check(self, "video")


@dataclass(frozen=True)
class PosePriorConfig:
    """CUT3R. Names follow the paper; numbers of both official checkpoints are the defaults.

    Attributes:
        image_size: (height, width) of the pixels it sees.
        route: "vlm3r" resizes the vision tower's squashed frame bilinearly to `image_size`; "cut3r" resizes the long
            side of the camera's picture and crops, as CUT3R's own loader.
        state_heads: heads of the state stream; its checkpoint does not show them (16 in both official ones).
        memory_slots: slots of the pose memory, each 2 * decoder_dim wide.
        memory_layers: write blocks, and as many read blocks.
        dense_head: point-map head, for training only.
        state_rule: update of the recurrent state; "ttt3r" weighs it by attention.
    """

    image_size: tuple[int, int] = (432, 432)
    route: PosePriorRoute = "vlm3r"
    patch_size: int = 16
    encoder_dim: int = 1024
    encoder_layers: int = 24
    encoder_heads: int = 16
    decoder_dim: int = 768
    decoder_layers: int = 12
    decoder_heads: int = 12
    state_heads: int = 16
    state_tokens: int = 768
    memory_slots: int = 256
    memory_layers: int = 2
    memory_heads: int = 12
    dense_head: DenseHead = "dpt"
    state_rule: StateRule = "cut3r"

    def __post_init__(self) -> None:
        _check(self, "pose_prior")
        require(
            all(side % self.patch_size == 0 for side in self.image_size),
            f"pose_prior.image_size {self.image_size} must be multiples of its patch_size {self.patch_size}.",
        )
        for name, dim, heads in (
            ("encoder", self.encoder_dim, self.encoder_heads),
            ("decoder", self.decoder_dim, self.decoder_heads),
            ("state", self.decoder_dim, self.state_heads),
        ):
            require(
                dim % (4 * heads) == 0, f"pose_prior: the {name}'s width {dim} must be a multiple of 4 * {heads} heads."
            )
        require(
            2 * self.decoder_dim % self.memory_heads == 0,
            "pose_prior: twice decoder_dim must be a multiple of memory_heads.",
        )

    @property
    def camera_dim(self) -> int:
        """Width of the camera token that the pose prior gives."""
        return self.decoder_dim

    @property
    def grid(self) -> tuple[int, int]:
        """Patches (rows, columns)."""
        return self.image_size[0] // self.patch_size, self.image_size[1] // self.patch_size


@dataclass(frozen=True)
class LanguageConfig:
    """Qwen2. `head_dim` is hidden_size / heads; Q, K and V have biases.

    Attributes:
        vocab_size: rows of the embedding matrix; it may exceed the tokenizer's entries.
        position_token: id of `<Pos>`.
        orientation_token: id of `<Ori>`.
        stop_tokens: ids that end an answer.
        repetition_penalty: on generated ids, by CTRL's rule; 1 is none.
    """

    vocab_size: int = 152064
    hidden_size: int = 3584
    intermediate_size: int = 18944
    layers: int = 28
    heads: int = 28
    kv_heads: int = 4
    max_positions: int = 32768
    rope_theta: float = 1e6
    norm_eps: float = 1e-6
    tie_embeddings: bool = False
    position_token: int = 151646
    orientation_token: int = 151647
    stop_tokens: tuple[int, ...] = (151645, 151643)
    repetition_penalty: float = 1.05

    def __post_init__(self) -> None:
        _check(self, "language")
        require(self.hidden_size % self.heads == 0, "language.hidden_size must be a multiple of language.heads.")
        require(self.heads % self.kv_heads == 0, "language.heads must be a multiple of language.kv_heads.")
        require(
            0 <= max(self.position_token, self.orientation_token, *self.stop_tokens) < self.vocab_size,
            f"language: <Pos>, <Ori> and the stop tokens must be ids below vocab_size {self.vocab_size}.",
        )

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.heads


@dataclass(frozen=True)
class Loc3RConfig:
    """The whole model: vision tower, pose prior, language model and the tokens between them.

    Attributes:
        name: what the size is called.
        vision: the vision tower.
        video: how frames become tokens.
        pose_prior: the network that gives camera tokens and poses.
        language: the language model.
        heading_bins: bins of the orientation head.
        head_hidden: width inside the position and orientation heads; 0 takes the language model's.
    """

    name: str = "7b"
    vision: VisionConfig = field(default_factory=VisionConfig)
    video: VideoConfig = field(default_factory=VideoConfig)
    pose_prior: PosePriorConfig = field(default_factory=PosePriorConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)
    heading_bins: int = HEADING_BINS
    head_hidden: int = 0

    def __post_init__(self) -> None:
        require(self.heading_bins >= 1, "config.heading_bins must be at least 1.")
        require(self.head_hidden >= 0, "config.head_hidden must be at least 0.")

    @property
    def pooled_grid(self) -> int:
        """Patch tokens along a side of a frame, after pooling: 14 (bilinear) or 13 (average) for the 7B."""
        grid, stride = self.vision.grid, self.video.pool_stride
        return math.ceil(grid / stride) if self.video.pool == "bilinear" else grid // stride

    @property
    def layout(self) -> VideoLayout:
        """Where a frame's tokens stand."""
        return VideoLayout(self.pooled_grid, self.pooled_grid, self.video.newline, self.video.camera)

    @property
    def pool_scale(self) -> float:
        """Patches before pooling for each pooled one along a side: 27/14 (bilinear) or 2 (average) for the 7B."""
        return self.vision.grid / self.pooled_grid if self.video.pool == "bilinear" else float(self.video.pool_stride)

    def to_json(self) -> str:
        """Return the config as JSON text."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @property
    def pixels_per_patch(self) -> float:
        """Side of a pooled patch in pixels of the vision tower's frame: 27 for the 7B."""
        return self.pool_scale * self.vision.patch_size

    @classmethod
    def from_json(cls, text: str) -> Loc3RConfig:
        """Read what `to_json` wrote.

        Raises:
            ConfigError: where the text is not JSON, or a field is unknown or has a wrong type or value.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError(f"The model's config is not JSON: {error}.") from error
        return build(cls, values, "config")

    def save(self, path: Path) -> None:
        """Write the config to a file."""
        path.write_text(self.to_json())

    @classmethod
    def load(cls, path: Path) -> Loc3RConfig:
        """Read the config from a file; ConfigError where it is missing or wrong."""
        try:
            return cls.from_json(path.read_text())
        except OSError as error:
            raise ConfigError(f"The model's config {path} cannot be read: {error.strerror}.") from error


def preset(name: str) -> Loc3RConfig:
    """Return the config of a named size: "7b", "nano", or "mid" and "tiny" for tests.

    Raises:
        ConfigError: where there is no such size.
    """
    if name not in _PRESETS:
        raise ConfigError(f"There is no model size {name!r}: choose one of {', '.join(_PRESETS)}.")
    return _PRESETS[name]


T = TypeVar("T")


def build(kind: type[T], values: Any, where: str) -> T:
    """Build a dataclass from JSON or YAML values, checking names and types on the way.

    Raises:
        ConfigError: where a field is unknown or has a wrong type or value; `where` names the place.
    """
    require(isinstance(values, Mapping), f"{where} must be an object, not {values!r}.")
    hints = get_type_hints(kind)
    unknown = sorted(set(values) - {item.name for item in fields(kind)})  # type: ignore[arg-type]
    require(not unknown, f"{where} has unknown fields: {', '.join(unknown)}.")
    return kind(**{name: _value(hints[name], value, f"{where}.{name}") for name, value in values.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint):
        return build(hint, value, where)  # type: ignore[arg-type]
    if get_origin(hint) is Literal:
        return value  # checked by the dataclass itself
    if get_origin(hint) is tuple:
        require(isinstance(value, list | tuple), f"{where} must be a list, not {value!r}.")
        return tuple(_value(get_args(hint)[0], item, where) for item in value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float and is_number:
        return float(value)
    require(type(value) is hint, f"{where} must be of type {hint.__name__}, not {value!r}.")
    return value


_NANO = Loc3RConfig(
    name="nano",
    vision=VisionConfig(image_size=128, patch_size=14, hidden_size=256, intermediate_size=768, layers=6, heads=8),
    pose_prior=PosePriorConfig(
        image_size=(64, 64),
        patch_size=8,
        encoder_dim=128,
        encoder_layers=2,
        encoder_heads=4,
        decoder_dim=128,
        decoder_layers=3,
        decoder_heads=4,
        state_heads=4,
        state_tokens=64,
        memory_slots=16,
        memory_layers=1,
        memory_heads=4,
        dense_head="linear",
    ),
    language=LanguageConfig(
        vocab_size=2048,
        hidden_size=192,
        intermediate_size=512,
        layers=8,
        heads=4,
        kv_heads=2,
        max_positions=4096,
        rope_theta=1e6,
        tie_embeddings=True,
        position_token=3,
        orientation_token=4,
        stop_tokens=(2, 0),
        repetition_penalty=1.0,
    ),
)

_TINY = Loc3RConfig(
    name="tiny",
    vision=VisionConfig(image_size=32, patch_size=6, hidden_size=16, intermediate_size=32, layers=1, heads=2),
    video=VideoConfig(frames=4),
    pose_prior=PosePriorConfig(
        image_size=(32, 32),
        encoder_dim=16,
        encoder_layers=1,
        encoder_heads=2,
        decoder_dim=16,
        decoder_layers=2,
        decoder_heads=2,
        state_heads=1,
        state_tokens=8,
        memory_slots=4,
        memory_layers=1,
        memory_heads=2,
        dense_head="linear",
    ),
    language=replace(
        _NANO.language, vocab_size=320, hidden_size=32, intermediate_size=48, layers=2, heads=4, kv_heads=2
    ),
)

_MID = Loc3RConfig(
    name="mid",
    vision=VisionConfig(image_size=224, patch_size=14, hidden_size=256, intermediate_size=768, layers=4, heads=4),
    pose_prior=PosePriorConfig(
        image_size=(224, 224),
        encoder_dim=256,
        encoder_layers=4,
        encoder_heads=4,
        decoder_dim=192,
        decoder_layers=4,
        decoder_heads=6,
        state_heads=4,
        state_tokens=96,
        memory_slots=32,
        memory_layers=1,
        memory_heads=6,
        dense_head="linear",
    ),
    language=replace(
        _NANO.language, hidden_size=512, intermediate_size=1536, layers=12, heads=8, kv_heads=4, tie_embeddings=False
    ),
)

_PRESETS = {config.name: config for config in (Loc3RConfig(), _NANO, _MID, _TINY)}
