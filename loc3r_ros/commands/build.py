"""Compile a folder of ONNX engines with TensorRT, on the machine that will run them.

  loc3r build engines/7b --out engines/7b_orin --precision int4
  loc3r build engines/7b --dry-run                                   # will memory and disk do?
  loc3r build --size 7b --fixed-cache 40 --precision int4 --dry-run --device agx_orin_64gb   # before anything is there

Engines to build are exported with --precision fp16 and --fixed-cache. Nothing is ever rebuilt by itself: engines that
were built for something else are refused with the command that builds them again.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from loc3r_ros.errors import ConfigError

if TYPE_CHECKING:
    from loc3r_ros.benchmarks.roofline import Device
    from loc3r_ros.build.plan import BuildPlan
    from loc3r_ros.engines.manifest import TensorSpec

DEVICES = ("agx_orin_64gb", "agx_orin_32gb", "h100_sxm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("engines", type=Path, nargs="?", help="folder of ONNX engines (see `loc3r export`)")
    source.add_argument("--size", help="with --dry-run: a size of model (nano, 7b) instead of a folder")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to make (default: ENGINES_tensorrt)")
    parser.add_argument("--precision", choices=("fp32", "fp16", "int8", "int4"), help="of the language graph's weights")
    parser.add_argument("--fixed-cache", type=int, metavar="KEYFRAMES", help="with --size: as in `loc3r export`")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and build nothing")
    parser.add_argument(
        "--device", choices=DEVICES, help="with --dry-run: plan for this device instead of this machine"
    )
    parser.add_argument("--force", action="store_true", help="build even if memory or disk look too small")


def run(arguments: argparse.Namespace) -> int:
    """Print the plan; build, unless that is all that is wanted or the engines are there already."""
    if not arguments.dry_run and (arguments.size or arguments.device):
        raise ConfigError("--size and --device plan for something that is not here: add --dry-run.")
    plan = outline_plan(arguments) if arguments.size else folder_plan(arguments)
    show(plan)
    if arguments.device:
        show_device(plan, arguments.device)
        return 0
    return here(arguments, plan)


def folder_plan(arguments: argparse.Namespace) -> BuildPlan:
    """Return the plan for a folder."""
    from loc3r_ros.build.folder import plan_folder

    return plan_folder(arguments.engines, arguments.precision)


def outline_plan(arguments: argparse.Namespace) -> BuildPlan:
    """Return the plan for a size of model that nobody has exported yet."""
    from loc3r_ros.build.plan import BITS, Weights, plan_build, planned_manifest
    from loc3r_ros.export.outline import outline
    from loc3r_ros.export.quantise import BLOCK

    precision = arguments.precision or "fp16"
    made = outline(arguments.size, "fp16" if precision in BITS else precision, arguments.fixed_cache)
    vocabulary = made.manifest.language.vocab_size
    quantised = sum(rows * columns for rows, columns in made.matrices if columns != vocabulary and rows % BLOCK == 0)
    weights = {name: Weights(size, quantised if name == "language" else 0) for name, size in made.weights.items()}
    return plan_build(planned_manifest(made.manifest, precision), weights, made.table)


def show(plan: BuildPlan) -> None:
    """Print what will be built and what that takes."""
    manifest = plan.manifest
    weights = "" if manifest.precision in ("fp32", "fp16") else ", weights of the language graph"
    print(f"{manifest.name}, {manifest.precision}{weights}")
    for graph in plan.graphs:
        print(f"  {graph.name}: {graph.precision}, weights {gigabytes(graph.weights)}")
        for number, profile in enumerate(graph.profiles):
            sizes = {
                size: ":".join(str(ranges[which][axis]) for which in range(3))
                for name, ranges in profile.items()
                for axis, size in enumerate(graph.spec.inputs[name].shape)
                if isinstance(size, str)
            }
            print(f"    profile {number}: " + ", ".join(f"{size} {text}" for size, text in sizes.items()))
        fixed = {name: tensor for name, tensor in graph.spec.inputs.items() if name not in (graph.profiles or [{}])[0]}
        print("    fixed: " + ", ".join(shapes_of(fixed)))
    print("  estimated, not measured:")
    print(f"    memory to build: {gigabytes(plan.build_bytes(False))}, where weights are mapped and plans streamed "
          f"{gigabytes(plan.build_bytes(True))}")  # fmt: skip
    print(f"    memory to run: {gigabytes(plan.run_bytes)}, of which caches {gigabytes(plan.cache)}")
    print(f"    disk: {gigabytes(plan.disk_bytes)}")
    if manifest.precision == "int8":
        print("    TensorRT has no kernels for int8 weights beside fp16 inputs and may unpack them: counted as fp16.")
    if "prefix" in manifest.dimensions:
        print("    The cache's size varies: answers run without CUDA graphs, and results take much memory.")
        print("    Engines exported with --fixed-cache KEYFRAMES avoid both.")


def shapes_of(tensors: dict[str, TensorSpec]) -> list[str]:
    """Return the shapes of inputs, those of a cache's layers once."""
    lines = {name.partition(".")[0]: f"{name.partition('.')[0]} {tensor.shape}" for name, tensor in tensors.items()}
    return list(lines.values())


