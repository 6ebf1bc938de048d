"""Do two sets of engines say the same? Every graph, every output, several lengths, on random inputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from loc3r_ros.engines import Engine, EngineSet
from loc3r_ros.engines.manifest import TensorSpec
from loc3r_ros.engines.protocol import Array
from loc3r_ros.errors import EngineError

LENGTHS = ((1, 14, 0), (1, 200, 17), (31, 14, 0), (31, 400, 0), (40, 1, 3), (7, 333, 90))
"""(new tokens, prefix, suffix) of the language graph's comparisons."""
TOLERANCES = {"fp32": 1e-3, "fp16": 5e-2, "int8": 0.3, "int4": 0.5}
"""Largest difference that counts as equal, relative to the largest value of an output where that exceeds 1.

Random inputs are far from all that a trained network has seen: nano's keys differ there by 0.26 with int8 weights, and
it localizes as well as in fp32 (docs/engines.md).
"""


@dataclass(frozen=True)
class Deviation:
    """How far one output of one run lies from the reference.

    Attributes:
        graph: its name.
        lengths: the variable sizes of the run.
        output: name of the output.
        error: largest absolute difference, over the largest absolute value of the reference where that exceeds 1.
    """

    graph: str
    lengths: tuple[int, ...]
    output: str
    error: float


def compare(reference: EngineSet, candidate: EngineSet, seed: int = 0) -> list[Deviation]:
    """Run both sets on the same inputs and return every output's deviation."""
    rng = np.random.default_rng(seed)
    return [deviation for run in _runs(reference, rng) for deviation in _deviations(reference, candidate, *run)]


def check(reference: EngineSet, candidate: EngineSet, seed: int = 0) -> float:
    """Return the largest deviation.

    Raises:
        EngineError: it exceeds the tolerance of the candidate's precision.
    """
    worst = max(compare(reference, candidate, seed), key=lambda deviation: deviation.error)
    tolerance = TOLERANCES[candidate.manifest.precision]
    if not worst.error <= tolerance:
        raise EngineError(
            f"The exported graph '{worst.graph}' does not say what the model says: its output '{worst.output}' is off "
            f"by {worst.error:.2g} at lengths {worst.lengths}; allowed are {tolerance:g}."
        )
    return worst.error


Run = tuple[str, tuple[int, ...], dict[str, Array]]


def _runs(engines: EngineSet, rng: np.random.Generator) -> Iterator[Run]:
    for is_first in (True, False):
        inputs = _random_inputs(engines.pose_prior, rng, {})
        yield "pose_prior", (int(not is_first),), inputs | {"is_first": np.array([is_first])}
    yield "vision", (), _random_inputs(engines.vision, rng, {})
    for tokens, prefix, suffix in LENGTHS:
        sizes = {"tokens": tokens, "prefix": prefix, "suffix": suffix}
        inputs = _random_inputs(engines.language, rng, sizes)
        inputs["start"] = np.array([prefix + suffix])
        inputs["prefix_length"], inputs["suffix_length"] = np.array([prefix]), np.array([suffix])
        most = engines.manifest.dimensions["layouts"][2]
        inputs["layout_rows"] = np.arange(0, min(tokens - 1, most))  # none where there is one token
        for name in ("position_rows", "orientation_rows", "logit_rows"):
            inputs[name] = np.array([tokens - 1])
        yield "language", (tokens, prefix, suffix), inputs


def _random_inputs(engine: Engine, rng: np.random.Generator, sizes: dict[str, int]) -> dict[str, Array]:
    return {name: _random(spec, rng, sizes) for name, spec in engine.spec.inputs.items()}


def _random(spec: TensorSpec, rng: np.random.Generator, sizes: dict[str, int]) -> Array:
    shape = tuple(sizes.get(size, 1) if isinstance(size, str) else size for size in spec.shape)
    if spec.dtype == "uint8":
        return rng.integers(0, 256, shape, dtype=np.uint8)
    if np.issubdtype(np.dtype(spec.dtype), np.floating):
        return rng.standard_normal(shape).astype(spec.dtype)
    return np.zeros(shape, spec.dtype)


def _deviations(
    reference: EngineSet, candidate: EngineSet, graph: str, lengths: tuple[int, ...], inputs: dict[str, Array]
) -> Iterator[Deviation]:
    expected = getattr(reference, graph).run(inputs)
    found = getattr(candidate, graph).run({name: _fitted(name, value, candidate) for name, value in inputs.items()})
    for name, values in expected.items():
        yield Deviation(graph, lengths, name, difference(values, found[name]))


def _fitted(name: str, rows: Array, engines: EngineSet) -> Array:
    """Return part of a cache with as many rows as the engines want; the added ones must not be seen."""
    wanted = {"prefix": engines.prefix_rows, "suffix": engines.suffix_rows}.get(name.partition("_")[0])
    if wanted is None or rows.ndim == 1:
        return rows
    padding = np.full((wanted - len(rows), *rows.shape[1:]), 100.0, rows.dtype)
    return np.concatenate([rows, padding])


def difference(expected: Array, found: Array) -> float:
    """Return the error of `Deviation`; infinite where shapes differ or something is not finite."""
    if expected.shape != found.shape:
        return float("inf")
    if not expected.size:
        return 0.0
    scale = max(1.0, float(np.abs(expected).max()))
    error = float(np.abs(expected.astype(np.float64) - found.astype(np.float64)).max()) / scale
    return error if np.isfinite(error) else float("inf")
