#!/usr/bin/env python3
"""Set up everything that loc3r_ros needs into .venv and install/, and do nothing where that is done already.

Standard library only. Where a ROS installation is sourced (ROS_DISTRO), that one is used; elsewhere ROS 2 comes from
PyPI wheels, whose CMake files are made to fit this machine. Called by `make setup`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
ENV_FILE = VENV / "ros_env.sh"
SUPPORTED = ((3, 10), (3, 12))
PACKAGE_PARTS = (
    "CMakeLists.txt",
    "package.xml",
    "loc3r_ros",
    "msg",
    "srv",
    "action",
    "scripts",
    "launch",
    "config",
    "engines",
)


class SetupError(Exception):
    """Something that the user has to put right; the text says what."""


def say(text: str) -> None:
    """Print one line of progress."""
    print(f"setup: {text}", flush=True)


def has_system_ros() -> bool:
    """Whether the user sourced a ROS installation."""
    return bool(os.environ.get("ROS_DISTRO"))


def check_machine() -> None:
    """Refuse early, with a sentence, where something is missing that only the user can install."""
    low, high = SUPPORTED
    if not low <= sys.version_info[:2] <= high:
        raise SetupError(
            f"Python {sys.version_info.major}.{sys.version_info.minor} is not supported: use 3.10, 3.11 or 3.12, "
            "for example `make PYTHON=python3.12 test`."
        )
    for tool, package in (("cc", "build-essential"), ("c++", "build-essential"), ("cmake", "cmake")):
        if shutil.which(tool) is None:
            raise SetupError(f"`{tool}` is missing: install it with `sudo apt install {package}`.")
    if has_system_ros() and shutil.which("colcon") is None:
        raise SetupError("`colcon` is missing: install it with `sudo apt install python3-colcon-common-extensions`.")


def run(command: list[str], what: str, log: Path, env: dict[str, str] | None = None) -> None:
    """Run a command with its output in `log`; on failure raise with the end of that log."""
    say(f"{what} ...")
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as out:
        code = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT, env=env).returncode
    if code:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-25:])
        raise SetupError(f"{what} failed (exit code {code}); the end of {log.relative_to(ROOT)}:\n{tail}")


def digest(paths: list[Path], extra: str = "") -> str:
    """One hash of the files' contents."""
    total = hashlib.sha256(extra.encode())
    for path in sorted(paths):
        total.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def is_done(stamp: Path, key: str) -> bool:
    """Whether a step was done with exactly these inputs."""
    return stamp.exists() and stamp.read_text() == key


def make_venv() -> None:
    """Create .venv with the Python that runs this script."""
    if (VENV / "bin" / "python").exists():
        return
    system_packages = ["--system-site-packages"] if has_system_ros() else []
    try:
        run([sys.executable, "-m", "venv", *system_packages, str(VENV)], "creating .venv", ROOT / "log" / "venv.log")
    except SetupError as error:
        shutil.rmtree(VENV, ignore_errors=True)
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise SetupError(f"{error}\nOn Debian and Ubuntu: `sudo apt install python{version}-venv`.") from None


def requirement_files() -> list[Path]:
    """The pinned requirements for this machine."""
    dev = ROOT / "dev"
    origin = "requirements-system-ros.txt" if has_system_ros() else "requirements-ros.txt"
    return [dev / origin, dev / "requirements.txt"]


def install_requirements() -> None:
    """Install the pinned Python packages."""
    files = requirement_files()
    stamp, key = VENV / "requirements.stamp", digest(files)
    if is_done(stamp, key):
        return
    arguments = [argument for path in files for argument in ("-r", str(path))]
    python = str(VENV / "bin" / "python")
    run([python, "-m", "pip", "install", "--disable-pip-version-check", *arguments],
        "installing the pinned Python packages (about 3 minutes, 2 GB)", ROOT / "log" / "pip.log")  # fmt: skip
    stamp.write_text(key)


def venv_value(expression: str) -> str:
    """Evaluate an expression in the venv's Python, without starting the ROS wheels' bootstrap."""
    code = f"import sys, sysconfig; print({expression})"
    env = {**os.environ, "_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1"}
    done = subprocess.run(
        [str(VENV / "bin" / "python"), "-c", code], capture_output=True, text=True, check=True, env=env
    )
    return done.stdout.strip()


