"""The synthetic world: CPU time (user + system) of a scene, of a frame, and of the first frame after installation."""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
import time

import numpy as np
from numpy.typing import NDArray

from loc3r_ros.benchmarks import Measurement
from loc3r_ros.world.camera import focal_length, look
from loc3r_ros.world.generate import make_scene
from loc3r_ros.world.render import Renderer
from loc3r_ros.world.scene import Scene

SEEDS = range(12)
FRAMES = 32
FIELD_OF_VIEW = math.radians(80)
FIRST_FRAME = """
import time
import numpy as np
from loc3r_ros.world.generate import make_scene
from loc3r_ros.world.render import render
start = time.process_time()
render(make_scene(0), np.eye(4)[None], 16, 16, 16.0)
print(time.process_time() - start)
"""


def measure() -> list[Measurement]:
    """Measure on one thread; twelve scenes of 32 frames each."""
    note = f"{len(SEEDS)} scenes x {FRAMES} frames, 80 deg, one thread, CPU time"
    start = time.process_time()
    scenes = [make_scene(seed) for seed in SEEDS]
    rows = [Measurement("scene", 1e3 * (time.process_time() - start) / len(SEEDS), "ms", "CPU time")]
    for size in (128, 224):
        for antialias in (True, False):
            label = f"frame {size} x {size}" + ("" if antialias else ", without anti-aliasing")
            rows.append(Measurement(label, frame_time(scenes, size, antialias), "ms", note))
    rows.append(Measurement("compilation", first_frame_time(), "s", "CPU time of the first frame, empty cache"))
    return rows


def frame_time(scenes: list[Scene], size: int, antialias: bool) -> float:
    """Return the mean CPU milliseconds of a frame."""
    focal = focal_length(size, FIELD_OF_VIEW)
    jobs = [(Renderer(scene), walk_round(scene)) for scene in scenes]
    jobs[0][0].render(jobs[0][1][:1], size, size, focal)  # compiles
    start = time.process_time()
    for renderer, cameras in jobs:
        renderer.render(cameras, size, size, focal, antialias=antialias)
    return 1e3 * (time.process_time() - start) / (len(scenes) * FRAMES)


def walk_round(scene: Scene) -> NDArray[np.float64]:
    """Return (FRAMES, 4, 4) cameras that stand back from the middle of each room in turn and look across it."""
    poses = []
    for index in range(FRAMES):
        room = scene.rooms[index % len(scene.rooms)]
        turn = 2.0 * math.pi * index / FRAMES
        x = room.centre[0] - 0.3 * room.size[0] * math.cos(turn)
        y = room.centre[1] - 0.3 * room.size[1] * math.sin(turn)
        poses.append(look(x, y, 1.35, turn, math.radians(12.0)))
    return np.array(poses)


def first_frame_time() -> float:
    """Return the CPU seconds of a first frame in a new process without compiled code."""
    with tempfile.TemporaryDirectory() as folder:
        code = f"import os; os.environ['NUMBA_CACHE_DIR'] = {folder!r}\n{FIRST_FRAME}"
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(result.stdout)
