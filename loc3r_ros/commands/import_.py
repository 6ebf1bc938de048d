"""Convert a downloaded checkpoint (LLaVA-Video, Loc3R-VLM or CUT3R) into a folder that loc3r_ros reads.

Model and pose prior are imported one after the other into the same folder, in either order:

  loc3r import Loc3R-VLM/ --out models/7b
  loc3r import cut3r_512_dpt_4_64.pth --out models/7b

Nothing is downloaded. CUT3R's weights are for non-commercial use (CC BY-NC-SA 4.0).
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("source", type=Path, help="folder from Hugging Face, or a CUT3R file (.pth, .safetensors)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make or to complete")


def run(arguments: argparse.Namespace) -> int:
    """Convert, verify and say what came of it."""
    from loc3r_ros.model.checkpoint_import import import_checkpoint

    result = import_checkpoint(arguments.source, arguments.out)
    print(f"{arguments.out}: {result.tensors} tensors converted and verified.")
    if result.untrained:
        parts = sorted({name.rsplit(".", 2)[0] for name in result.untrained})
        print(f"The checkpoint has no {', '.join(parts)}: they were initialised at random and must be trained.")
    if not result.has_pose_prior:
        print(f"There is no pose prior yet: loc3r import CUT3R.pth --out {arguments.out}")
    return 0
