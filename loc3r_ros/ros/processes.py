"""The executables of this package as processes, with parameters and remappings, as `ros2 run` starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from loc3r_ros.errors import Loc3RError
from loc3r_ros.resources import find_resource

PATIENCE = 10.0
"""How long a process may take to end when asked, seconds."""
TAIL = 12


class ProcessError(Loc3RError):
    """A process that ended by itself or badly."""


def find_executable(name: str) -> Path:
    """Return the path of a node's executable, in a ROS installation or in the source tree.

    Raises:
        ConfigError: it is not installed.
    """
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        installed = Path(prefix) / "lib" / "loc3r_ros" / name
        if prefix and installed.exists():
            return installed
    return find_resource(f"scripts/{name}")


def use_large_images(environment: dict[str, str] | os._Environ[str]) -> None:
    """Name the shipped DDS profile, without which Fast DDS drops large images, unless another one is named."""
    profile = str(find_resource("config/fastdds_large_images.xml"))
    is_humble = environment.get("ROS_DISTRO") == "humble"
    environment.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE" if is_humble else "FASTDDS_DEFAULT_PROFILES_FILE", profile)


class NodeProcess:
    """A node in a process of its own; as a context manager it ends with the block."""

    def __init__(
        self,
        executable: str,
        parameters: Mapping[str, object] | None = None,
        remappings: Mapping[str, str] | None = None,
        log: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it.

        Args:
            executable: its name, such as "loc3r_node".
            parameters: name -> value.
            remappings: name in the node -> name outside.
            log: file for what it prints; None for the terminal.
            environment: environment variables; None for those of this process.
        """
        self.name = executable
        self._log = log
        output = None
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            output = log.open("w")
        self._process = subprocess.Popen(
            [sys.executable, str(find_executable(executable)), *_ros_arguments(parameters or {}, remappings or {})],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            env=dict(environment) if environment is not None else None,
        )
        if output is not None:
            output.close()

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def check(self) -> None:
        """Check that it runs.

        Raises:
            ProcessError: it has ended; the sentence holds the end of its log.
        """
        code = self._process.poll()
        if code is not None:
            raise ProcessError(f"{self.name} ended with exit code {code}.{self._tail()}")

    def stop(self) -> int:
        """Ask it to end, make sure that it does, and return its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _tail(self) -> str:
        if self._log is None:
            return ""
        lines = self._log.read_text(errors="replace").splitlines()[-TAIL:]
        return "\n".join([f" The end of {self._log}:", *lines])


def _ros_arguments(parameters: Mapping[str, object], remappings: Mapping[str, str]) -> list[str]:
    arguments = ["--ros-args"]
    for name, value in parameters.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        arguments += ["-p", f"{name}:={text}"]
    for old, new in remappings.items():
        arguments += ["-r", f"{old}:={new}"]
    return arguments
