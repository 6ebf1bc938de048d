"""What a folder of engines is: `manifest.json` describes every graph, size and file, so that nothing need be guessed.

The folder also holds `embedding.npy` (the (vocabulary, width) embedding table), `head.npz` (the cache of the prompt's
fixed beginning) and `tokenizer.json`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from loc3r_ros.errors import EngineError

FORMAT = 1
"""Version of the manifest and of the graphs' inputs and outputs; an older reader refuses a newer folder."""
FILE_NAME = "manifest.json"
CALIBRATION_FILE = "calibration.json"
"""Of a model: the calibration that its engines get."""
EMBEDDING_FILE = "embedding.npy"
HEAD_FILE = "head.npz"
TOKENIZER_FILE = "tokenizer.json"
REBUILD = "Export the engines again with `loc3r export`"

T = TypeVar("T")


@dataclass(frozen=True)
class TensorSpec:
    """Type and shape of an input or output; a name in place of a size is one of the manifest's `dimensions`."""

    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class GraphSpec:
    """A graph: its file in the folder, inputs and outputs by name."""

    file: str
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]


@dataclass(frozen=True)
class FileSpec:
    """Size and SHA-256 of a file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class VideoSpec:
    """Frames as the model sees them.

    Attributes:
        image_size: side of the square picture of the vision tower, pixels.
        rows: rows of patch tokens per frame.
        columns: patch tokens per row.
        newline: layout of the newline tokens.
        frames: keyframes that the model was trained with.
        pixels_per_patch: side of a patch token's patch, pixels of that picture.
        tokens: tokens of one frame: camera, patches and newlines.
    """

    image_size: int
    rows: int
    columns: int
    newline: str
    frames: int
    pixels_per_patch: float
    tokens: int


@dataclass(frozen=True)
class PosePriorSpec:
    """The pose prior: the (height, width) and the route of its picture, and the shapes of its state's tensors."""

    image_size: tuple[int, int]
    route: str
    state: dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class LanguageSpec:
    """Sizes of the language model, its special tokens, and `head_tokens`: the prompt's length before the video."""

    layers: int
    kv_heads: int
    head_dim: int
    hidden_size: int
    vocab_size: int
    max_positions: int
    position_token: int
    orientation_token: int
    stop_tokens: tuple[int, ...]
    repetition_penalty: float
    head_tokens: int
    cache_dtype: str

    @property
    def cache_names(self) -> tuple[str, ...]:
        """Names of the cache's tensors, each (rows, kv_heads, head_dim): keys before values in every layer."""
        return tuple(f"{kind}.{layer}" for layer in range(self.layers) for kind in ("key", "value"))


@dataclass(frozen=True)
class Calibration:
    """How the numbers of the heads become honest probabilities, fitted on validation data.

    Attributes:
        sigma_scale: factor on the position head's standard deviations.
        sigma_floor: smallest standard deviation of a position, metres.
        heading_sharpness: exponent on the heading distribution; below 1 flattens it.
        own_position_sigma: standard deviation of the robot's own position from the pose prior, metres.
        own_heading_sigma: the same of its heading, radians.
    """

    sigma_scale: float = 1.0
    sigma_floor: float = 0.02
    heading_sharpness: float = 1.0
    own_position_sigma: float = 0.3
    own_heading_sigma: float = 0.15