def show_device(plan: BuildPlan, name: str) -> None:
    """Print whether a device has what it takes, and how fast the model of its limits says that it will be."""
    from loc3r_ros.benchmarks.roofline import DEVICES as KNOWN

    device = KNOWN[name]
    print(f"{device.name}, {gigabytes(device.memory)} of memory for programs:")
    for what, need in (
        ("build", plan.build_bytes(False)),
        ("build, mapped and streamed", plan.build_bytes(True)),
        ("run", plan.run_bytes),
    ):
        print(f"  {what}: {'enough' if need <= device.memory else 'NOT enough'} ({gigabytes(need)})")
    print("  expected times, by a model of the hardware's limits, not measured (docs/performance.md):")
    for line in expected(plan, device):
        print(f"    {line}")


def expected(plan: BuildPlan, device: Device) -> list[str]:
    """Return a line for every stage."""
    from loc3r_ros.benchmarks import roofline
    from loc3r_ros.model.config import preset

    config = preset(plan.manifest.name)
    frame, frames = plan.manifest.video.tokens, plan.manifest.video.frames
    video = plan.manifest.language.head_tokens + frames * frame
    decoded = "int4" if plan.manifest.precision == "int4" else "fp16"
    question = roofline.append_seconds(config, device, roofline.QUESTION_TOKENS, video)
    decode = roofline.decode_seconds(config, device, video, decoded)
    return [
        f"pose prior of a frame: {1e3 * device.seconds(roofline.pose_prior_flops(config), 0.0):.0f} ms",
        f"vision of a frame: {1e3 * device.seconds(roofline.vision_flops(config), 0.0):.0f} ms",
        f"append a frame to {frames}: {1e3 * roofline.append_seconds(config, device, frame, video):.0f} ms",
        f"question of {roofline.QUESTION_TOKENS} tokens on {frames} keyframes: {1e3 * question:.0f} ms",
        f"a token of the answer: {1e3 * decode:.0f} ms, {1 / decode:.1f} tokens/s",
    ]


def here(arguments: argparse.Namespace, plan: BuildPlan) -> int:
    """Check this machine, and build."""
    from loc3r_ros.build.folder import build_folder, is_built, key_here
    from loc3r_ros.build.machine import free_gpu_memory, free_memory, is_streaming
    from loc3r_ros.build.plan import shortages

    engines = arguments.engines or Path(arguments.size)
    out = arguments.out or engines.with_name(f"{engines.name}_tensorrt")
    disk = shutil.disk_usage(next(path for path in (out, *out.resolve().parents) if path.exists())).free
    wrong = shortages(plan, is_streaming(), free_memory(), disk, free_gpu_memory())
    print("This machine: " + ("memory and disk suffice." if not wrong else f"too little {'; '.join(wrong)}."))
    if arguments.dry_run:
        return 0
    key = key_here(plan)
    if is_built(out, key, print):
        print(f"{out} holds these engines already: nothing to do.")
        return 0
    if wrong and not arguments.force:
        raise ConfigError("It would not fit. Free memory or disk, choose --precision int4, or build with --force.")
    build_folder(arguments.engines, out, plan, key, command_of(arguments, out), lambda text: print(text, flush=True))
    print(f"{out}: built with TensorRT {key['tensorrt']} for compute capability {key['compute_capability']}.")
    return 0


def command_of(arguments: argparse.Namespace, out: Path) -> str:
    """Return the command that builds the same again."""
    precision = ["--precision", arguments.precision] if arguments.precision else []
    return shlex.join(["loc3r", "build", str(arguments.engines), "--out", str(out), *precision])


def gigabytes(count: float) -> str:
    """Return bytes in words."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB"
