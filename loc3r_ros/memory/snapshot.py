"""What a question is answered from: an immutable view of the memory at one moment."""

from __future__ import annotations

from dataclasses import dataclass

from loc3r_ros.engines.protocol import Array
from loc3r_ros.interface import FloatArray, ImageArray
from loc3r_ros.memory.cache import CacheView


@dataclass(frozen=True)
class Record:
    """A keyframe's lasting part: what does not depend on the frames before it.

    Attributes:
        index: the keyframe's.
        stamp: ns.
        picture: (H, W, 3) uint8 RGB, as the pose prior sees it.
        tokens: (tokens - 1, width) of the vision engine.
        colour: (patches, 3) uint8 RGB mean colour of each patch.
    """

    index: int
    stamp: int
    picture: ImageArray
    tokens: Array
    colour: ImageArray


@dataclass(frozen=True)
class Entry:
    """A keyframe in the cache.

    Attributes:
        record: its lasting part.
        anchor_t_camera: (4, 4) pose from the pose prior, optical axes.
        layout: (patches, 4) x, y in metres in the anchor frame, and log variances.
    """

    record: Record
    anchor_t_camera: FloatArray
    layout: Array


@dataclass(frozen=True)
class Snapshot:
    """The memory at one moment; it stays valid while frames go on arriving.

    Attributes:
        cache: of the prompt's head and the frames.
        next_position: position id of the token that comes next.
        entries: the keyframes, oldest first.
        anchor_id: the anchor that poses and layout refer to.
    """

    cache: CacheView
    next_position: int
    entries: tuple[Entry, ...]
    anchor_id: int

    @property
    def stamp(self) -> int:
        """Stamp of the newest keyframe, ns."""
        return self.entries[-1].record.stamp


@dataclass(frozen=True)
class Whereabouts:
    """The camera at the newest frame, keyframe or not.

    Attributes:
        anchor_t_camera: (4, 4) pose from the pose prior, optical axes.
        stamp: of the frame, ns.
        anchor_id: the anchor that the pose refers to.
        keyframe_count: keyframes that the prior had learned from.
    """

    anchor_t_camera: FloatArray
    stamp: int
    anchor_id: int
    keyframe_count: int


@dataclass(frozen=True)
class Held:
    """A keyframe's lasting part, and its pose in the anchor of the current sequence."""

    record: Record
    anchor_t_camera: FloatArray
