"""Frames of a video file or of a bag, one after the other."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from loc3r_ros.bags import Bag, TransformTree
from loc3r_ros.errors import Loc3RError
from loc3r_ros.interface import FloatArray, ImageArray

BAG_ENDINGS = (".mcap", ".db3", ".bag")
MILLISECOND = 1_000_000
"""ns"""


class VideoError(Loc3RError):
    """A video that is missing or cannot be decoded."""


@dataclass(frozen=True)
class View:
    """What the camera saw: the stamp (ns), (H, W, 3) uint8 RGB, and (4, 4) `odom_t_camera` where it is known."""

    stamp: int
    image: ImageArray
    odom_t_camera: FloatArray | None = None


@dataclass(frozen=True)
class Recording:
    """An open recording.

    Attributes:
        count: how many frames it says that it has; None where it does not say.
        views: the frames, in the order of time; read once.
    """

    count: int | None
    views: Iterator[View]


@contextmanager
def open_recording(path: Path, topic: str = "", odom_frame: str = "odom") -> Iterator[Recording]:
    """Open a bag (a folder, or a file .mcap or .db3) or a video.

    Args:
        path: of the recording.
        topic: of the images in a bag; empty where it has only one.
        odom_frame: the frame of a bag's transforms that stands still while the robot moves smoothly; frames without
            a way to it have no odometry.

    Raises:
        BagError: the bag is missing, damaged, or has not that topic.
        VideoError: the video is missing, or holds nothing that can be decoded.
    """
    if path.is_dir() or path.suffix in BAG_ENDINGS:
        with Bag(path) as bag:
            yield Recording(bag.image_topic(topic).count, _bag_views(bag, topic, odom_frame))
    else:
        capture = _open_video(path)
        with closing(_video_views(capture, path)) as views:
            count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            yield Recording(count if count > 0 else None, views)


def _bag_views(bag: Bag, topic: str, odom_frame: str) -> Iterator[View]:
    transforms: TransformTree = bag.transforms()
    for frame in bag.frames(topic):
        yield View(frame.stamp, frame.image, transforms.lookup(odom_frame, frame.frame_id, frame.stamp))


def _open_video(path: Path) -> cv2.VideoCapture:
    if not path.is_file():
        raise VideoError(f"There is no recording at {path}.")
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise VideoError(
            f"{path} is no video that OpenCV can decode here, and its name does not end as that of a bag "
            f"({', '.join(BAG_ENDINGS)}): convert it, for instance with ffmpeg to .mp4."
        )
    return capture


def _video_views(capture: cv2.VideoCapture, path: Path) -> Generator[View, None, None]:
    stamp = -MILLISECOND
    try:
        while True:
            is_there, pixels = capture.read()
            if not is_there:
                break
            # Not every container knows its times; stamps rise all the same.
            stamp = max(round(capture.get(cv2.CAP_PROP_POS_MSEC) * MILLISECOND), stamp + MILLISECOND)
            yield View(stamp, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False))
    finally:
        capture.release()
    if stamp < 0:
        raise VideoError(f"{path} holds no frame that OpenCV can decode here.")
