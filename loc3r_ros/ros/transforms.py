"""Transforms over time: a buffer of what /tf said, looked up at a stamp and never "the latest".

Two buffers answer the same calls: tf2's where tf2_ros is installed, else one of ours. `TransformListener` feeds either
and waits, outside the executor, until the data covers a stamp.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from geometry_msgs.msg import TransformStamped

from loc3r_ros import geometry
from loc3r_ros.errors import Loc3RError, PoseError
from loc3r_ros.interface import FloatArray
from loc3r_ros.ros.conversions import matrix_from_transform, stamp_from_message, time_message

HISTORY = 10_000_000_000
"""ns of transforms that are kept, as in tf2."""
JUMP_BACK = 1_000_000_000
"""ns. A transform so much older than the newest of its frame means that time jumped back (a bag that loops)."""
LONGEST_CHAIN = 100


class TransformError(Loc3RError):
    """A transform that is not known at the stamp asked for.

    Attributes:
        is_early: the data ends before the stamp, so that waiting may help.
    """

    def __init__(self, text: str, is_early: bool = False) -> None:
        super().__init__(text)
        self.is_early = is_early


class TransformBuffer(Protocol):
    """Holds transforms for some seconds."""

    def insert(self, transform: TransformStamped, is_static: bool) -> None:
        """Take in one transform."""
        ...

    def lookup(self, target: str, source: str, stamp: int) -> FloatArray:
        """Return the (4, 4) `target_t_source` at a stamp in ns, interpolated; does not wait.

        Raises:
            TransformError: it is not known at that stamp.
        """
        ...

    def clear(self) -> None:
        """Forget all but the static transforms."""
        ...


@dataclass
class _Track:
    """The transforms from one frame to its parent, by rising stamp."""

    parent: str
    is_static: bool
    stamps: list[int] = field(default_factory=list)
    transforms: list[TransformStamped] = field(default_factory=list)

    def insert(self, stamp: int, transform: TransformStamped) -> None:
        if self.is_static:
            self.stamps, self.transforms = [stamp], [transform]
            return
        place = bisect_left(self.stamps, stamp)
        is_known = place < len(self.stamps) and self.stamps[place] == stamp
        if is_known or (self.stamps and stamp < self.stamps[-1] - HISTORY):
            return
        self.stamps.insert(place, stamp)
        self.transforms.insert(place, transform)
        expired = bisect_left(self.stamps, self.stamps[-1] - HISTORY)
        if expired > 64:  # in blocks, because each costs a copy of the list
            del self.stamps[:expired], self.transforms[:expired]

    def at(self, stamp: int, child: str) -> FloatArray:
        """Return (4, 4) `parent_t_child`."""
        if self.is_static:
            return matrix_from_transform(self.transforms[0])
        after = bisect_left(self.stamps, stamp)
        if after < len(self.stamps) and self.stamps[after] == stamp:
            return matrix_from_transform(self.transforms[after])
        if after in (0, len(self.stamps)):
            newest = self.stamps[-1]
            where = f"{abs(stamp - (newest if after else self.stamps[0])) / 1e9:.3f} s {'after' if after else 'before'}"
            raise TransformError(
                f"'{self.parent}' -> '{child}' is not known at {stamp / 1e9:.3f} s: that is {where} "
                f"the {'newest' if after else 'oldest'} transform.",
                is_early=after > 0,
            )
        begin, end = self.stamps[after - 1], self.stamps[after]
        before, behind = (matrix_from_transform(item) for item in self.transforms[after - 1 : after + 1])
        return geometry.interpolate(before, behind, (stamp - begin) / (end - begin))


class OwnBuffer:
    """A transform tree without tf2."""

    def __init__(self) -> None:
        self._tracks: dict[str, _Track] = {}

    def insert(self, transform: TransformStamped, is_static: bool) -> None:
        """Take in one transform; a frame that gets another parent begins anew."""
        parent, child = _name(transform.header.frame_id), _name(transform.child_frame_id)
        track = self._tracks.get(child)
        if track is None or (track.parent, track.is_static) != (parent, is_static):
            track = self._tracks[child] = _Track(parent, is_static)
        track.insert(stamp_from_message(transform.header.stamp), transform)

    def lookup(self, target: str, source: str, stamp: int) -> FloatArray:
        """Return (4, 4) `target_t_source`: both chains up to their first common frame."""
        target, source = _name(target), _name(source)
        target_chain, source_chain = self._chain(target), self._chain(source)
        common = next((name for name in target_chain if name in source_chain), None)
        if common is None:
            unknown = [name for name in (target, source) if not self._is_known(name)]
            reason = f"no transform names {' or '.join(map(repr, unknown))}" if unknown else "they are not connected"
            raise TransformError(f"No transform from '{source}' to '{target}': {reason}.")
        common_t_target = self._compose(target_chain[: target_chain.index(common)], stamp)
        common_t_source = self._compose(source_chain[: source_chain.index(common)], stamp)
        return geometry.relative(common_t_target, common_t_source)

    def clear(self) -> None:
        """Forget all but the static transforms."""
        self._tracks = {child: track for child, track in self._tracks.items() if track.is_static}

    def _is_known(self, name: str) -> bool:
        return name in self._tracks or any(track.parent == name for track in self._tracks.values())

    def _chain(self, frame: str) -> list[str]:
        chain = [frame]
        while chain[-1] in self._tracks and len(chain) < LONGEST_CHAIN:
            chain.append(self._tracks[chain[-1]].parent)
        return chain

    def _compose(self, chain: Iterable[str], stamp: int) -> FloatArray:
        """Return (4, 4) from the first frame of a chain to the parent of its last."""
        pose: FloatArray = np.eye(4)
        for child in chain:
            pose = self._tracks[child].at(stamp, child) @ pose
        return pose


class Tf2Buffer:
    """The same calls on tf2's buffer."""

    def __init__(self) -> None:
        import tf2_ros
        from rclpy.duration import Duration

        self._tf2: Any = tf2_ros
        self._buffer: Any = tf2_ros.Buffer(cache_time=Duration(nanoseconds=HISTORY))

    def insert(self, transform: TransformStamped, is_static: bool) -> None:
        """Take in one transform."""
        insert = self._buffer.set_transform_static if is_static else self._buffer.set_transform
        insert(transform, "loc3r")

    def lookup(self, target: str, source: str, stamp: int) -> FloatArray:
        """Return (4, 4) `target_t_source`."""
        from rclpy.time import Time

        try:
            found = self._buffer.lookup_transform_core(_name(target), _name(source), Time(nanoseconds=stamp))
        except self._tf2.ExtrapolationException as error:
            newest = self._buffer.get_latest_common_time(_name(target), _name(source)).nanoseconds
            raise TransformError(f"{error}.", is_early=newest < stamp) from None
        except self._tf2.TransformException as error:
            raise TransformError(f"{error}.") from None
        return matrix_from_transform(found)

    def clear(self) -> None:
        """Forget all but the static transforms."""
        self._buffer.clear()


