"""What the robot needs from a localizer: its results, and the one protocol through which the node reaches it.

Frames: an `anchor` frame lies on the floor under the first keyframe's camera, x forward, y left, z up, gravity
aligned (the paper's bird's-eye view). A rebuild of the memory makes a new anchor with the next `anchor_id`.
Stamps are integer nanoseconds of the clock that stamped the images. Angles are radians, counter-clockwise from +x.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]
ImageArray = npt.NDArray[np.uint8]

HEADING_BINS = 36
"""Bins of the heading distribution (paper, B = 36); bin i covers [-pi + i w, -pi + (i + 1) w), w = 2 pi / 36."""


@dataclass(frozen=True)
class Keyframe:
    """A frame that the memory keeps.

    Attributes:
        index: counts every keyframe since the last reset; it names one keyframe for ever.
        stamp: image stamp, ns.
        image: (H, W, 3) uint8 RGB, or None where the pixels are no longer needed.
        reference_t_camera: (4, 4) camera pose (optical axes) in the frame that `reference` names.
        reference: "odom" where odometry gave the pose, "anchor" where the pose prior did, "" where nothing did.
    """

    index: int
    stamp: int
    image: ImageArray | None
    reference_t_camera: FloatArray | None
    reference: str = ""


@dataclass(frozen=True)
class Place:
    """A localized description, or the robot's own place.

    Attributes:
        situation: the description; empty for the robot's own place.
        pose: (3,) x, y in metres and heading in radians, in the anchor frame.
        covariance: (3, 3) covariance of `pose`, m^2 and rad^2.
        heading_distribution: (36,) probabilities, sum 1.
        confidence: calibrated probability, 0..1, that the position is within 1 m of the truth.
        anchor_id: which anchor `pose` refers to.
        stamp: stamp of the newest keyframe used, ns.
        keyframe_count: number of keyframes that answered.
        timings: seconds that each stage took.
    """

    situation: str
    pose: FloatArray
    covariance: FloatArray
    heading_distribution: FloatArray
    confidence: float
    anchor_id: int
    stamp: int
    keyframe_count: int
    timings: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """An answer in words.

    Attributes:
        text: the answer.
        pose: the place from which it was answered, where a situation was given.
        confidence: geometric mean of the token probabilities, 0..1.
        keyframe_count: number of keyframes that answered.
        stamp: stamp of the newest keyframe used, ns.
        timings: seconds that each stage took.
    """

    text: str
    pose: Place | None
    confidence: float
    keyframe_count: int
    stamp: int
    timings: Mapping[str, float] = field(default_factory=dict)


Pieces = Generator[str, None, Reply]
"""An answer as it comes: one piece for each token, empty where a character is not whole yet; returns the whole."""


@dataclass(frozen=True)
class Layout:
    """The bird's-eye-view map that the model has learned.

    Attributes:
        points: (N, 2) metres in the anchor frame.
        sigma: (N, 2) standard deviations, metres.
        colour: (N, 3) uint8 RGB mean colour of each patch.
        keyframe_index: (N,) the keyframe that each point comes from.
        anchor_id: which anchor the points refer to.
    """

    points: FloatArray
    sigma: FloatArray
    colour: ImageArray
    keyframe_index: npt.NDArray[np.int64]
    anchor_id: int


@dataclass(frozen=True)
class Trajectory:
    """The cameras of the keyframes as the pose prior places them, beside what odometry says of them.

    Attributes:
        anchor_id: which anchor the poses refer to.
        stamps: (N,) of the keyframes, ns, rising.
        anchor_t_cameras: (N, 4, 4) from the pose prior, optical axes.
        odom_t_cameras: (N, 4, 4) from odometry; NaN where there was none.
        anchor_t_newest: (4, 4) camera at the newest frame, keyframe or not.
        position_sigma: calibrated standard deviation of the pose prior's positions, metres.
        heading_sigma: the same of its headings, radians.
        previous_t_anchor: (4, 4) the anchor in the frame of the one before, where it was rebuilt from that; None where
            the memory began anew.
        previous_t_cameras: (N, 4, 4) the cameras in the frame of the anchor before, where there was one; NaN where it
            did not know them.
        newest_stamp: of the newest frame, ns.
        odom_t_newest: (4, 4) the same camera as `anchor_t_newest` in odometry; None where there was none.
    """

    anchor_id: int
    stamps: npt.NDArray[np.int64]
    anchor_t_cameras: FloatArray
    odom_t_cameras: FloatArray
    anchor_t_newest: FloatArray
    position_sigma: float
    heading_sigma: float
    previous_t_anchor: FloatArray | None = None
    previous_t_cameras: FloatArray | None = None
    newest_stamp: int = 0
    odom_t_newest: FloatArray | None = None


@runtime_checkable
class LocalizerProtocol(Protocol):
    """What the node asks of a localizer. Every method may raise `NotReadyError` with the reason.

    `observe` is called from one thread; every other method may be called from another thread at the same time, answers
    from a consistent snapshot and never blocks `observe`.
    """

    def observe(
        self,
        image: ImageArray,
        stamp: int,
        odometry: FloatArray | None = None,
        base_t_camera: FloatArray | None = None,
    ) -> Keyframe | None:
        """Look at a frame and return the keyframe it became, or None.

        Args:
            image: (H, W, 3) uint8 RGB.
            stamp: ns.
            odometry: (4, 4) `odom_t_camera` with optical camera axes, where there is odometry at that stamp.
            base_t_camera: (4, 4) the camera on its robot, which is taken to stand level: gravity, where there is no
                odometry to tell it.
        """
        ...

    def keyframes(self) -> tuple[Keyframe, ...]:
        """Return the keyframes in memory, oldest first."""
        ...

    def locate(self, situation: str) -> Place:
        """Return where the described observer stands and looks."""
        ...

    def where_am_i(self) -> Place:
        """Return the robot's own place."""
        ...

    def ask(self, question: str, situation: str = "") -> Reply:
        """Answer a question, from the described place where there is one."""
        ...

    def ask_stream(self, question: str, situation: str = "") -> Pieces:
        """Yield the answer piece by piece and return the whole; closing the generator cancels within one token."""
        ...

    def layout(self) -> Layout:
        """Return the bird's-eye-view map."""
        ...

    def trajectory(self) -> Trajectory:
        """Return where the pose prior places the keyframes, and where odometry does."""
        ...

    def reset(self) -> None:
        """Forget everything seen."""
        ...

    def reanchor(self, since: int) -> None:
        """Forget the keyframes before a stamp (ns) and begin a new anchor with the others, in the background.

        For a pose prior that went wrong: what came before is not to be relied on. Where no keyframe is left, the next
        frame becomes the first.
        """
        ...

    def save(self, path: Path, notes: str = "") -> None:
        """Write the memory to a file, with what the caller wants to keep beside it."""
        ...

    def restore(self, path: Path, now: int | None = None) -> str:
        """Go on with a memory that `save` wrote, and return its notes; called from the thread of `observe`.

        Odometry that the keyframes had is that of another run.

        Args:
            path: of the file.
            now: stamp (ns) that the memory must lie before; where its clock was another, its stamps are moved. None
                leaves them.
        """
        ...
