"""What a build will need: memory and disk for each graph, estimated before hours are spent on it.

TensorRT's documentation says that a builder holds at least two copies of the weights, the network's and the engine's.
Where weights cannot be mapped, or a plan cannot be streamed to disk, there is one more of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from loc3r_ros.engines.manifest import GraphSpec, Manifest
from loc3r_ros.engines.profiles import Profile, profiles
from loc3r_ros.errors import ConfigError
from loc3r_ros.export.quantise import BLOCK

WORKSPACE = 1 << 30
"""Bytes that kernels may use beside weights and results."""
OVERHEAD = 2 << 30
"""CUDA's context and libraries, TensorRT's kernels, Python: what a process takes before any weights."""
SMALL_RESULTS = 256 << 20
"""Intermediate results of a graph with one picture."""
ATTENTION_BYTES = 10
"""Per pair of tokens and head: logits and weights in single precision and weights in half, if nothing is fused."""
BITS = {"int8": 16.0, "int4": 4 + 16 / BLOCK}
"""Per weight in a plan. TensorRT has no kernels for int8 weights beside fp16 inputs, so it may unpack them."""
STORED_BITS = {"int8": 8.0, "int4": 4 + 16 / BLOCK}
"""Per weight in the graph that is compiled."""
QUESTIONS = 2
"""Questions that are answered at the same time."""


@dataclass(frozen=True)
class Weights:
    """The constants of a graph.

    Attributes:
        nbytes: of all, as they are stored.
        matrices: elements of those that are quantised, where a build quantises.
    """

    nbytes: int
    matrices: int

    def bytes_with(self, bits: float | None) -> int:
        """Return their bytes where the matrices, two bytes an element, have so many bits instead; None: as stored."""
        return self.nbytes if bits is None else self.nbytes - 2 * self.matrices + int(self.matrices * bits / 8)


@dataclass(frozen=True)
class GraphPlan:
    """A graph that will be compiled.

    Attributes:
        name: in the manifest.
        spec: its tensors.
        profiles: ranges of its sizes.
        precision: of its weights.
        source: bytes of its weights in the ONNX graph that is compiled.
        weights: bytes of its weights as a plan.
        results: bytes of its intermediate results.
    """

    name: str
    spec: GraphSpec
    profiles: list[Profile]
    precision: str
    source: int
    weights: int
    results: int

    def build_bytes(self, is_streaming: bool) -> int:
        """Return the memory that compiling takes: copies of the weights, results, kernels' workspace, CUDA."""
        copies = 2 * self.weights if is_streaming else self.source + 2 * self.weights
        return copies + self.results + WORKSPACE + OVERHEAD


@dataclass(frozen=True)
class BuildPlan:
    """A folder of engines that will be compiled.

    Attributes:
        manifest: of the folder that will be.
        graphs: one after the other.
        cache: bytes of the memory's caches: the current one, the one that is being rebuilt, and the questions'.
        tables: bytes of the files that are not compiled.
    """

    manifest: Manifest
    graphs: list[GraphPlan]
    cache: int
    tables: int

    def build_bytes(self, is_streaming: bool) -> int:
        """Return the most memory that any graph needs."""
        return max(graph.build_bytes(is_streaming) for graph in self.graphs)

    @property
    def device_bytes(self) -> int:
        """The most memory of a GPU that compiling any graph takes: its weights, its results and the workspace."""
        return max(graph.weights + graph.results for graph in self.graphs) + WORKSPACE + OVERHEAD

    @property
    def run_bytes(self) -> int:
        """Memory at run time: all weights, the largest results (engines share them), caches, CUDA."""
        results = max(graph.results for graph in self.graphs)
        return sum(graph.weights for graph in self.graphs) + results + self.cache + OVERHEAD

    @property
    def disk_bytes(self) -> int:
        """Space that the folder takes, and the quantised graph for as long as it is compiled."""
        scratch = max((graph.source for graph in self.graphs if graph.precision in BITS), default=0)
        return sum(graph.weights for graph in self.graphs) + self.tables + scratch


