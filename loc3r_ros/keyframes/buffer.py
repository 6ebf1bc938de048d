"""The keyframes in memory, and what becomes of each frame that is offered.

A buffer belongs to one thread; the tuple that `KeyframeBuffer.keyframes` returns is immutable and may be read from any.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from loc3r_ros import geometry
from loc3r_ros.errors import ConfigError
from loc3r_ros.interface import FloatArray, ImageArray, Keyframe
from loc3r_ros.keyframes.policies import Policy

OUT_OF_ORDER = "out of order"
TOO_SOON = "too soon"
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
            at_stake = max(len(self._keyframes) - self.capacity + self.eviction_block, 0)
            return self.policy.judge(candidate, self._keyframes, at_stake)
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
