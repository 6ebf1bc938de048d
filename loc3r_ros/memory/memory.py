"""The memory of a robot: keyframes in, snapshots out; what is forgotten is rebuilt in the background.

Appending is exact while the sequence only grows: all that varies stands behind the video, attention is causal and the
pose prior is recurrent. When keyframes are evicted, everything behind them has seen them and the anchor may be gone:
then the kept frames are run anew, with a new anchor, while questions and frames go on with the old sequence.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

from loc3r_ros import geometry
from loc3r_ros.engines import EngineSet
from loc3r_ros.errors import ConfigError, NotReadyError
from loc3r_ros.interface import FloatArray, ImageArray, Keyframe
from loc3r_ros.keyframes import JUMP_BACK, KeyframeBuffer
from loc3r_ros.memory.pose_prior import Sighting
from loc3r_ros.memory.saved import SavedMemory
from loc3r_ros.memory.sequence import FrameSequence
from loc3r_ros.memory.snapshot import Anchor, Held, Record, Snapshot, Whereabouts, anchor_under
from loc3r_ros.memory.stopwatch import Stopwatch

Eviction = Literal["rebuild", "drop"]
"""What follows an eviction: "rebuild" is exact, "drop" only cuts the evicted frames out of the cache."""
TEXT_RESERVE = 1536
"""Positions kept free for a question and its answer."""

KNOWN_ANCHORS = 8
"""How many anchors are remembered: a place of an older one is too old to be of use."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Frame:
    """A frame as the engines see it.

    Attributes:
        stamp: ns.
        picture: uint8 RGB, of the vision engine's size.
        prior_picture: uint8 RGB, of the pose prior's size; often the same array.
        colour: (patches, 3) uint8 mean colours.
        odometry: (4, 4) `odom_t_camera`, or None.
        base_t_camera: (4, 4) the camera on its robot, or None.
    """

    stamp: int
    picture: ImageArray
    prior_picture: ImageArray
    colour: ImageArray
    odometry: FloatArray | None = None
    base_t_camera: FloatArray | None = None

    @property
    def upright(self) -> FloatArray | None:
        """(4, 4) pose in a frame whose z is up: it tells how high and how tilted the camera is. None where unknown."""
        return self.base_t_camera if self.odometry is None else self.odometry