def make_buffer() -> TransformBuffer:
    """Return tf2's buffer where tf2_ros is installed, else ours."""
    try:
        return Tf2Buffer()
    except ImportError:
        return OwnBuffer()


class TransformListener:
    """Feeds a buffer from one thread and lets another wait for a stamp."""

    def __init__(self, buffer: TransformBuffer | None = None) -> None:
        self._buffer = make_buffer() if buffer is None else buffer
        self._changed = threading.Condition()
        self._newest: dict[str, int] = {}
        self._frames: set[str] = set()

    def has_seen(self, frame: str) -> bool:
        """Say whether any transform has named a frame."""
        with self._changed:
            return frame in self._frames

    def wait_for_change(self, timeout: float) -> None:
        """Wait until a transform arrives, at most `timeout` s."""
        with self._changed:
            self._changed.wait(timeout)

    def receive(self, transforms: Iterable[TransformStamped], is_static: bool = False) -> None:
        """Take in the transforms of one message; forgets the old ones where time jumped back."""
        with self._changed:
            for transform in transforms:
                self._frames.update((transform.header.frame_id, transform.child_frame_id))
                if not is_static:
                    self._watch_time(transform)
                self._buffer.insert(transform, is_static)
            self._changed.notify_all()

    def lookup(self, target: str, source: str, stamp: int, timeout: float = 0.0) -> FloatArray:
        """Return (4, 4) `target_t_source` at a stamp in ns, waiting at most `timeout` s until the data covers it.

        It waits only where waiting can help: not where the frames are not connected or the stamp is too old.

        Raises:
            TransformError: it is not known at that stamp.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                try:
                    return self._buffer.lookup(target, source, stamp)
                except PoseError as error:
                    raise TransformError(f"A transform between '{source}' and '{target}' is damaged: {error}") from None
                except TransformError as error:
                    left = deadline - time.monotonic()
                    if not error.is_early or left <= 0 or not self._changed.wait(left):
                        raise

    def clear(self) -> None:
        """Forget all but the static transforms."""
        with self._changed:
            self._buffer.clear()
            self._newest.clear()

    def _watch_time(self, transform: TransformStamped) -> None:
        stamp = stamp_from_message(transform.header.stamp)
        newest = self._newest.get(transform.child_frame_id, stamp)
        if stamp < newest - JUMP_BACK:
            self._buffer.clear()
            self._newest.clear()
            newest = stamp
        self._newest[transform.child_frame_id] = max(stamp, newest)


def transform_message(target: str, source: str, target_t_source: FloatArray, stamp: int) -> TransformStamped:
    """Return the message of `target_t_source`: parent `target`, child `source`."""
    position, quaternion = geometry.to_position_quaternion(target_t_source)
    message = TransformStamped()
    message.header.stamp = time_message(stamp)
    message.header.frame_id, message.child_frame_id = target, source
    translation, rotation = message.transform.translation, message.transform.rotation
    translation.x, translation.y, translation.z = map(float, position)
    rotation.x, rotation.y, rotation.z, rotation.w = map(float, quaternion)
    return message


def _name(frame: str) -> str:
    return frame.lstrip("/")
