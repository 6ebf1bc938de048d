"""How the renderer is compiled."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np

F = TypeVar("F", bound=Callable[..., object])
f32 = np.float32

# Only those relaxations are allowed that change no finite result: with contraction or reassociation, code for
# different vector units would round differently, and a scene must be the same bits on every machine.
WITHOUT_WRAPPERS: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"nnan", "ninf", "nsz"}, "nogil": True}


def jit(function: F) -> F:
    """Compile a function that compiled code calls; without the wrappers for Python, which cost more than the code."""
    return cast(F, numba.njit(**OPTIONS, **WITHOUT_WRAPPERS)(function))


def jit_entry(function: F) -> F:
    """Compile a function that Python calls, and keep the machine code on disk."""
    return cast(F, numba.njit(**OPTIONS, cache=True)(function))


def digest_of(*files: Path) -> str:
    """Return a digest of source files.

    numba compiles anew only where the file of the entry itself has changed, but its machine code holds that of all that
    it calls: an entry that closes over this digest is compiled anew when any of the files changes.
    """
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