class Memory:
    """Keyframes, the sequence that the model has seen of them, and its rebuilding.

    `observe` belongs to one thread; everything else may be called from any.
    """

    def __init__(self, engines: EngineSet, keyframes: KeyframeBuffer, eviction: Eviction = "rebuild") -> None:
        """Start empty.

        Raises:
            ConfigError: so many keyframes do not fit the model's positions.
        """
        language, video = engines.manifest.language, engines.manifest.video
        self._frames = keyframes.capacity + keyframes.eviction_block  # frames go on arriving during a rebuild
        self._last_position = language.max_positions - TEXT_RESERVE
        if language.head_tokens + self._frames * video.tokens > self._last_position:
            most = (self._last_position - language.head_tokens) // video.tokens
            raise ConfigError(
                f"{keyframes.capacity} keyframes and an eviction block of {keyframes.eviction_block} are too many for "
                f"this model: together at most {most}."
            )
        self._engines = engines
        self._buffer = keyframes
        self._eviction = eviction
        self._lock = threading.Lock()  # of all that follows; an observation holds it from begin to end
        self._rebuild: threading.Thread | None = None
        self._epoch = 0
        self._held: dict[int, Held] = {}
        self._whereabouts: Whereabouts | None = None
        self._last: Snapshot | None = None
        self._anchors: dict[int, Anchor] = {}
        self._sequence = FrameSequence(engines, self._frames, anchor_id=0)
        self.timings: dict[str, float] = {}

    # --- what others see ----------------------------------------------------------------------------------------------

    @property
    def snapshot(self) -> Snapshot:
        """The memory now.

        Raises:
            NotReadyError: there is no keyframe yet.
        """
        snapshot = self._sequence.snapshot
        if snapshot.entries:
            return snapshot
        if self._last is None:
            raise NotReadyError("No keyframe yet: wait until the camera has sent its first image.")
        return self._last

    @property
    def whereabouts(self) -> Whereabouts:
        """The camera at the newest frame.

        Raises:
            NotReadyError: there is no frame yet.
        """
        whereabouts = self._whereabouts
        if whereabouts is None:
            raise NotReadyError("No frame yet: wait until the camera has sent its first image.")
        return whereabouts

    def anchor(self, anchor_id: int) -> Anchor:
        """Return an anchor by its id; the latest few are known.

        Raises:
            NotReadyError: there is none of that id, or it is long gone.
        """
        anchor = self._anchors.get(anchor_id)
        if anchor is None:
            raise NotReadyError(f"Anchor {anchor_id} is not known: ask for the anchor of a place of this memory, soon.")
        return anchor

    @property
    def keyframes(self) -> tuple[Keyframe, ...]:
        """The keyframes, oldest first."""
        return self._buffer.keyframes

    @property
    def is_rebuilding(self) -> bool:
        """Whether a rebuild is under way."""
        thread = self._rebuild
        return thread is not None and thread.is_alive()

    @property
    def nbytes(self) -> int:
        """Size of the cache in bytes; a rebuild needs as much again."""
        return self._sequence.nbytes

    def settle(self, timeout: float | None = None) -> bool:
        """Wait until no rebuild is under way; return whether that is so after `timeout` seconds."""
        thread = self._rebuild
        if thread is not None:
            thread.join(timeout)
        return not self.is_rebuilding

    def capture(self) -> SavedMemory:
        """Return all that the memory holds; NotReadyError where that is nothing."""
        with self._lock:
            sequence, snapshot, whereabouts = self._sequence, self._sequence.snapshot, self.whereabouts
            if not snapshot.entries:
                raise NotReadyError("There is no keyframe to save: wait for the next image.")
            state, count, anchor_t_world = sequence.tracker.state(), sequence.tracker.count, sequence.anchor_t_world
            keyframes, held = self._buffer.keyframes, tuple(self._held.values())
            anchor = self._anchors[sequence.anchor_id]
        return SavedMemory(  # the snapshot needs no lock: its rows never change
            entries=snapshot.entries,
            cache=snapshot.cache.read(),
            next_position=snapshot.next_position,
            prior_state=state,
            prior_count=count,
            anchor_t_world=anchor_t_world,
            keyframes=keyframes,
            held=held,
            whereabouts=whereabouts,
            anchor=anchor,
        )

    def restore(self, saved: SavedMemory) -> None:
        """Hold what `capture` returned, in place of what is held.

        Raises:
            ConfigError: there are more keyframes than the buffer takes.
            ValueError: arrays do not have the shapes of this model.
        """
        if len(saved.keyframes) > self._buffer.capacity:
            raise ConfigError(f"it has {len(saved.keyframes)} keyframes, and at most {self._buffer.capacity} are kept.")
        sequence = FrameSequence(self._engines, self._frames, saved.whereabouts.anchor_id)
        sequence.restore(saved)
        with self._lock:
            self._forget()
            self._buffer.restore(saved.keyframes)
            self._sequence, self._whereabouts = sequence, saved.whereabouts
            self._add_anchor(saved.anchor)
            self._held = {item.record.index: item for item in saved.held}
            gone = [entry.record.index for entry in saved.entries if entry.record.index not in self._held]
            if gone:  # it was saved while it was being rebuilt
                self._evict(gone)

    # --- frames come in -----------------------------------------------------------------------------------------------

    def observe(self, frame: Frame) -> Keyframe | None:
        """Look at a frame, and remember it where the keyframe policy says so."""
        with self._lock:
            watch = Stopwatch()
            newest = self._whereabouts.stamp if self._whereabouts else -1
            if frame.stamp < newest - JUMP_BACK:
                self._forget()
            elif frame.stamp <= newest:
                return self._buffer.offer(frame.stamp, frame.picture).keyframe  # late: it is counted, never kept
            keyframe = self._look(frame, watch)
            self.timings = watch.seconds
            return keyframe

    def reset(self) -> None:
        """Forget everything."""
        with self._lock:
            self._forget()

    def reanchor(self, since: int) -> None:
        """Forget the keyframes before a stamp and run the others anew, in the background, under a new anchor.

        How that one lies in the old one is not known. Where no keyframe is left, the next frame becomes the first.
        """
        with self._lock:
            kept = [keyframe for keyframe in self._buffer.keyframes if keyframe.stamp >= since]
            self._buffer.restore(kept)
            self._held = {one.index: self._held[one.index] for one in kept if one.index in self._held}
            self._epoch += 1  # a rebuild under way begins with what is forgotten: it gives up
            if self._held:
                self._begin_rebuild(is_linked=False)
            else:
                self._last = self.snapshot  # it answers until the next frame is in
                self._sequence = FrameSequence(self._engines, self._frames, self._sequence.anchor_id + 1)

    def _forget(self) -> None:
        self._epoch += 1  # a rebuild under way gives up
        self._buffer.reset()
        self._held.clear()
        self._whereabouts = self._last = None
        self._sequence = FrameSequence(self._engines, self._frames, self._sequence.anchor_id + 1)

    def _look(self, frame: Frame, watch: Stopwatch) -> Keyframe | None:
        sequence = self._sequence
        with watch.stage("pose_prior"):
            sighting, anchor_t_camera = sequence.look(frame.prior_picture, frame.upright)
        pose, reference = (anchor_t_camera, "anchor") if frame.odometry is None else (frame.odometry, "odom")
        decision = self._buffer.offer(frame.stamp, frame.picture, pose, reference)
        if decision.keyframe is not None:
            self._remember(decision.keyframe, frame, sighting, anchor_t_camera, watch)
        if decision.evicted:
            with watch.stage("evict"):
                self._evict([keyframe.index for keyframe in decision.evicted])
        count = len(self._sequence.snapshot.entries)
        self._whereabouts = Whereabouts(anchor_t_camera, frame.stamp, sequence.anchor_id, count, frame.odometry)
        return decision.keyframe

    def _remember(
        self, keyframe: Keyframe, frame: Frame, sighting: Sighting, anchor_t_camera: FloatArray, watch: Stopwatch
    ) -> None:
        with watch.stage("vision"):
            tokens = self._engines.vision.run({"image": frame.picture})["tokens"]
        record = Record(keyframe.index, frame.stamp, frame.prior_picture, tokens, frame.colour)
        self._held[keyframe.index] = Held(record, anchor_t_camera)
        if not self._sequence.snapshot.entries:
            self._add_anchor(anchor_under(self._sequence.anchor_id, keyframe, anchor_t_camera))
        with watch.stage("append"):
            self._sequence.append(record, sighting, anchor_t_camera)

    def _add_anchor(self, anchor: Anchor) -> None:
        kept = list(self._anchors.values())[1 - KNOWN_ANCHORS :]
        self._anchors = {item.id: item for item in (*kept, anchor)}  # replaced, not changed: others read it

    # --- frames go ----------------------------------------------------------------------------------------------------

    def _evict(self, indices: Collection[int]) -> None:
        for index in indices:
            self._held.pop(index, None)
        positions_left = self._last_position - self._sequence.snapshot.next_position
        if self._eviction == "drop" and positions_left >= self._engines.manifest.video.tokens:
            self._sequence.drop(indices)
        elif not self.is_rebuilding:  # one under way learns of it when it has caught up
            self._begin_rebuild()

    def _begin_rebuild(self, is_linked: bool = True) -> None:
        arguments = self._epoch, is_linked
        self._rebuild = threading.Thread(target=self._run_rebuild, args=arguments, name="loc3r-rebuild")
        self._rebuild.start()

    def _run_rebuild(self, epoch: int, is_linked: bool) -> None:
        try:
            while not self._rebuild_once(epoch, is_linked):
                is_linked = True
        except Exception:  # the old sequence goes on answering
            log.exception("The memory could not be rebuilt; it goes on with the old one.")

    def _rebuild_once(self, epoch: int, is_linked: bool) -> bool:
        """Run the kept frames anew and swap the sequences; return whether nothing was evicted meanwhile.

        Args:
            epoch: the rebuild gives up where another has begun.
            is_linked: whether the old sequence tells where the new anchor lies.
        """
        with self._lock:
            first = next(iter(self._held.values()), None)
        if first is None:
            return True
        old_t_new = geometry.world_t_anchor(first.anchor_t_camera)
        new_t_first = geometry.invert(old_t_new) @ first.anchor_t_camera
        sequence = FrameSequence(self._engines, self._frames, self._sequence.anchor_id + 1, new_t_first)
        while True:
            with self._lock:
                if epoch != self._epoch or not threading.main_thread().is_alive():  # reset, or the program ends
                    return True
                held, done = tuple(self._held.values()), sequence.snapshot.entries
                newest = done[-1].record.index if done else -1
                waiting = [item.record for item in held if item.record.index > newest]
                if not waiting or not sequence.has_room:
                    self._swap(sequence, geometry.invert(old_t_new), is_linked)
                    return len(held) == len(done)
            sighting, pose = sequence.look(waiting[0].picture)
            sequence.append(waiting[0], sighting, pose)

    def _swap(self, sequence: FrameSequence, new_t_old: FloatArray, is_linked: bool) -> None:
        """Go on with a rebuilt sequence; poses from the pose prior move to its anchor."""
        first = sequence.snapshot.entries[0]
        keyframe = next((item for item in self._buffer.keyframes if item.index == first.record.index), None)
        keyframe = keyframe or Keyframe(first.record.index, first.record.stamp, None, None)  # evicted meanwhile
        anchor = anchor_under(sequence.anchor_id, keyframe, first.anchor_t_camera)
        if is_linked:
            known = {index: item.anchor_t_camera for index, item in self._held.items()}
            anchor = replace(anchor, previous_t_anchor=geometry.invert(new_t_old), previous_t_cameras=known)
        self._add_anchor(anchor)
        poses = {entry.record.index: entry.anchor_t_camera for entry in sequence.snapshot.entries}
        self._held = {
            index: replace(item, anchor_t_camera=poses.get(index, new_t_old @ item.anchor_t_camera))
            for index, item in self._held.items()
        }
        if any(keyframe.reference == "anchor" for keyframe in self._buffer.keyframes):
            self._buffer.restore(
                replace(keyframe, reference_t_camera=self._held[keyframe.index].anchor_t_camera)
                if keyframe.reference == "anchor"
                else keyframe
                for keyframe in self._buffer.keyframes
                if keyframe.index in self._held  # one whose engines failed is in the buffer alone
            )
        where = self._whereabouts
        if where is not None:
            pose = new_t_old @ where.anchor_t_camera
            self._whereabouts = replace(
                where, anchor_t_camera=pose, anchor_id=sequence.anchor_id, keyframe_count=len(poses)
            )
        self._sequence = sequence
