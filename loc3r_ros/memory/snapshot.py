"""What a question is answered from: an immutable view of the memory at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from loc3r_ros.engines.protocol import Array
from loc3r_ros.interface import FloatArray, ImageArray, Keyframe
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
        odometry: (4, 4) the camera in odometry, or None.
    """

    anchor_t_camera: FloatArray
    stamp: int
    anchor_id: int
    keyframe_count: int
    odometry: FloatArray | None = None


@dataclass(frozen=True)
class Held:
    """A keyframe's lasting part, and its pose in the anchor of the current sequence."""

    record: Record
    anchor_t_camera: FloatArray


@dataclass(frozen=True)
class Anchor:
    """The frame that poses and layout refer to: on the floor under the camera of its first keyframe.

    Attributes:
        id: as in `Place.anchor_id`.
        stamp: of its first keyframe, ns.
        anchor_t_first: (4, 4) pose of that keyframe's camera in the anchor frame.
        reference_t_first: (4, 4) the same camera in the frame that `reference` names, or None; as in `Keyframe`.
        reference: "odom" where there was odometry at `stamp`, else "".
        previous_t_anchor: (4, 4) this anchor in the frame of the one before it, where it was rebuilt from that; None
            where it is the first, or follows a pose prior that went wrong.
        previous_t_cameras: keyframe index -> (4, 4) camera in the frame of the one before; it tells the same better.
    """

    id: int
    stamp: int
    anchor_t_first: FloatArray
    reference_t_first: FloatArray | None
    reference: str
    previous_t_anchor: FloatArray | None = None
    previous_t_cameras: Mapping[int, FloatArray] = field(default_factory=dict)


def anchor_under(anchor_id: int, first: Keyframe, anchor_t_first: FloatArray) -> Anchor:
    """Return the anchor of a sequence that begins with a keyframe."""
    is_odometry = first.reference == "odom"
    pose, reference = (first.reference_t_camera, "odom") if is_odometry else (None, "")
    return Anchor(anchor_id, first.stamp, anchor_t_first, pose, reference)
