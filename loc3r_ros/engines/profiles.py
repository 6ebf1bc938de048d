"""Ranges of sizes that a compiled engine is made for, from the manifest's `dimensions`.

The language graph has two: one new token at a time, as an answer is written, and several, as frames and questions are
read. A compiler chooses kernels for each on its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from loc3r_ros.engines.manifest import GraphSpec

Shape: TypeAlias = tuple[int, ...]
Profile: TypeAlias = dict[str, tuple[Shape, Shape, Shape]]
"""Input of variable size -> its smallest, usual and largest shape."""
Dimensions: TypeAlias = Mapping[str, tuple[int, int, int]]

TOKENS, CACHES = "tokens", ("prefix", "suffix")


def profiles(spec: GraphSpec, dimensions: Dimensions) -> list[Profile]:
    """Return the profiles of a graph, of which the first that fits is used; none where no size varies."""
    names = {size for tensor in spec.inputs.values() for size in tensor.shape if isinstance(size, str)}
    if TOKENS not in names:
        return [_profile(spec, dimensions)] if names else []
    return [_profile(spec, single_token(dimensions)), _profile(spec, dimensions)]


def single_token(dimensions: Dimensions) -> Dimensions:
    """Return the sizes with one new token, of which at most one of each kind of row is asked for."""
    return {
        name: ranges if name in CACHES else (min(ranges[0], 1), min(ranges[1], 1), min(ranges[2], 1))
        for name, ranges in dimensions.items()
    }


def _profile(spec: GraphSpec, dimensions: Dimensions) -> Profile:
    def shape(sizes: tuple[int | str, ...], which: int) -> Shape:
        return tuple(size if isinstance(size, int) else dimensions[size][which] for size in sizes)

    return {
        name: (shape(tensor.shape, 0), shape(tensor.shape, 1), shape(tensor.shape, 2))
        for name, tensor in spec.inputs.items()
        if any(isinstance(size, str) for size in tensor.shape)
    }


def fits(profile: Profile, shapes: Mapping[str, Shape]) -> bool:
    """Say whether shapes lie within a profile."""
    return all(
        all(low <= size <= high for low, size, high in zip(lows, shapes[name], highs, strict=True))
        for name, (lows, _, highs) in profile.items()
    )
