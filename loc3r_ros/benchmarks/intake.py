"""The recorded walk through DDS into the node, at 1x, 5x and as fast as it is taken: counts, keyframes, CPU.

The walk is a bag of 125 images with exact poses (`hololens_office`, in the folder that LOC3R_SHARED names). Beside the
node stands a plain rclpy subscriber that only copies each image to numpy.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loc3r_ros.bags import Bag, Track
from loc3r_ros.benchmarks import Measurement
from loc3r_ros.benchmarks._watched_node import WatchedNode, environment
from loc3r_ros.errors import ConfigError, Loc3RError
from loc3r_ros.geometry import CAMERA_LINK_T_OPTICAL, Array, relative, rotation_angle
from loc3r_ros.ros.parameters import Parameters

WALK = Path("data") / "hololens_office"
IMAGES, TRUTH = "/camera/image_raw", "/ground_truth/camera_pose"
IDLING = 5.0
SPEEDS = {"1x": ["--rate", "1"], "5x": ["--rate", "5"], "unlimited": ["--fast"]}
PARAMETERS: dict[str, object] = {
    "use_sim_time": True,
    "map_frame": "world",
    "odom_frame": "map",  # the bag has exact poses of the camera in its frame "map"
    "base_frame": "camera_optical_frame",
    "keyframe_count": 128,
    # A subscription that is made anew to suit its publishers loses images, and so does one that holds few of them: DDS
    # acknowledges an image when it has it, not when the node takes it.
    "image_qos": "reliable",
    "image_queue": 128,
}


@dataclass(frozen=True)
class Intake:
    """What became of a replay.

    Attributes:
        sent: images sent.
        counts: the node's counts of them.
        keyframes: stamp (ns) -> (4, 4) pose of the camera with x along its view.
        cpu: seconds that the node spent meanwhile, user and system.
        idle_share: seconds of CPU per second that it spends while it waits for images.
        seconds: how long it was watched.
    """

    sent: int
    counts: Mapping[str, int]
    keyframes: Mapping[int, Array]
    cpu: float
    idle_share: float
    seconds: float


def measure() -> list[Measurement]:
    """Measure all speeds; about two minutes."""
    walk = find_walk()
    with Bag(walk) as bag:
        truth = bag.track(TRUTH)
    rows = []
    for speed, options in SPEEDS.items():
        intake = measure_node(walk, options)
        rows += describe(f"node, {speed}", intake, truth)
        received, cpu = measure_subscriber(walk, options)
        rows.append(
            Measurement(f"plain subscriber, {speed}: CPU per frame", 1e3 * cpu / received, "ms", f"{received} received")
        )
    return rows


def find_walk() -> Path:
    """Return the folder of the recorded walk.

    Raises:
        ConfigError: it is not there.
    """
    folder = Path(os.environ.get("LOC3R_SHARED", Path(__file__).resolve().parents[3] / "shared")) / WALK
    if not folder.exists():
        raise ConfigError(f"The recorded walk is not at {folder}: set LOC3R_SHARED to the folder that holds {WALK}.")
    return folder


def measure_node(walk: Path, options: list[str]) -> Intake:
    """Replay the walk into the node."""
    variables = environment()
    with (
        tempfile.TemporaryDirectory() as folder,
        WatchedNode(PARAMETERS, variables, Path(folder) / "node.log") as node,
    ):
        begin = node.cpu_seconds()
        time.sleep(IDLING)
        idle_share = (node.cpu_seconds() - begin) / IDLING
        before, since = node.cpu_seconds(), time.monotonic()
        sent = replay(walk, options, variables)
        counts = node.final_counts()
        cpu, seconds = node.cpu_seconds() - before, time.monotonic() - since
        return Intake(sent, counts, dict(node.keyframes), cpu, idle_share, seconds)


def measure_subscriber(walk: Path, options: list[str]) -> tuple[int, float]:
    """Replay the walk into the plain subscriber; return the images that it received and its CPU seconds."""
    variables = environment()
    with plain_subscriber(variables) as process:
        replay(walk, options, variables)
        output, _ = process.communicate()
    report = json.loads(output)
    return report["received"], report["cpu"]


@contextmanager
def plain_subscriber(variables: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run the plain subscriber; it reports once its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "loc3r_ros.benchmarks._subscriber"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=dict(variables),
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait()


def replay(walk: Path, options: list[str], variables: Mapping[str, str]) -> int:
    """Play the walk with the real command and return the number of images sent.

    Raises:
        Loc3RError: it failed.
    """
    command = [sys.executable, "-m", "loc3r_ros.cli", "replay", str(walk), *options, "--remap", f"{IMAGES}:=/image"]
    result = subprocess.run(
        command, capture_output=True, text=True, env={**variables, "PYTHONUNBUFFERED": "1"}, check=False
    )
    match = re.search(r"sent (\d+) on /image", result.stdout)
    if result.returncode or match is None:
        raise Loc3RError(f"loc3r replay failed: {result.stdout}{result.stderr}")
    return int(match[1])


def describe(label: str, intake: Intake, truth: Track) -> list[Measurement]:
    """Return the numbers of one replay into the node."""
    counts, keyframes = intake.counts, len(intake.keyframes)
    lost = intake.sent - counts["received"]
    left = counts["received"] - counts["processed"] - counts["replaced"] - counts["failed"]
    return [
        Measurement(f"{label}: received", counts["received"], "frames", f"{intake.sent} sent, {lost} lost by DDS"),
        Measurement(
            f"{label}: processed",
            counts["processed"],
            "frames",
            f"{counts['replaced']} replaced, {counts['failed']} failed, {left} unaccounted for",
        ),
        Measurement(f"{label}: keyframes", keyframes, "frames", f"{counts['processed'] - keyframes} not kept"),
        Measurement(
            f"{label}: least motion to a keyframe",
            least_motion(intake.keyframes, truth),
            "of the threshold",
            "by ground truth; 1 or more is right",
        ),
        Measurement(f"{label}: error of keyframes", 1e3 * pose_error(intake.keyframes, truth), "mm", "largest"),
        Measurement(f"{label}: CPU while idle", 100.0 * intake.idle_share, "%", "of one core, no images, no /clock"),
        Measurement(
            f"{label}: CPU per frame",
            1e3 * intake.cpu / max(counts["received"], 1),
            "ms",
            f"everything in {intake.seconds:.0f} s, idling included",
        ),
        Measurement(
            f"{label}: CPU per frame beyond idling",
            1e3 * (intake.cpu - intake.idle_share * intake.seconds) / max(counts["received"], 1),
            "ms",
            "images, TF and /clock",
        ),
    ]


def least_motion(keyframes: Mapping[int, Array], truth: Track) -> float:
    """Return the least motion from one keyframe to the next by ground truth, as a share of what makes a keyframe."""
    limits = Parameters()
    poses = [pose for pose in (truth.at(stamp) for stamp in sorted(keyframes)) if pose is not None]
    motions = [relative(before, after) for before, after in itertools.pairwise(poses)]
    shares = [
        max(
            float(np.linalg.norm(motion[:3, 3])) / limits.keyframe_translation,
            rotation_angle(motion) / math.radians(limits.keyframe_rotation),
        )
        for motion in motions
    ]
    return min(shares, default=math.nan)


def pose_error(keyframes: Mapping[int, Array], truth: Track) -> float:
    """Return the largest distance between the published and the true pose of a keyframe, metres.

    The node's `map` begins as the odometry's frame, which is the frame of the ground truth here.
    """
    errors = [
        float(np.linalg.norm(relative(true, pose @ CAMERA_LINK_T_OPTICAL)[:3, 3]))
        for stamp, pose in keyframes.items()
        if (true := truth.at(stamp)) is not None
    ]
    return max(errors, default=math.nan)