@dataclass(frozen=True)
class Manifest:
    """A folder of engines.

    Attributes:
        name: size of the model.
        backend: which runtime its graphs are for.
        precision: "fp32", "fp16", "int8" or "int4"; the last two are of the language graph's weights alone.
        model: SHA-256 of the weights that the graphs were made from; equal for every precision and backend.
        dimensions: name of a variable size -> (smallest, usual, largest); a compiler's optimisation profile.
        graphs: "pose_prior", "vision" and "language".
        video: frames as tokens.
        pose_prior: the pose prior's picture and state.
        language: the language model's sizes.
        calibration: of the heads.
        files: every other file of the folder.
        versions: software that made it.
        build: what compiled engines were compiled for (see `loc3r_ros.engines.build_key`); empty for ONNX.
        format: version of this description.
    """

    name: str
    backend: str
    precision: str
    model: str
    dimensions: dict[str, tuple[int, int, int]]
    graphs: dict[str, GraphSpec]
    video: VideoSpec
    pose_prior: PosePriorSpec
    language: LanguageSpec
    calibration: Calibration = field(default_factory=Calibration)
    files: dict[str, FileSpec] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    build: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def fingerprint(self) -> str:
        """A hash of everything that a saved memory depends on: weights, precision and graphs."""
        text = json.dumps([self.model, self.precision, self.format, asdict(self.language), asdict(self.video)])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Return the manifest as JSON text."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest of a folder.

        Raises:
            EngineError: the folder or its manifest is missing, broken or of an unknown version.
        """
        path = folder / FILE_NAME
        if not path.is_file():
            raise EngineError(
                f"{folder} is not a folder of engines: it has no {FILE_NAME}. Make one with `loc3r export`."
            )
        try:
            values = json.loads(path.read_text())
        except ValueError as error:
            raise EngineError(f"{path} is damaged: {error}. {REBUILD}.") from error
        version = values.get("format") if isinstance(values, dict) else None
        if version != FORMAT:
            raise EngineError(
                f"{path} has format {version!r}, but this version of loc3r_ros reads format {FORMAT}. {REBUILD}."
            )
        try:
            return _build(cls, values, FILE_NAME)
        except (TypeError, ValueError) as error:
            raise EngineError(f"{path} is damaged: {error}. {REBUILD}.") from error

    def verify(self, folder: Path, hashes: bool = True) -> None:
        """Check that every file is there and is what it was when the folder was made.

        Args:
            folder: of the engines.
            hashes: False compares sizes alone, which takes no time for engines of many gigabytes.

        Raises:
            EngineError: names the first file that is missing or differs.
        """
        for name, expected in self.files.items():
            path = folder / name
            if not path.is_file():
                raise EngineError(f"The engine file {path} is missing. {REBUILD}, or copy the whole folder again.")
            size = path.stat().st_size
            if size != expected.size:
                raise EngineError(f"{path} has {size} bytes instead of {expected.size}: copy the whole folder again.")
            if hashes and hash_file(path) != expected.sha256:
                raise EngineError(f"{path} has been changed since it was made (wrong SHA-256). {REBUILD}.")


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def describe_files(folder: Path) -> dict[str, FileSpec]:
    """Return size and hash of every file of a folder but the manifest itself."""
    paths = sorted(path for path in folder.iterdir() if path.is_file() and path.name != FILE_NAME)
    return {path.name: FileSpec(path.stat().st_size, hash_file(path)) for path in paths}


def _build(kind: type[T], values: Any, where: str) -> T:
    """Build a dataclass from JSON values; TypeError or ValueError says where they do not fit."""
    if not isinstance(values, Mapping):
        raise TypeError(f"{where} must be an object")
    hints = get_type_hints(kind)
    unknown = sorted(set(values) - {item.name for item in fields(kind)})  # type: ignore[arg-type]
    if unknown:
        raise ValueError(f"{where} has unknown fields: {', '.join(unknown)}")
    return kind(**{name: _value(hints[name], value, f"{where}.{name}") for name, value in values.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint):
        return _build(hint, value, where)  # type: ignore[arg-type]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise TypeError(f"{where} must be an object")
        return {name: _value(arguments[1], item, f"{where}.{name}") for name, item in value.items()}
    if origin is tuple:
        if not isinstance(value, list):
            raise TypeError(f"{where} must be a list")
        return tuple(_value(arguments[0], item, where) for item in value)
    kinds = arguments or ((int, float) if hint is float else (hint,))
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise TypeError(f"{where} is {value!r}")
    return value
