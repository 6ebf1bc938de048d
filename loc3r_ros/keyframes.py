"""Which frames to remember: a buffer of bounded size that offers go into, and two policies that judge them.

Motion keeps a frame once the camera has moved or turned far enough since the newest keyframe, and forgets the oldest.
Coverage keeps a frame that sees something new, and forgets the one whose view the others cover best. Frames without a
pose are judged by time and by how much the picture has changed. The buffer belongs to one thread; the tuple that
`keyframes` returns is immutable and may be read from any.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt

from loc3r_ros import geometry
from loc3r_ros.errors import ConfigError
from loc3r_ros.interface import FloatArray, ImageArray, Keyframe

OUT_OF_ORDER = "out of order"
TOO_SOON = "too soon"
TOO_LITTLE_MOTION = "too little motion"
NOTHING_NEW = "nothing new in view"
SAME_PICTURE = "picture unchanged"

JUMP_BACK = 500_000_000
"""ns. A stamp further back than this is a clock that jumped (bag loop, simulator reset), not a late frame."""
THUMBNAIL_SIDE = 32
"""Pixels per side that are compared between two pictures."""


@dataclass(frozen=True)
class Counts:
    """What became of the frames: `offered == kept + sum(rejected)`, `kept + restored == in buffer + evicted + cleared`.

    Attributes:
        offered: frames seen.
        kept: frames that became keyframes.
        restored: keyframes that came in by `restore`.
        evicted: keyframes that made room.
        cleared: keyframes forgotten by resets, or left out by `restore`.
        resets: how often everything was forgotten, by a jump back in time or by request.
        invalid_poses: frames whose pose was not a finite rigid motion; they were judged as frames without pose.
        rejected: reason -> frames.
    """

    offered: int = 0
    kept: int = 0
    restored: int = 0
    evicted: int = 0
    cleared: int = 0
    resets: int = 0
    invalid_poses: int = 0
    rejected: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """What became of one frame.

    Attributes:
        keyframe: the keyframe it became, or None.
        reason: why it was not kept; empty where it was.
        evicted: keyframes that made room for it.
        was_reset: its stamp jumped back in time, so that everything before it was forgotten.
    """

    keyframe: Keyframe | None
    reason: str = ""
    evicted: tuple[Keyframe, ...] = ()
    was_reset: bool = False


class Policy(Protocol):
    """Judges frames that have a pose, and says which keyframe to forget. It hears of every change of the buffer."""

    def judge(self, candidate: Keyframe, kept: Sequence[Keyframe], capacity: int) -> str:
        """Return why the candidate is not worth keeping; empty where it is. It and the newest of `kept` have poses."""
        ...

    def victim(self, kept: Sequence[Keyframe]) -> int:
        """Return the position in `kept` of the keyframe to forget."""
        ...

    def add(self, keyframe: Keyframe) -> None:
        """Hear that a keyframe came into the buffer."""
        ...

    def remove(self, keyframe: Keyframe) -> None:
        """Hear that a keyframe left the buffer."""
        ...


@dataclass(frozen=True)
class MotionPolicy:
    """Keeps a frame that lies far enough from the newest keyframe; forgets the oldest.

    Attributes:
        min_translation: metres; a frame this far away or further is kept.
        min_rotation: radians; so is one turned by this much or more, about any axis.
    """

    min_translation: float = 0.3
    min_rotation: float = math.radians(20.0)

    def judge(self, candidate: Keyframe, kept: Sequence[Keyframe], capacity: int) -> str:
        """Return `TOO_LITTLE_MOTION` or nothing."""
        motion = geometry.relative(_pose(kept[-1]), _pose(candidate))
        has_moved = math.hypot(*motion[:3, 3]) >= self.min_translation
        return "" if has_moved or geometry.rotation_angle(motion) >= self.min_rotation else TOO_LITTLE_MOTION

    def victim(self, kept: Sequence[Keyframe]) -> int:
        """Return the oldest."""
        return 0

    def add(self, keyframe: Keyframe) -> None:
        """Nothing to note."""

    def remove(self, keyframe: Keyframe) -> None:
        """Nothing to note."""


@dataclass
class CoveragePolicy:
    """Keeps the set of frames that sees most of the place; forgets the frame that the others cover best.

    What a frame sees is a set of cells: squares of the floor inside its field of view (a sector seen from above,
    shorter where the camera looks up or down), told apart by the side from which they are seen, for the far side of a
    table is not its near side. Walls are unknown here, so `max_range` stands for them.

    Attributes:
        field_of_view: horizontal, radians.
        max_range: metres.
        cell: side of a cell, metres.
        sides: number of directions in which views of one cell differ.
        min_gain: share of a frame's cells that no keyframe sees yet, from which on it is kept.
    """

    field_of_view: float = math.radians(60.0)
    max_range: float = 4.0
    cell: float = 0.5
    sides: int = 4
    min_gain: float = 0.2
    _views: dict[int, frozenset[int]] = field(default_factory=dict, init=False, repr=False)
    _seen: Counter[int] = field(default_factory=Counter, init=False, repr=False)
    _references: dict[str, int] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        steps = np.arange(-self.max_range, self.max_range + 1e-9, self.cell / 2)
        x, y = (axis.ravel() for axis in np.meshgrid(steps, steps))
        inside = (np.hypot(x, y) <= self.max_range) & (np.abs(np.arctan2(y, x)) <= self.field_of_view / 2)
        self._sector = np.stack([x[inside], y[inside]], axis=1)

    def judge(self, candidate: Keyframe, kept: Sequence[Keyframe], capacity: int) -> str:
        """Return `NOTHING_NEW` or nothing. In a full buffer a frame must also add what its victim takes away."""
        view = self.view(candidate)
        gain = sum(1 for cell in view if cell not in self._seen)
        if gain < max(self.min_gain * len(view), 1):
            return NOTHING_NEW
        if len(kept) < capacity:
            return ""
        self.add(candidate)
        after = (*kept, candidate)
        loss = self._contribution(after[self.victim(after)])
        self.remove(candidate)
        return "" if gain >= loss else NOTHING_NEW

    def victim(self, kept: Sequence[Keyframe]) -> int:
        """Return the keyframe that alone sees least; among equals, one whose neighbours in time are close together.

        The first (the anchor of the memory) and the newest are spared while there are others.
        """
        if len(kept) < 3:
            return 0
        return min(
            range(1, len(kept) - 1),
            key=lambda i: (self._contribution(kept[i]), kept[i + 1].stamp - kept[i - 1].stamp),
        )

    def add(self, keyframe: Keyframe) -> None:
        """Count what a keyframe sees."""
        if keyframe.reference_t_camera is not None:
            view = self._views[keyframe.index] = self.view(keyframe)
            self._seen.update(view)

    def remove(self, keyframe: Keyframe) -> None:
        """Take back what it saw."""
        view = self._views.pop(keyframe.index, frozenset())
        self._seen.subtract(view)
        for cell in view:
            if not self._seen[cell]:
                del self._seen[cell]

    def view(self, keyframe: Keyframe) -> frozenset[int]:
        """Return the cells that a keyframe with a pose sees, as numbers that name place, side and reference frame."""
        pose = _pose(keyframe)
        heading = geometry.camera_heading(pose)
        reach = float(np.hypot(*pose[:2, 2]))
        rays = (reach * self._sector) @ geometry.rotation2(heading).T
        cells = np.floor((rays + pose[:2, 3]) / self.cell).astype(np.int64)
        side = np.floor((np.arctan2(rays[:, 1], rays[:, 0]) / (2 * np.pi) + 0.5) * self.sides).astype(np.int64)
        place = self._references.setdefault(keyframe.reference, len(self._references)) * self.sides + side % self.sides
        return frozenset(((((place << 24) + (cells[:, 0] & 0xFFFFFF)) << 24) + (cells[:, 1] & 0xFFFFFF)).tolist())

    def covered(self) -> int:
        """Return how many cells the keyframes see together."""
        return len(self._seen)

    def _contribution(self, keyframe: Keyframe) -> int:
        """Return how many cells only this keyframe sees."""
        return sum(1 for cell in self._views.get(keyframe.index, ()) if self._seen[cell] == 1)


class KeyframeBuffer:
    """The keyframes in memory, oldest first, at most `capacity` of them."""

    def __init__(
        self,
        capacity: int,
        policy: Policy,
        *,
        eviction_block: int = 1,
        min_interval: float = 0.0,
        blind_interval: float = 1.0,
        min_change: float = 8.0,
    ) -> None:
        """Start empty.

        Args:
            capacity: most keyframes held at a time.
            policy: what is kept and what is forgotten; a policy belongs to one buffer.
            eviction_block: keyframes evicted at once where room is needed; each eviction costs the memory a rebuild.
            min_interval: seconds between two keyframes, at least.
            blind_interval: the same for frames without a pose.
            min_change: `picture_change` from which on a frame without a pose counts as another picture.

        Raises:
            ConfigError: a value out of range.
        """
        if capacity < 1 or not 1 <= eviction_block <= capacity:
            raise ConfigError(
                f"Keyframes need a capacity of at least 1 and an eviction block of 1 to the capacity, "
                f"not {capacity} and {eviction_block}."
            )
        self.capacity = capacity
        self.policy = policy
        self.eviction_block = eviction_block
        self._min_interval = round(min_interval * 1e9)
        self._blind_interval = round(blind_interval * 1e9)
        self._min_change = min_change
        self._keyframes: tuple[Keyframe, ...] = ()
        self._next_index = 0
        self._newest_stamp: int | None = None
        self._counts = Counts()

    @property
    def keyframes(self) -> tuple[Keyframe, ...]:
        """The keyframes, oldest first."""
        return self._keyframes

    @property
    def counts(self) -> Counts:
        """What became of all frames so far."""
        return replace(self._counts, rejected=dict(self._counts.rejected))

    def offer(
        self, stamp: int, image: ImageArray | None, reference_t_camera: FloatArray | None = None, reference: str = ""
    ) -> Decision:
        """Judge a frame, and keep it or not.

        Args:
            stamp: ns.
            image: (H, W, 3) uint8 RGB; held, not copied.
            reference_t_camera: (4, 4) pose with optical axes in a frame whose z is up, or None. One that is not a
                finite rigid motion counts as none.
            reference: the name of that frame; only poses of one name are compared.
        """
        was_reset = self._newest_stamp is not None and stamp < self._newest_stamp - JUMP_BACK
        if was_reset:
            self.reset()
        has_pose = reference_t_camera is not None and geometry.is_valid_pose(reference_t_camera)
        self._count(offered=1, invalid_poses=int(reference_t_camera is not None and not has_pose))
        pose = reference_t_camera if has_pose else None
        candidate = Keyframe(self._next_index, stamp, image, pose, reference if has_pose else "")
        reason = self._judge(candidate)
        self._newest_stamp = max(stamp, self._newest_stamp or stamp)
        if reason:
            self._counts.rejected[reason] = self._counts.rejected.get(reason, 0) + 1
            return Decision(None, reason, was_reset=was_reset)
        return Decision(candidate, evicted=self._keep(candidate), was_reset=was_reset)

    def evict(self, count: int) -> tuple[Keyframe, ...]:
        """Forget up to `count` keyframes, chosen by the policy, and return them in the order in which they went."""
        self._keyframes, evicted = self._without(self._keyframes, count)
        return evicted

    def reset(self) -> None:
        """Forget everything; indices and stamps begin anew."""
        self._count(cleared=len(self._keyframes), resets=1)
        self._replace(())
        self._next_index = 0
        self._newest_stamp = None

    def restore(self, keyframes: Iterable[Keyframe]) -> None:
        """Hold these keyframes instead: from a saved session, or with their poses in a new reference frame.

        Raises:
            ConfigError: they are more than the capacity, or not in the order of their stamps and indices.
        """
        restored = tuple(keyframes)
        rises = all(a.index < b.index and a.stamp < b.stamp for a, b in pairwise(restored))
        if len(restored) > self.capacity or not rises:
            raise ConfigError(
                f"The {len(restored)} keyframes to restore must fit the capacity of {self.capacity} and rise in stamp "
                f"and index."
            )
        before, after = ({keyframe.index for keyframe in group} for group in (self._keyframes, restored))
        self._count(cleared=len(before - after), restored=len(after - before))
        self._replace(restored)
        if restored:
            self._next_index = max(self._next_index, restored[-1].index + 1)
            self._newest_stamp = max(restored[-1].stamp, self._newest_stamp or restored[-1].stamp)

    def _judge(self, candidate: Keyframe) -> str:
        """Return why the frame is not kept, or an empty string."""
        if self._newest_stamp is not None and candidate.stamp <= self._newest_stamp:
            return OUT_OF_ORDER
        if not self._keyframes:
            return ""
        newest = self._keyframes[-1]
        waited = candidate.stamp - newest.stamp
        if waited < self._min_interval:
            return TOO_SOON
        if candidate.reference_t_camera is not None and candidate.reference == newest.reference:
            return self.policy.judge(candidate, self._keyframes, self.capacity)
        if waited < self._blind_interval:
            return TOO_SOON
        return "" if picture_change(newest.image, candidate.image) >= self._min_change else SAME_PICTURE

    def _keep(self, candidate: Keyframe) -> tuple[Keyframe, ...]:
        """Take a frame in and return what had to go for it."""
        self.policy.add(candidate)
        kept = (*self._keyframes, candidate)
        excess = self.eviction_block if len(kept) > self.capacity else 0
        self._keyframes, evicted = self._without(kept, excess)
        self._next_index += 1
        self._count(kept=1)
        return evicted

    def _without(self, kept: tuple[Keyframe, ...], count: int) -> tuple[tuple[Keyframe, ...], tuple[Keyframe, ...]]:
        """Return what is left of `kept` and what goes."""
        left, evicted = list(kept), []
        for _ in range(min(count, len(left))):
            evicted.append(left.pop(self.policy.victim(left)))
            self.policy.remove(evicted[-1])
        self._count(evicted=len(evicted))
        return tuple(left), tuple(evicted)

    def _replace(self, keyframes: tuple[Keyframe, ...]) -> None:
        for keyframe in self._keyframes:
            self.policy.remove(keyframe)
        for keyframe in keyframes:
            self.policy.add(keyframe)
        self._keyframes = keyframes

    def _count(self, **increments: int) -> None:
        changed = {name: getattr(self._counts, name) + number for name, number in increments.items()}
        self._counts = replace(self._counts, **changed)


def picture_change(before: ImageArray | None, after: ImageArray | None) -> float:
    """Return the mean change of a pixel between two pictures, in levels of 0..255, their brightness set equal.

    Infinite where one is missing. Only a sparse sample of the green channel is read: the cost is that of any size.
    """
    if before is None or after is None:
        return float("inf")
    return float(np.abs(_thumbnail(before) - _thumbnail(after)).mean())


def _thumbnail(image: ImageArray) -> npt.NDArray[np.float32]:
    """Return a (32, 32) sample of the green channel with mean 0."""
    rows, columns = (np.linspace(0, size - 1, THUMBNAIL_SIDE).astype(np.intp) for size in image.shape[:2])
    sample = image[rows[:, None], columns, 1].astype(np.float32)
    return sample - sample.mean()


def _pose(keyframe: Keyframe) -> FloatArray:
    """Return the pose of a keyframe that has one."""
    assert keyframe.reference_t_camera is not None
    return keyframe.reference_t_camera
