"""Train a model: its tokenizer, its vision tower, its pose prior, then all the rest together.

  loc3r train tokenizer --config config/train/nano_tokenizer.yaml --model models/nano
  loc3r train scenes    --config config/train/nano_scenes.yaml    --model models/nano
  loc3r train vision    --config config/train/nano_vision.yaml    --model models/nano --run runs/vision
  loc3r train pose      --config config/train/nano_pose.yaml      --model models/nano --run runs/pose
  loc3r train joint     --config config/train/nano_joint.yaml     --model models/nano --run runs/joint

"scenes" renders ahead what the other stages would render as they go.
A command that was stopped goes on where its last checkpoint stands when it is given again; --minutes and --until pause
it on purpose. On many GPUs or machines: `accelerate launch -m loc3r_ros.cli train ...`.
`tensorboard --logdir runs` shows the curves of all runs as they grow.
"""

from __future__ import annotations

import argparse
from pathlib import Path

STAGES = ("tokenizer", "scenes", "vision", "pose", "joint")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("stage", choices=STAGES, help="what to train")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the recipe (YAML)")
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="the model that the stage completes")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the trained model goes (default: --model)")
    parser.add_argument(
        "--run", dest="run_folder", type=Path, metavar="DIR", help="checkpoints, log, curves (default: runs/STAGE)"
    )
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="change the recipe")
    parser.add_argument("--until", type=int, metavar="STEP", help="pause after this many steps in all")
    parser.add_argument("--minutes", type=float, help="pause after this long")


def run(arguments: argparse.Namespace) -> int:
    """Train, and say where the model lies and how to go on."""
    from loc3r_ros.train.config import load_config
    from loc3r_ros.train.stages import make_stage, make_tokenizer

    config = load_config(arguments.config, arguments.set)
    out = arguments.out or arguments.model
    if arguments.stage == "tokenizer":
        tokenizer = make_tokenizer(config, out)
        print(f"{out}: a {config.size} begun, with a tokenizer of {tokenizer.size} ids.")
        return 0

    if arguments.stage == "scenes":
        from loc3r_ros.model.checkpoint import CONFIG_FILE
        from loc3r_ros.model.config import Loc3RConfig
        from loc3r_ros.train.scenes import balanced_questions, open_store, render_scenes

        store = open_store(Loc3RConfig.load(arguments.model / CONFIG_FILE), config.data)
        print(f"{store.folder}: {render_scenes(store, config.data)} scenes rendered, {config.data.all_scenes} in all.")
        balanced_questions(store, config.data)
        return 0

    from loc3r_ros.train.loop import Limits, train

    folder = arguments.run_folder or Path("runs") / arguments.stage
    stage = make_stage(arguments.stage, config, arguments.model)
    done = train(arguments.stage, stage, config, folder, out, Limits(arguments.until, arguments.minutes))
    print(f"{out}: {done} of {config.steps} steps done; curves in {folder}.")
    if done < config.steps:
        print("Give the same command again to go on.")
    return 0
