"""Do two sets of engines say the same? Every graph, every output, several lengths, on random pictures and words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from loc3r_ros.engines import Engine, EngineSet
from loc3r_ros.engines.manifest import TensorSpec
from loc3r_ros.engines.protocol import Array
from loc3r_ros.errors import EngineError

LENGTHS = ((1, 14, 0), (1, 200, 17), (31, 14, 0), (31, 400, 0), (40, 1, 3), (7, 333, 90))
"""(new tokens, prefix, suffix) of the language graph's comparisons."""
TOLERANCES = {"fp32": 1e-3, "fp16": 5e-2, "int8": 0.2, "int4": 0.5}
"""Largest difference that counts as equal, relative to the largest value of an output where that exceeds 1."""


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
        inputs = _random_inputs(engines.pose_prior, rng)
        yield "pose_prior", (int(not is_first),), inputs | {"is_first": np.array([is_first])}
    picture = _random_inputs(engines.vision, rng)
    yield "vision", (), picture
    (seen,) = engines.vision.run(picture).values()
    for tokens, prefix, suffix in LENGTHS:
        before = _tokens(engines, seen, prefix + suffix, rng)
        rows = engines.language.run(_fitted(_language_inputs(engines, before, engines.head, {}), engines))
        names = engines.manifest.language.cache_names
        cache = {name: (rows[name][:prefix], rows[name][prefix:]) for name in names}
        inputs = _language_inputs(
            engines,
            _tokens(engines, seen, tokens, rng),
            {name: first for name, (first, _) in cache.items()},
            {name: last for name, (_, last) in cache.items()},
        )
        yield "language", (tokens, prefix, suffix), inputs


def _tokens(engines: EngineSet, seen: Array, count: int, rng: np.random.Generator) -> Array:
    """Return (count, width) words and patches at random: what a trained network knows, unlike random numbers."""
    words = engines.embedding[rng.integers(0, len(engines.embedding), count)]
    patches = seen.reshape(-1, seen.shape[-1])[rng.integers(0, seen.size // seen.shape[-1], count)]
    return np.where(rng.random(count)[:, None] < 0.5, words, patches).astype(np.float32)


def _language_inputs(
    engines: EngineSet, tokens: Array, prefix: Mapping[str, Array], suffix: Mapping[str, Array]
) -> dict[str, Array]:
    """Return the inputs that append tokens to a cache of two parts, and ask for all that the last one says."""
    names, most = engines.manifest.language.cache_names, engines.manifest.dimensions["layouts"][2]
    none = next(iter(prefix.values()))[:0]
    lengths = {part: len(rows[names[0]]) if rows else 0 for part, rows in (("prefix", prefix), ("suffix", suffix))}
    last = np.array([len(tokens) - 1])
    return {
        "embeddings": tokens,
        "start": np.array([sum(lengths.values())]),
        "layout_rows": np.arange(0, min(len(tokens) - 1, most)),  # none where there is one token
        **{f"{name}_rows": last for name in ("position", "orientation", "logit")},
        **{f"{part}_length": np.array([length]) for part, length in lengths.items()},
        **{f"prefix_{name}": prefix[name] for name in names},
        **{f"suffix_{name}": suffix.get(name, none) for name in names},
    }


def _random_inputs(engine: Engine, rng: np.random.Generator) -> dict[str, Array]:
    return {name: _random(spec, rng) for name, spec in engine.spec.inputs.items()}


def _random(spec: TensorSpec, rng: np.random.Generator) -> Array:
    shape = tuple(1 if isinstance(size, str) else size for size in spec.shape)
    if spec.dtype == "uint8":
        return rng.integers(0, 256, shape, dtype=np.uint8)
    if np.issubdtype(np.dtype(spec.dtype), np.floating):
        return rng.standard_normal(shape).astype(spec.dtype)
    return np.zeros(shape, spec.dtype)


def _deviations(
    reference: EngineSet, candidate: EngineSet, graph: str, lengths: tuple[int, ...], inputs: dict[str, Array]
) -> Iterator[Deviation]:
    expected = getattr(reference, graph).run(_fitted(inputs, reference))
    found = getattr(candidate, graph).run(_fitted(inputs, candidate))
    for name, values in expected.items():
        yield Deviation(graph, lengths, name, difference(values, found[name]))


def _fitted(inputs: Mapping[str, Array], engines: EngineSet) -> dict[str, Array]:
    """Return inputs whose caches have as many rows as the engines want; the added ones must not be seen."""
    wanted = {"prefix": engines.prefix_rows, "suffix": engines.suffix_rows}
    return {name: _padded(rows, wanted.get(name.partition("_")[0])) for name, rows in inputs.items()}


def _padded(rows: Array, wanted: int | None) -> Array:
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
