"""A localizer without a model: it keeps keyframes, and answers every question with the reason why it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from loc3r_ros.errors import NotReadyError
from loc3r_ros.interface import FloatArray, ImageArray, Keyframe, Layout, Pieces, Place, Reply, Trajectory
from loc3r_ros.keyframes import KeyframeBuffer

PREVIEW_SIDE = 320
"""Pixels. Keyframes hold a sample of the picture with sides no longer than this: enough to compare and to show."""

NO_MODEL = (
    "No model is loaded, so there are keyframes but no answers and no memory to save: set the parameter engines to a "
    "folder of compiled engines."
)


class CameraOnly:
    """The camera side alone, behind `interface.LocalizerProtocol`."""

    def __init__(self, buffer: KeyframeBuffer) -> None:
        self._buffer = buffer

    def observe(
        self,
        image: ImageArray,
        stamp: int,
        odometry: FloatArray | None = None,
        base_t_camera: FloatArray | None = None,
    ) -> Keyframe | None:
        """Offer a frame to the keyframes."""
        reference = "" if odometry is None else "odom"
        return self._buffer.offer(stamp, preview(image), odometry, reference).keyframe

    def keyframes(self) -> tuple[Keyframe, ...]:
        """Return the keyframes, oldest first."""
        return self._buffer.keyframes

    def locate(self, situation: str) -> Place:
        """Raise `NotReadyError`."""
        _refuse()

    def where_am_i(self) -> Place:
        """Raise `NotReadyError`."""
        _refuse()

    def ask(self, question: str, situation: str = "") -> Reply:
        """Raise `NotReadyError`."""
        _refuse()

    def ask_stream(self, question: str, situation: str = "") -> Pieces:
        """Raise `NotReadyError`."""
        _refuse()

    def layout(self) -> Layout:
        """Raise `NotReadyError`."""
        _refuse()

    def trajectory(self) -> Trajectory:
        """Raise `NotReadyError`."""
        _refuse()

    def reset(self) -> None:
        """Forget all keyframes."""
        self._buffer.reset()

    def reanchor(self, since: int) -> None:
        """Do nothing: there is no anchor."""

    def save(self, path: Path, notes: str = "") -> None:
        """Raise `NotReadyError`."""
        _refuse()

    def restore(self, path: Path, now: int | None = None) -> str:
        """Raise `NotReadyError`."""
        _refuse()


def preview(image: ImageArray) -> ImageArray:
    """Return a copy of every n-th pixel, so that no side is longer than `PREVIEW_SIDE`.

    A view would keep the whole message alive: 2.8 MB for each keyframe at 720p.
    """
    step = -(-max(image.shape[:2]) // PREVIEW_SIDE)
    return image[::step, ::step].copy()


def _refuse() -> NoReturn:
    raise NotReadyError(NO_MODEL)
