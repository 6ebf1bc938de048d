"""Reads CUT3R's checkpoints without running what they carry.

The official file is a torch zip archive: {"args": an OmegaConf object, "model": the tensors, ...}. Its pickle names
classes that torch's weights-only loader refuses, so it is read here with an unpickler that knows tensors only and puts
an inert stub in the place of everything else: no code of the file, and no package that it names, is ever run.
"""

from __future__ import annotations

import pickle
import re
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor

from loc3r_ros.errors import CheckpointError
from loc3r_ros.model.config import PosePriorConfig
from loc3r_ros.model.cut3r.network import Cut3R
from loc3r_ros.model.hub_layout import check_names

T = TypeVar("T")

SAFE_GLOBALS = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
}
UNUSED = re.compile(
    r"patch_embed_ray_map\.|enc_blocks_ray_map\.|enc_norm_ray_map\.|masked_img_token$|masked_ray_map_token$"
    r"|downstream_head\.dpt_\w+\.scratch\.refinenet4\.resConfUnit1\."
)
"""Official keys that no image-only computation reads."""
POINT_MAPS = re.compile(r"downstream_head\.(?!pose_head\.)")
ALIAS = re.compile(r"\.scratch\.layer([1-4])_rn\.")

CUT3R_512_DPT = PosePriorConfig(image_size=(384, 512), route="cut3r", dense_head="dpt")
"""The official network for images of up to 512 pixels."""

CUT3R_224_LINEAR = PosePriorConfig(image_size=(224, 224), route="cut3r", dense_head="linear")
"""The official network for 224 x 224 images."""


class _Stub:
    """Stands for an object of a class that is not read: takes any state, does nothing."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...

    def __setitem__(self, _: object, __: object) -> None: ...

    def append(self, _: object) -> None: ...

    def extend(self, _: object) -> None: ...


class _TensorUnpickler(pickle.Unpickler):
    """Knows how to rebuild tensors (torch itself adds their storages); every other global is a stub."""

    def find_class(self, module: str, name: str) -> Any:
        return SAFE_GLOBALS.get((module, name), _Stub)


def load_cut3r_checkpoint(
    path: Path | str, config: PosePriorConfig | None = None, dtype: torch.dtype = torch.float32
) -> Cut3R:
    """Build CUT3R from a checkpoint.

    Tensors of a `.pth` file that have the right type already stay memory-mapped; there is no second copy.

    Args:
        path: an official `.pth` file, or a safetensors file with the same keys.
        config: sizes. None finds out which of the official sizes it is. With `dense_head="none"` the tensors of the
            point maps are skipped.
        dtype: type of the parameters.

    Raises:
        CheckpointError: the file cannot be read, or its keys or shapes are not those of the configuration.
    """
    path = Path(path)
    tensors = rename(read_tensors(path))
    config = config or guess_config(tensors)
    if config.dense_head == "none":
        tensors = {key: tensor for key, tensor in tensors.items() if not POINT_MAPS.match(key)}
    with torch.device("meta"):
        network = Cut3R(config)
    check_tensors(network.state_dict(), tensors, f" {path}")
    for key in tensors:
        tensors[key] = tensors[key].to(dtype)
    network.load_state_dict(tensors, assign=True)
    return network.eval()


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a `.pth` or `.safetensors` file, with the names that they have there."""
    if not path.is_file():
        raise CheckpointError(f"There is no CUT3R checkpoint at {path}: fetch the official file or correct the path.")
    if path.suffix == ".safetensors":
        return _reading(path, "a safetensors file", lambda: load_file(path))
    content = _reading(path, "a torch checkpoint", lambda: _load_zip(path))
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict) or not model or not all(_is_tensor_entry(*entry) for entry in model.items()):
        raise CheckpointError(f'{path} is not a CUT3R checkpoint: it has no table of tensors called "model".')
    return dict(model)


def _is_tensor_entry(key: object, value: object) -> bool:
    return isinstance(key, str) and isinstance(value, Tensor)


def rename(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give tensors our names: without the prefix of parallel training, aliases and what is never used."""
    has_prefix = all(key.startswith("module.") for key in tensors)
    names = {key: own_name(key.removeprefix("module.") if has_prefix else key) for key in tensors}
    return {name: tensors[key] for key, name in names.items() if name is not None}


def own_name(key: str) -> str | None:
    """Return the name of an official key in our network, or None where it has no use there."""
    if UNUSED.match(key):
        return None
    return ALIAS.sub(lambda match: f".scratch.layer_rn.{int(match[1]) - 1}.", key)


def guess_config(tensors: Mapping[str, Tensor]) -> PosePriorConfig:
    """Return the official configuration with the point-map head that the keys name, or with none."""
    if any(key.startswith("downstream_head.dpt_") for key in tensors):
        return CUT3R_512_DPT
    if any(POINT_MAPS.match(key) for key in tensors):
        return CUT3R_224_LINEAR
    return replace(CUT3R_512_DPT, dense_head="none")


def check_tensors(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], where: str) -> None:
    """Raise a `CheckpointError` that names keys which are missing, unexpected or of another shape."""
    wrong = (
        f"{key} is {list(found[key].shape)} instead of {list(expected[key].shape)}"
        for key in expected.keys() & found.keys()
        if found[key].shape != expected[key].shape
    )
    check_names(expected.keys() - found.keys(), found.keys() - expected.keys(), wrong, where)


def _load_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        if any(name.endswith("/constants.pkl") for name in archive.namelist()):
            raise CheckpointError(f"{path} is a TorchScript program, not a checkpoint: it is not loaded.")
    safe_pickle = types.SimpleNamespace(Unpickler=_TensorUnpickler, __name__="safe_pickle")
    return torch.load(str(path), map_location="cpu", pickle_module=safe_pickle, weights_only=False, mmap=True)


def _reading(path: Path, kind: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except CheckpointError:
        raise
    except Exception as error:  # a damaged file fails in any way
        raise CheckpointError(f"{path} cannot be read as {kind} ({error}): fetch it again.") from error