def planned_manifest(source: Manifest, precision: str) -> Manifest:
    """Return the manifest of the folder that will be built, without its files and key.

    Raises:
        ConfigError: the source cannot be built so.
    """
    if source.backend != "onnxruntime":
        raise ConfigError(f"Only ONNX engines can be built, and these are for {source.backend}.")
    if precision != source.precision and (source.precision != "fp16" or precision not in BITS):
        raise ConfigError(
            f"Engines in {source.precision} cannot be built in {precision}: fp16 can be built in fp16, int8 and int4, "
            "and others in what they are. Export them with `loc3r export ... --precision fp16`."
        )
    if precision == source.precision and precision in BITS:
        raise ConfigError(f"These engines are quantised for CPUs. Export them in fp16 and build that in {precision}.")
    graphs = {name: replace(spec, file=f"{name}.plan") for name, spec in source.graphs.items()}
    return replace(source, backend="tensorrt", precision=precision, graphs=graphs, files={})


def plan_build(manifest: Manifest, weights: Mapping[str, Weights], tables: int) -> BuildPlan:
    """Return what building takes.

    Args:
        manifest: of the folder that will be (`planned_manifest`).
        weights: of every graph, as stored in ONNX.
        tables: bytes of the files that are not compiled.
    """
    base = "fp16" if manifest.precision in BITS else manifest.precision
    graphs = []
    for name, spec in manifest.graphs.items():
        precision = manifest.precision if name == "language" else base
        graphs.append(
            GraphPlan(
                name=name,
                spec=spec,
                profiles=profiles(spec, manifest.dimensions),
                precision=precision,
                source=weights[name].bytes_with(STORED_BITS.get(precision)),
                weights=weights[name].bytes_with(BITS.get(precision)),
                results=_results(manifest, spec),
            )
        )
    return BuildPlan(manifest, graphs, _cache(manifest), tables)


def _results(manifest: Manifest, spec: GraphSpec) -> int:
    if "embeddings" not in spec.inputs:
        return SMALL_RESULTS
    language = manifest.language
    tokens = manifest.dimensions["tokens"][2]
    seen = tokens + _rows(manifest, "prefix", 2) + _rows(manifest, "suffix", 2)
    heads = language.hidden_size // language.head_dim
    return SMALL_RESULTS + heads * tokens * seen * ATTENTION_BYTES


def _rows(manifest: Manifest, part: str, which: int) -> int:
    """Return the rows of a part of the cache: the fixed number, or the smallest, usual or largest one."""
    rows = manifest.graphs["language"].inputs[f"{part}_{manifest.language.cache_names[0]}"].shape[0]
    return rows if isinstance(rows, int) else manifest.dimensions[rows][which]


def _cache(manifest: Manifest) -> int:
    language = manifest.language
    item = np.dtype(language.cache_dtype).itemsize
    row = len(language.cache_names) * language.kv_heads * language.head_dim * item
    return row * (2 * _rows(manifest, "prefix", 1) + QUESTIONS * _rows(manifest, "suffix", 1))


def shortages(plan: BuildPlan, is_streaming: bool, memory: int, disk: int, gpu: int | None = None) -> list[str]:
    """Return a phrase for everything that a machine has too little of.

    Args:
        plan: what will be built.
        is_streaming: whether its TensorRT maps weights and streams plans.
        memory: free bytes, on Jetson of what CPU and GPU share.
        disk: free bytes where the engines will lie.
        gpu: free bytes of a GPU with memory of its own.
    """
    needs = [
        ("memory to build", plan.build_bytes(is_streaming), memory),
        ("memory to run", plan.run_bytes, memory),
        ("disk", plan.disk_bytes, disk),
    ]
    if gpu is not None:
        needs.append(("memory of the GPU", max(plan.run_bytes, plan.device_bytes), gpu))
    return [
        f"{what}: {need / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free" for what, need, free in needs if need > free
    ]
