"""`loc3r`: one command with a verb for every task.

A verb is a module of `loc3r_ros.commands` that has a docstring (its help), `add_arguments(parser)` and
`run(arguments)`, which returns the exit code. Heavy imports belong inside `run`, so that `loc3r` starts fast.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from types import ModuleType

from loc3r_ros import __version__, commands
from loc3r_ros.errors import Loc3RError

ROS_MODULES = frozenset({"rclpy", "rcl_interfaces", "builtin_interfaces", "std_srvs"})
GENERATED_MODULES = frozenset({"loc3r_ros.msg", "loc3r_ros.srv", "loc3r_ros.action"})


def verbs() -> dict[str, str]:
    """Return verb -> module name for every command; an underscore in a module's name is a dash in its verb."""
    names = [module.name for module in pkgutil.iter_modules(commands.__path__)]
    return {name.strip("_").replace("_", "-"): name for name in sorted(names)}


def load(name: str) -> ModuleType:
    """Import the module of a verb."""
    return importlib.import_module(f"{commands.__name__}.{name}")


def build_parser() -> argparse.ArgumentParser:
    """Build the parser with one sub-parser for each verb."""
    parser = argparse.ArgumentParser(prog="loc3r", description=__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, name in verbs().items():
        module = load(name)
        help_text = (module.__doc__ or "").strip()
        subparser = subparsers.add_parser(
            verb,
            help=help_text.splitlines()[0],
            description=help_text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(subparser)
        subparser.set_defaults(run=module.run)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one verb; an error that the user can put right becomes one sentence and exit code 1."""
    arguments = build_parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except Loc3RError as error:
        return _fail(arguments.verb, str(error))
    except ModuleNotFoundError as error:
        return _fail(arguments.verb, explain_missing(error.name or str(error)))
    except KeyboardInterrupt:
        return 130


def explain_missing(module: str) -> str:
    """Return the sentence about a Python module that is not installed."""
    top = module.split(".")[0]
    if top in ROS_MODULES or top.endswith("_msgs") or module in GENERATED_MODULES:
        return (
            f"it needs ROS 2 and the built package, but there is no module {module}: source the workspace's "
            "install/setup.bash, or dev/env.sh in the source tree."
        )
    return f"it needs the Python module {module}, which is not installed: see README.md."


def _fail(verb: str, sentence: str) -> int:
    print(f"loc3r {verb}: {sentence}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
