"""A folder of plans from a folder of ONNX graphs, written whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from loc3r_ros.build.onnx_graph import load_graph, weight_bytes
from loc3r_ros.build.plan import BITS, WORKSPACE, BuildPlan, Weights, plan_build, planned_manifest
from loc3r_ros.build.progress import Progress, Say, told
from loc3r_ros.build.weight_only import quantised_matrices, write_weight_only
from loc3r_ros.engines.build_key import COMMAND, build_key, differences
from loc3r_ros.engines.manifest import FILE_NAME, Manifest, describe_files
from loc3r_ros.errors import ConfigError

Compile = Callable[..., None]


def plan_folder(source: Path, precision: str | None) -> BuildPlan:
    """Return what building a folder of ONNX engines takes.

    Args:
        source: folder.
        precision: of the language graph's weights; None keeps the source's.

    Raises:
        EngineError: the folder is damaged.
        ConfigError: it cannot be built in that precision.
    """
    manifest = Manifest.read(source)
    manifest.verify(source, hashes=False)
    planned = planned_manifest(manifest, precision or manifest.precision)
    weights = {}
    for name, spec in manifest.graphs.items():
        graph = load_graph(source / spec.file)
        matrices = {matrix.name: matrix for matrix in quantised_matrices(graph, manifest.language.vocab_size)}
        weights[name] = Weights(weight_bytes(graph), sum(m.inputs * m.outputs for m in matrices.values()))
    return plan_build(planned, weights, sum((source / name).stat().st_size for name in tables(manifest)))


def tables(manifest: Manifest) -> list[str]:
    """Return the files of a folder of ONNX engines that are not compiled."""
    graphs = {spec.file for spec in manifest.graphs.values()}
    return [name for name in manifest.files if name not in graphs and name.removesuffix(".data") not in graphs]


def is_built(folder: Path, key: dict[str, str], say: Say) -> bool:
    """Say whether a folder holds engines of a key; where it holds others, tell what differs.

    Raises:
        ConfigError: it holds something else.
    """
    if not folder.exists() or not any(folder.iterdir()):
        return False
    if not (folder / FILE_NAME).exists():
        raise ConfigError(f"{folder} holds something else than engines: choose another folder.")
    manifest = Manifest.read(folder)
    wrong = differences(manifest.build, key)
    if wrong:
        say(f"{folder} is replaced: {'; '.join(wrong)}.")
        return False
    manifest.verify(folder, hashes=False)
    return True


def build_folder(source: Path, folder: Path, plan: BuildPlan, key: dict[str, str], command: str, say: Say) -> Manifest:
    """Compile every graph. The folder appears whole or not at all; one that is there is replaced.

    Args:
        source: folder of ONNX engines.
        folder: to make, best on the same disk: what is not compiled is then linked and takes no space.
        plan: of `plan_folder`.
        key: of `build_key`, which the manifest will hold.
        command: that does the same again.
        say: is told how it goes on.

    Raises:
        EngineError: TensorRT cannot compile a graph.
    """
    from loc3r_ros.build.compiler import compile_graph

    original = Manifest.read(source)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        for graph in plan.graphs:
            onnx_file = source / original.graphs[graph.name].file
            with tempfile.TemporaryDirectory(dir=scratch) as rewritten:
                if graph.precision in BITS:
                    say(f"{graph.name}: quantising weights to {graph.precision}")
                    onnx_file = Path(rewritten) / onnx_file.name
                    write_weight_only(source / onnx_file.name, onnx_file, graph.precision, original.language.vocab_size)
                progress = Progress()
                with told(f"{graph.name} ({graph.precision})", say, progress):
                    compile_graph(
                        onnx_file, made / graph.spec.file, graph.spec, original.dimensions, WORKSPACE, progress
                    )
        for name in tables(original):
            _link(source / name, made / name)
        manifest = replace(plan.manifest, files=describe_files(made), build={**key, COMMAND: command})
        (made / FILE_NAME).write_text(manifest.to_json())
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    return manifest


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)


def key_here(plan: BuildPlan) -> dict[str, str]:
    """Return the key of engines that are built on this machine.

    Raises:
        EngineError: there is no CUDA device.
    """
    import tensorrt as trt

    from loc3r_ros.engines.gpu import Gpu

    return build_key(plan.manifest, trt.__version__, Gpu().compute_capability)
