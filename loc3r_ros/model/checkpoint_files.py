"""Folders of safetensors files, with or without an index, read and written one file at a time."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from loc3r_ros.errors import CheckpointError

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
SHARD_BYTES = 2 << 30
"""Size that written files keep to; only one of them is in memory at a time."""


@dataclass(frozen=True)
class TensorInfo:
    """What a file's header says of a tensor: `dtype` by its safetensors name, such as "BF16"."""

    file: Path
    shape: tuple[int, ...]
    dtype: str


def scan(folder: Path) -> dict[str, TensorInfo]:
    """Read the headers of a checkpoint's files: tensor name -> info, without reading a tensor.

    Raises:
        CheckpointError: where there is no checkpoint, a file is missing or damaged, or the index promises too much.
    """
    promised = _promised(folder)
    infos: dict[str, TensorInfo] = {}
    for file in sorted(set(promised.values())):
        infos |= scan_file(file)
    if absent := sorted(set(promised) - set(infos) - {""}):
        raise CheckpointError(
            f"{folder / INDEX_FILE} names tensors that its files lack, among them {absent[0]}: fetch the files again."
        )
    return infos


def _promised(folder: Path) -> dict[str, Path]:
    """Return tensor name -> file as the index has it; the name is empty for a checkpoint of one file."""
    index = folder / INDEX_FILE
    if not index.exists():
        return {"": folder / SINGLE_FILE}
    try:
        weight_map = json.loads(index.read_text())["weight_map"]
        return {str(name): folder / Path(file).name for name, file in weight_map.items()}
    except (ValueError, KeyError, AttributeError, TypeError, OSError) as error:
        raise CheckpointError(f"{index} is no index of a sharded checkpoint: {error}.") from error


def scan_file(file: Path) -> dict[str, TensorInfo]:
    """Read the header of one safetensors file."""
    if not file.is_file():
        raise CheckpointError(f"The checkpoint's file {file} is missing: fetch it, or correct the path.")
    try:
        with safe_open(file, framework="pt") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118
            return {name: TensorInfo(file, tuple(s.get_shape()), s.get_dtype()) for name, s in slices.items()}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{file} is no whole safetensors file ({error}): fetch it again. A few lines of text are a git-lfs pointer."
        ) from error


def read(infos: Mapping[str, TensorInfo]) -> Iterator[dict[str, Tensor]]:
    """Yield the tensors file by file; they are memory-mapped, so that nothing is copied until it is used."""
    by_file: defaultdict[Path, list[str]] = defaultdict(list)
    for name, info in infos.items():
        by_file[info.file].append(name)
    for file, names in by_file.items():
        with safe_open(file, framework="pt") as tensors:
            yield {name: tensors.get_tensor(name) for name in names}


def write(folder: Path, tensors: Iterable[tuple[str, Tensor]], shard_bytes: int = SHARD_BYTES) -> None:
    """Write tensors into as many files as they need, with an index where that is more than one.

    Earlier files of the same names are replaced, and those that no longer belong are removed, only after the new ones
    are whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[tuple[list[str], Path]] = []
    for number, shard in enumerate(_shards(tensors, shard_bytes)):
        parts.append((list(shard), folder / f"part-{number}.tmp"))
        save_tensors(parts[-1][1], shard)
    for old in (*folder.glob("model-*-of-*.safetensors"), folder / INDEX_FILE, folder / SINGLE_FILE):
        old.unlink(missing_ok=True)
    if len(parts) == 1:
        parts[0][1].rename(folder / SINGLE_FILE)
        return
    weight_map: dict[str, str] = {}
    for number, (names, part) in enumerate(parts, start=1):
        file = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        part.rename(folder / file)
        weight_map |= dict.fromkeys(names, file)
    (folder / INDEX_FILE).write_text(json.dumps({"weight_map": dict(sorted(weight_map.items()))}, indent=1))


def save_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write one safetensors file that everybody may read."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file, metadata={"format": "pt"})
    file.chmod(0o644)


def _shards(tensors: Iterable[tuple[str, Tensor]], limit: int) -> Iterator[dict[str, Tensor]]:
    shard: dict[str, Tensor] = {}
    size = 0
    for name, tensor in tensors:
        if shard and size + tensor.nbytes > limit:
            yield shard
            shard, size = {}, 0
        shard[name] = tensor
        size += tensor.nbytes
    yield shard