def fix_cmake_exports() -> None:
    """Replace the include folders of the machine that built the ROS wheels by those of this venv."""
    include = venv_value("sysconfig.get_path('include')")
    numpy_include = venv_value("__import__('numpy').get_include()")
    for path in VENV.glob("share/*/cmake/*rosidl_generator_pyExport.cmake"):
        text = path.read_text()
        fixed = re.sub(r"[^;\"]*/numpy/_?core/include", numpy_include, text)
        fixed = re.sub(r"/opt/python/[^/;\"]+/include/[^/;\"]+", include, fixed)
        if fixed != text:
            path.write_text(fixed)


def write_ros_environment() -> None:
    """Write the file that puts the ROS wheels on the paths (the wheels bring none)."""
    site = Path(venv_value("sysconfig.get_path('purelib')"))
    libraries = [VENV / "lib", *sorted(site.glob("ros_*.libs"))]
    ENV_FILE.write_text(
        "# Written by dev/bootstrap.py: puts the ROS 2 wheels of this venv on the paths.\n"
        f'export AMENT_PREFIX_PATH="{VENV}${{AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}}"\n'
        f'export CMAKE_PREFIX_PATH="{VENV}${{CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}}"\n'
        f'export LD_LIBRARY_PATH="{":".join(map(str, libraries))}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"\n'
        # Otherwise a .pth file of the wheels starts every Python twice: wrong process ids, lost coverage.
        "export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1\n"
    )


def build_inputs() -> list[Path]:
    """The files whose change asks for a new colcon build (dev/env.sh puts the source tree first: Python needs none)."""
    patterns = ("msg/*", "srv/*", "action/*", "CMakeLists.txt", "package.xml", "dev/tf2_msgs/**/*", "scripts/*",
                "launch/*", "config/*", "engines/*/*")  # fmt: skip
    return [path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()]


def has_tf2_msgs(env: dict[str, str]) -> bool:
    """Whether some prefix already holds geometry2's tf2_msgs."""
    return any((Path(prefix) / "share" / "tf2_msgs").exists() for prefix in env.get("AMENT_PREFIX_PATH", "").split(":"))


def build_environment() -> dict[str, str]:
    """The environment of `source dev/env.sh`, without an earlier build of ours in it."""
    script = f"set -a; LOC3R_UNDERLAY_ONLY=1 . {ROOT}/dev/env.sh >/dev/null && env -0"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    pairs = (entry.split("=", 1) for entry in done.stdout.decode().split("\0") if "=" in entry)
    return dict(pairs)


def stage_sources() -> Path:
    """Link the package into a folder of its own: CMake refuses include folders (the venv) below the source."""
    stage = ROOT / "build" / "stage" / "loc3r_ros"
    stage.mkdir(parents=True, exist_ok=True)
    for name in PACKAGE_PARTS:
        link = stage / name
        if not link.is_symlink():
            link.symlink_to(ROOT / name)
    return stage


def build_interfaces() -> None:
    """Build the ROS package, and the stand-in for tf2_msgs where nothing else has it."""
    stamp = ROOT / "install" / "build.stamp"
    key = digest(build_inputs(), str(VENV))
    if is_done(stamp, key):
        return
    env = build_environment()
    paths = [str(stage_sources())] + ([] if has_tf2_msgs(env) else ["dev/tf2_msgs"])
    python = str(VENV / "bin" / "python")
    colcon = ["colcon"] if has_system_ros() else [python, "-m", "colcon"]
    run([*colcon, "build", "--merge-install", "--symlink-install", "--paths", *paths, "--cmake-args",
         f"-DPython3_EXECUTABLE={python}", "-DBUILD_TESTING=OFF"],
        "building the ROS package with colcon", ROOT / "log" / "colcon.log", env)  # fmt: skip
    stamp.write_text(key)


def main() -> int:
    """Do every step that is not done yet."""
    try:
        check_machine()
        (ROOT / "log").mkdir(exist_ok=True)
        lock = (ROOT / "log" / "setup.lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)  # two setups at once would break each other; released when the process ends
        make_venv()
        install_requirements()
        if not has_system_ros():
            fix_cmake_exports()
            write_ros_environment()
        build_interfaces()
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    origin = f"ROS {os.environ['ROS_DISTRO']}" if has_system_ros() else "ROS 2 from wheels"
    say(f"ready ({origin}); `source dev/env.sh` puts it on the paths of a shell")
    return 0


if __name__ == "__main__":
    sys.exit(main())
