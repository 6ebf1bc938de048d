"""Show a simulated robot and what the node keeps of what it sees.

Starts the simulated robot in a scene that no model has been trained on, and the node, in processes of their own. Tells
each keyframe and draws them in a picture, from above, until Ctrl-C or for DEMO_SECONDS.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loc3r_ros.errors import ConfigError, Loc3RError

if TYPE_CHECKING:
    from loc3r_ros.geometry import Array
    from loc3r_ros.ros.demo_watcher import DemoWatcher
    from loc3r_ros.ros.processes import NodeProcess
    from loc3r_ros.world.scene import Scene

SEED = 1_100_001
START_TIMEOUT = 180.0
"""How long the robot and the first keyframe may take, seconds: the first run compiles the renderer."""
DRAW_PERIOD = 3.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument("--seed", type=int, default=SEED, help=f"scene to drive through (default: {SEED})")
    parser.add_argument(
        "--seconds",
        type=float,
        default=os.environ.get("DEMO_SECONDS") or None,
        help="end after so long (default: the environment variable DEMO_SECONDS, else Ctrl-C ends it)",
    )
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for picture and logs")


def run(arguments: argparse.Namespace) -> int:
    """Run robot and node, tell what happens, draw it."""
    from loc3r_ros.ros.processes import NodeProcess, use_large_images
    from loc3r_ros.world.generate import make_scene

    if arguments.seconds is not None and not arguments.seconds > 0:
        raise ConfigError(f"--seconds and DEMO_SECONDS take a number above 0, not {arguments.seconds:g}.")
    scene = make_scene(arguments.seed)
    use_large_images(os.environ)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the processes, too
    with ExitStack() as stack:
        robot, node = (
            stack.enter_context(NodeProcess(name, parameters, log=arguments.out / f"{name}.log"))
            for name, parameters in (("world_camera", {"seed": arguments.seed}), ("loc3r_node", {}))
        )
        print(f"The robot wakes in scene {arguments.seed}. Logs and picture: {arguments.out}/", flush=True)
        demo = Demo(scene, [robot, node], arguments.out / "top_view.png")
        stack.callback(demo.close)
        try:
            demo.watch(arguments.seconds)
        except KeyboardInterrupt:
            print()
        demo.summarise()
        codes = {process.name: process.stop() for process in (node, robot)}
    failed = [f"{name} ended with exit code {code}" for name, code in codes.items() if code]
    if failed:
        raise Loc3RError(f"{' and '.join(failed)}: see the logs in {arguments.out}.")
    return 0


class Demo:
    """What the demonstration tells and draws."""

    def __init__(self, scene: Scene, processes: list[NodeProcess], picture: Path) -> None:
        """Begin to listen."""
        import rclpy
        from rclpy.context import Context
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions

        from loc3r_ros.ros.demo_watcher import DemoWatcher
        from loc3r_ros.ros.lifecycle import SpinThread
        from loc3r_ros.world import top_view
        from loc3r_ros.world.robot import CameraMount

        self._scene, self._processes, self._picture = scene, processes, picture
        self._top_view = top_view
        self._context = Context()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._watcher: DemoWatcher = DemoWatcher(self._context)
        executor = SingleThreadedExecutor(context=self._context)
        executor.add_node(self._watcher)
        self._spinner = SpinThread("loc3r_demo", executor, self._watcher.get_logger().error)
        self._camera_ahead = CameraMount().forward
        self._told: dict[int, float] = {}

    def close(self) -> None:
        """Stop listening."""
        import rclpy

        self._spinner.stop()
        self._watcher.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def watch(self, seconds: float | None) -> None:
        """Tell each keyframe and draw now and then, for some seconds from the first keyframe on.

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
            self._tell_new_keyframes()
            now = time.monotonic()
            if not self._told:
                if now - begin > START_TIMEOUT:
                    raise Loc3RError(
                        f"No keyframe came in {START_TIMEOUT:g} s: see the logs in {self._picture.parent}."
                    )
            elif end is None:
                end = now + seconds if seconds is not None else float("inf")
            if self._told and now - drawn > DRAW_PERIOD:
                self.draw()
                drawn = time.monotonic()

    def draw(self) -> None:
        """Write the picture."""
        keyframes = np.array(list(self._watcher.keyframes.values())).reshape(-1, 3)
        title = f"Scene {self._scene.seed}: the node remembers {len(keyframes)} keyframes"
        watcher = self._watcher
        figure = self._top_view.draw_drive(self._scene, watcher.path, keyframes, watcher.image, title)
        self._top_view.save(figure, self._picture)

    def summarise(self) -> None:
        """Say what came of it, and write the picture a last time."""
        if not self._told:
            print("No keyframe came yet.")
            return
        self.draw()
        self._wait_for_counts()
        path = self._watcher.path
        counts = self._watcher.counts
        driven = float(np.hypot(*np.diff(path[:, :2], axis=0).T).sum())
        errors = np.array(list(self._told.values()))
        print(
            f"The robot drove {driven:.1f} m. The node received {counts.get('received', '?')} images, looked at "
            f"{counts.get('processed', '?')} and made {len(self._told)} keyframes, on average "
            f"{np.nanmean(errors):.2f} m from the truth (odometry drifts).\nPicture: {self._picture}"
        )

    def _wait_for_counts(self) -> None:
        """Wait for the next diagnostics, which come once a second."""
        before, deadline = self._watcher.counts, time.monotonic() + 3.0
        while self._watcher.counts is before and time.monotonic() < deadline:
            time.sleep(0.05)

    def _tell_new_keyframes(self) -> None:
        for stamp, pose in self._watcher.keyframes.items():
            if stamp not in self._told:
                self._told[stamp] = error = self._error(stamp, pose)
                print(
                    f"{(stamp - next(iter(self._told))) * 1e-9:6.1f} s  keyframe {len(self._told) - 1:3d} at "
                    f"x {pose[0]:5.2f} m, y {pose[1]:5.2f} m, looking {np.degrees(pose[2]):4.0f} deg"
                    + (f", {error:.2f} m from the truth" if np.isfinite(error) else ""),
                    flush=True,
                )

    def _error(self, stamp: int, camera: Array) -> float:
        """Return how far a keyframe's camera is from where it was, metres; NaN where that was not heard."""
        if stamp not in self._watcher.truth:
            return float("nan")
        x, y, heading = self._watcher.truth[stamp]
        ahead = self._camera_ahead
        return float(np.hypot(x + ahead * np.cos(heading) - camera[0], y + ahead * np.sin(heading) - camera[1]))
