"""How the renderer is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numba
import numpy as np

F = TypeVar("F", bound=Callable[..., object])
f32 = np.float32


def jit(function: F) -> F:
    """Compile a function once per machine, so that its results are the same bits on every machine.

    Only those relaxations are allowed that change no finite result: with contraction or reassociation, code for
    different vector units would round differently.
    """
    compiled: F = numba.njit(error_model="numpy", fastmath={"nnan", "ninf", "nsz"}, cache=True, nogil=True)(function)
    return compiled
