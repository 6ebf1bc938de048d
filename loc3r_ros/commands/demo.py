"""Show a simulated robot and the node: it drives, remembers, asks itself things and compares with the truth.

Starts the simulated robot in a scene that no model has been trained on, the node and the page, in processes of their
own. Tells each keyframe and each answer with its error, draws them in a picture, from above, sums up, and stays up for
your own questions until Ctrl-C or for DEMO_SECONDS.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import signal
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loc3r_ros.errors import ConfigError, Loc3RError

if TYPE_CHECKING:
    from loc3r_ros.demo.engines import Choice
    from loc3r_ros.geometry import Array
    from loc3r_ros.ros.demo_interview import Interview
    from loc3r_ros.ros.demo_watcher import DemoWatcher
    from loc3r_ros.ros.processes import NodeProcess
    from loc3r_ros.world.scene import Scene

SEED = 1_100_001
PORT = 8080
PROFILE = "config/nano_cpu.yaml"
PAGE = re.compile(r"The page is at (\S+?)\.?$", re.MULTILINE)
START_TIMEOUT = 180.0
"""How long the robot and the first keyframe may take, seconds: the first run compiles the renderer."""
DRAW_PERIOD = 3.0
ANSWER_TIMEOUT = 30.0
"""Longest time for one answer, seconds: longer than the profile's, since all runs on one machine."""
ROUNDS = 4
"""So often it asks itself things,"""
BETWEEN_ROUNDS = 3.0
"""so many seconds apart, as soon as it remembers half as much as it can."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument("--seed", type=int, default=SEED, help=f"scene to drive through (default: {SEED})")
    parser.add_argument(
        "--engines",
        type=Path,
        metavar="DIR",
        help="folder of engines (default: engines/nano, which ships)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=os.environ.get("DEMO_SECONDS") or None,
        help="end so long after the first keyframe (default: the environment variable DEMO_SECONDS, else Ctrl-C)",
    )
    parser.add_argument(
        "--port", type=int, default=PORT, help=f"of the page (default: {PORT} where it is free; 0: any free one)"
    )
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for picture and logs")


def run(arguments: argparse.Namespace) -> int:
    """Run robot and node, ask, tell what happens, draw it."""
    from loc3r_ros.demo.engines import choose_engines
    from loc3r_ros.ros.client import Client
    from loc3r_ros.ros.demo_interview import Interview
    from loc3r_ros.ros.processes import NodeProcess, use_large_images
    from loc3r_ros.world.generate import make_scene

    if arguments.seconds is not None and not arguments.seconds > 0:
        raise ConfigError(f"--seconds and DEMO_SECONDS take a number above 0, not {arguments.seconds:g}.")
    scene = make_scene(arguments.seed)
    engines = choose_engines(arguments.engines)
    use_large_images(os.environ)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the processes, too
    with ExitStack() as stack:
        processes = [
            stack.enter_context(NodeProcess(name, values, log=arguments.out / f"{name}.log"))
            for name, values in _parameters(arguments, engines).items()
        ]
        _say(f"The robot wakes in scene {arguments.seed}, with {engines.text}. Logs and picture: {arguments.out}/")
        client = stack.enter_context(Client(timeout=2 * ANSWER_TIMEOUT))
        interview = Interview(scene, client, _say, enough=engines.keyframes // 2)
        demo = Demo(scene, processes, interview, arguments.out / "top_view.png")
        stack.callback(demo.close)
        try:
            demo.watch(arguments.seconds)
        except KeyboardInterrupt:
            _say("")
        demo.summarise()
        _say(f"Engines: {engines.text}.")
        codes = {process.name: process.stop() for process in reversed(processes)}
    failed = [f"{name} ended with exit code {code}" for name, code in codes.items() if code]
    if failed:
        raise Loc3RError(f"{' and '.join(failed)}: see the logs in {arguments.out}.")
    return 0


def _say(text: str) -> None:
    print(text, flush=True)


def _free_port(wanted: int) -> int:
    """Return a TCP port if nobody listens there, else 0 for any."""
    with socket.socket() as trial, suppress(OSError):
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind(("", wanted))
        return wanted
    return 0


def _parameters(arguments: argparse.Namespace, engines: Choice) -> dict[str, dict[str, Any]]:
    """Return executable -> parameters of what to start; the page only where the library that serves it is installed."""
    import yaml

    from loc3r_ros.resources import find_resource

    profile: dict[str, Any] = yaml.safe_load(find_resource(PROFILE).read_text())["/**"]["ros__parameters"]
    node = profile | {
        "answer_timeout": ANSWER_TIMEOUT,
        "keyframe_count": engines.keyframes,
        "engines": str(engines.folder),
    }
    page = {"loc3r_viewer": {"port": _free_port(arguments.port)}} if importlib.util.find_spec("viser") else {}
    return {"world_camera": {"seed": arguments.seed}, "loc3r_node": node, **page}


class Demo:
    """What the demonstration tells and draws."""

    def __init__(self, scene: Scene, processes: list[NodeProcess], interview: Interview, picture: Path) -> None:
        """Begin to listen."""
        import rclpy
        from rclpy.context import Context
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions

        from loc3r_ros.ros.demo_watcher import DemoWatcher
        from loc3r_ros.ros.lifecycle import SpinThread
        from loc3r_ros.world import top_view

        self._scene, self._processes, self._picture = scene, processes, picture
        self._interview, self._rounds, self._next_round = interview, 0, 0.0
        self._top_view = top_view
        self._context = Context()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._watcher: DemoWatcher = DemoWatcher(self._context)
        executor = SingleThreadedExecutor(context=self._context)
        executor.add_node(self._watcher)
        self._spinner = SpinThread("loc3r_demo", executor, self._watcher.get_logger().error)
        self._told: dict[int, float] = {}
        self._is_page_told = False

    def close(self) -> None:
        """Stop listening."""
        import rclpy

        self._spinner.stop()
        self._watcher.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def watch(self, seconds: float | None) -> None:
        """Tell each keyframe, ask and draw now and then, for some seconds from the first keyframe on.

        Raises:
            ProcessError: a process ended.
            Loc3RError: no keyframe came.
        """
        begin = time.monotonic()
        end, drawn = None, 0.0
        while end is None or time.monotonic() < end:
            time.sleep(0.1)
            for process in self._processes:
                process.check()
            self._tell_page()
            self._tell_new_keyframes()
            now = time.monotonic()
            if not self._told:
                if now - begin > START_TIMEOUT:
                    raise Loc3RError(
                        f"No keyframe came in {START_TIMEOUT:g} s: see the logs in {self._picture.parent}."
                    )
            elif end is None:
                end = now + seconds if seconds is not None else float("inf")
            self._ask_when_it_is_time(now)
            if self._told and now - drawn > DRAW_PERIOD:
                self.draw()
                drawn = time.monotonic()

    def draw(self) -> None:
        """Write the picture."""
        watcher = self._watcher
        keyframes = np.array(list(watcher.keyframes.values())).reshape(-1, 3)
        title = f"Scene {self._scene.seed}: the node remembers {len(keyframes)} keyframes"
        located = self._interview.located
        places = [(place.truth, place.pose, place.covariance) for place in located]
        figure = self._top_view.draw_drive(self._scene, watcher.path, keyframes, places, watcher.image, title)
        self._top_view.save(figure, self._picture)

    def summarise(self) -> None:
        """Say what came of it, and write the picture a last time."""
        if not self._told:
            _say("No keyframe came yet.")
            return
        if self._rounds < ROUNDS:
            self._sum_up(self._interview)
        self.draw()
        self._wait_for_counts()
        path, counts = self._watcher.path, self._watcher.counts
        driven = float(np.hypot(*np.diff(path[:, :2], axis=0).T).sum())
        errors = np.array(list(self._told.values()))
        _say(
            f"The robot drove {driven:.1f} m. The node received {counts.get('received', '?')} images, looked at "
            f"{counts.get('processed', '?')} and made {len(self._told)} keyframes, on average "
            f"{np.nanmean(errors):.2f} m from the truth (odometry drifts).\nPicture: {self._picture}"
        )

    def _ask_when_it_is_time(self, now: float) -> None:
        interview = self._interview
        if self._rounds == ROUNDS or now < self._next_round:
            return
        cameras = self._watcher.true_cameras()
        if len(cameras) < interview.enough:
            return
        _say(f"Round {self._rounds + 1} of {ROUNDS}: it remembers {len(cameras)} keyframes and is asked")
        interview.ask_round(cameras, self._watcher.truth.get)
        self._rounds += 1
        self._next_round = time.monotonic() + BETWEEN_ROUNDS
        if self._rounds == ROUNDS:
            self._sum_up(interview)
            _say('Now you: loc3r where "I am standing beside the sofa, facing the TV."   Ctrl-C ends it.')

    def _sum_up(self, interview: Interview) -> None:
        _say("\n".join([f"In short, after {self._rounds} of {ROUNDS} rounds:", *interview.marks.summary()]))

    def _tell_page(self) -> None:
        log = self._picture.parent / "loc3r_viewer.log"
        if not self._is_page_told and log.exists() and (found := PAGE.search(log.read_text(errors="replace"))):
            _say(f"The page is at {found[1]}: open it in a browser.")
            self._is_page_told = True

    def _wait_for_counts(self) -> None:
        """Wait for the next diagnostics, which come once a second."""
        before, deadline = self._watcher.counts, time.monotonic() + 3.0
        while self._watcher.counts is before and time.monotonic() < deadline:
            time.sleep(0.05)

    def _tell_new_keyframes(self) -> None:
        for stamp, pose in self._watcher.keyframes.items():
            if stamp not in self._told:
                self._told[stamp] = error = self._error(stamp, pose)
                _say(
                    f"{(stamp - next(iter(self._told))) * 1e-9:6.1f} s  keyframe {len(self._told) - 1:3d} at "
                    f"x {pose[0]:5.2f} m, y {pose[1]:5.2f} m, looking {np.degrees(pose[2]):4.0f} deg"
                    + (f", {error:.2f} m from the truth" if np.isfinite(error) else "")
                )

    def _error(self, stamp: int, camera: Array) -> float:
        """Return how far a keyframe's camera is from where it was, metres; NaN where that was not heard."""
        true = self._watcher.true_camera(stamp)
        return float("nan") if true is None else float(np.hypot(*(true[:2, 3] - camera[:2])))
