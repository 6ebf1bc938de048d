"""A talk with the node in a process of its own: images as fast as it keeps them, questions, TF."""

from __future__ import annotations

import array
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from loc3r_ros.benchmarks._watched_node import WatchedNode, environment
from loc3r_ros.engines.manifest import Manifest
from loc3r_ros.errors import Loc3RError
from loc3r_ros.evaluation.engines import ANSWER_TOKENS
from loc3r_ros.geometry import Array
from loc3r_ros.interface import ImageArray
from loc3r_ros.msg import LanguagePose
from loc3r_ros.ros.conversions import matrix_from_pose, matrix_from_transform, stamp_from_message, time_message
from loc3r_ros.ros.qos import TRANSFORMS
from loc3r_ros.ros.session import DESCRIBED_FRAME
from loc3r_ros.srv import Ask, WhereAmI

CAMERA = "camera_optical_frame"
STEP = 10_000_000_000
"""ns between the stamps of two frames: the frames of a video lie far apart, and no camera may seem too fast."""
PATIENCE = 30.0
RESEND = 2.0
"""s after which a frame is sent again: the first may be lost while DDS matches its ends."""
TF_PATIENCE = 1.0
SERVICES: dict[Any, str] = {WhereAmI: "where_am_i", Ask: "ask", Trigger: "reset"}


class Conversation:
    """The node in a process of its own, shown images and asked questions; a context manager."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        """Start the node with a memory that keeps every frame of a video."""
        self._scratch = tempfile.TemporaryDirectory()
        parameters: dict[str, object] = {
            "engines": folder.resolve(),
            "odom_frame": '""',
            "image_qos": "reliable",
            "keyframe_count": manifest.video.frames,
            "keyframe_translation": 0.0,
            "answer_tokens": ANSWER_TOKENS,
        }
        self._watched = WatchedNode(parameters, environment(), Path(self._scratch.name) / "node.log")
        probe = self._watched.probe
        self._clients: dict[Any, Any] = {kind: probe.create_client(kind, name) for kind, name in SERVICES.items()}
        self._images = probe.create_publisher(Image, "image", QoSProfile(depth=10))
        probe.create_subscription(TFMessage, "/tf", self._on_transforms, TRANSFORMS)
        self._described: Array | None = None
        self._frames = manifest.video.frames
        self._newest_stamp = 0
        self.stamps: list[int] = []

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *error: object) -> None:
        self._watched.__exit__(*error)
        self._scratch.cleanup()

    def call(self, kind: Any, **fields: str) -> tuple[Any, float]:
        """Return the response of a service, and the seconds from call to reply.

        Raises:
            Loc3RError: it fails, with the node's sentence.
        """
        client, done, ends = self._clients[kind], threading.Event(), [0.0]

        def end(_: object) -> None:
            ends[0] = time.perf_counter()
            done.set()

        begin = time.perf_counter()
        future = client.call_async(kind.Request(**fields))
        future.add_done_callback(end)
        if not done.wait(PATIENCE):
            raise Loc3RError(f"{kind.__name__} did not answer within {PATIENCE:g} s.")
        response: Any = future.result()
        if not response.success:
            raise Loc3RError(f"{kind.__name__}: {response.message}")
        return response, ends[0] - begin

    def show(self, image: ImageArray) -> int:
        """Publish an image with the next stamp, and return that."""
        self._newest_stamp += STEP
        message = Image(height=image.shape[0], width=image.shape[1], encoding="rgb8", step=3 * image.shape[1])
        message.header.stamp, message.header.frame_id = time_message(self._newest_stamp), CAMERA
        message.data = array.array("B", image.tobytes())
        self._images.publish(message)
        return self._newest_stamp

    def show_until_kept(self, image: ImageArray) -> None:
        """Publish an image and wait until it is a keyframe."""
        if not self.is_kept(self.show(image), PATIENCE):
            raise Loc3RError(f"An image did not become a keyframe within {PATIENCE:g} s.")

    def is_kept(self, stamp: int, patience: float) -> bool:
        """Return whether an image becomes a keyframe within some seconds."""
        return _wait(lambda: stamp in self._watched.keyframes, patience)

    @property
    def keyframe_count(self) -> int:
        """How many keyframes the node has published."""
        return len(self._watched.keyframes)

    def cpu_seconds(self) -> float:
        """Return the CPU time (user + system) of the node so far."""
        return self._watched.cpu_seconds()

    def reset(self) -> None:
        """Make the node forget all it has seen, so that stamps may begin in the past again."""
        self.call(Trigger)
        self._newest_stamp = time.time_ns() - 2 * self._frames * STEP
        _wait(lambda: not self._watched.keyframes, PATIENCE)

    def wait_until_ready(self, image: ImageArray) -> None:
        """Wait until engines are loaded, images are kept and requests answered: DDS matches their ends one by one."""
        sent: dict[Any, list[Any]] = {WhereAmI: [], Ask: []}  # not Trigger: a late reset would forget a frame
        is_kept, deadline = False, time.monotonic() + PATIENCE
        self._newest_stamp = time.time_ns() - 2 * self._frames * STEP
        while not (is_kept and all(any(future.done() for future in futures) for futures in sent.values())):
            if time.monotonic() > deadline:
                raise Loc3RError("The node does not answer, or keeps no image.")
            for kind, futures in sent.items():
                futures.append(self._clients[kind].call_async(kind.Request()))
            is_kept = self.is_kept(self.show(image), RESEND)

    def tf_error(self, pose: LanguagePose) -> float:
        """Return the largest difference between the numbers of a message and those of the described pose in TF."""
        wanted = matrix_from_pose(pose.pose.pose)
        _wait(lambda: self._described is not None and np.array_equal(self._described, wanted), TF_PATIENCE)
        return float("inf") if self._described is None else float(np.abs(self._described - wanted).max())

    def _on_transforms(self, message: TFMessage) -> None:
        self.stamps.append(stamp_from_message(message.transforms[0].header.stamp))
        for transform in message.transforms:
            if transform.child_frame_id == DESCRIBED_FRAME:
                self._described = matrix_from_transform(transform)


def _wait(is_done: Callable[[], bool], patience: float) -> bool:
    deadline = time.monotonic() + patience
    while not is_done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True
