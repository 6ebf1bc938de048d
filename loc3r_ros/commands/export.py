"""Turn a model into a folder of engines (ONNX) that the robot runs without torch.

  loc3r export models/7b --out engines/7b --precision fp16
  loc3r export models/nano --out engines/nano --precision int8          # for CPUs: faster, a third of the size
  loc3r export --random nano --out engines/nano_random     # random weights, for benchmarks and trials

The graphs are compared with the model before they are kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("checkpoint", type=Path, nargs="?", help="folder of a model (see `loc3r import`)")
    source.add_argument("--random", metavar="SIZE", help="a model of this size (nano, 7b) with random weights instead")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make or to replace")
    parser.add_argument("--precision", choices=("fp32", "fp16", "int8", "int4"), default="fp32", help="of the weights")
    parser.add_argument(
        "--fixed-cache",
        type=int,
        metavar="KEYFRAMES",
        help="give the cache fixed shapes with room for so many keyframes, for compilers that want them",
    )
    parser.add_argument("--no-check", action="store_true", help="skip the comparison with the model")


def run(arguments: argparse.Namespace) -> int:
    """Export, compare and say where the engines lie."""
    from loc3r_ros.engines import EngineSet
    from loc3r_ros.export.folder import export_engines
    from loc3r_ros.export.parity import check
    from loc3r_ros.export.reference import reference_engines
    from loc3r_ros.export.source import load_source, random_source
    from loc3r_ros.model.config import preset

    source = random_source(preset(arguments.random)) if arguments.random else load_source(arguments.checkpoint)
    manifest = export_engines(
        source, arguments.out, arguments.precision, arguments.fixed_cache, progress=lambda text: print(f"  {text}")
    )
    size = sum(file.size for file in manifest.files.values()) / 1e6
    if not arguments.no_check:
        error = check(reference_engines(source, arguments.precision), EngineSet.load(arguments.out))
        print(f"The engines say what the model says: largest relative difference {error:.1e}.")
    print(f"{arguments.out}: {manifest.name}, {manifest.precision}, {size:.0f} MB.")
    return 0
