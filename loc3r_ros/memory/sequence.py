"""The model's state on one sequence of keyframes: pose prior, cache, and the anchor that all of it refers to."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from loc3r_ros import geometry
from loc3r_ros.engines import EngineSet
from loc3r_ros.engines.protocol import Array
from loc3r_ros.interface import FloatArray, ImageArray
from loc3r_ros.memory.cache import Cache
from loc3r_ros.memory.language import append_tokens
from loc3r_ros.memory.pose_prior import PosePriorTracker, Sighting
from loc3r_ros.memory.saved import SavedMemory
from loc3r_ros.memory.snapshot import Entry, Record, Snapshot
from loc3r_ros.prompt.layout import VideoLayout

LEVEL_CAMERA: FloatArray = geometry.CAMERA_LINK_T_OPTICAL
"""Pose of a level camera on the floor: the first keyframe's, where nothing says how it is tilted or how high it is."""


class FrameSequence:
    """Keyframes appended one after the other. One thread appends; the snapshot may be read from any."""

    def __init__(
        self, engines: EngineSet, frames: int, anchor_id: int, anchor_t_first: FloatArray | None = None
    ) -> None:
        """Start with the prompt's fixed beginning in the cache.

        Args:
            engines: the model.
            frames: most keyframes that it will hold.
            anchor_id: of its anchor.
            anchor_t_first: (4, 4) pose of the first keyframe's camera in the anchor frame; None takes it from odometry,
                or calls the camera level.
        """
        manifest = engines.manifest
        self._engines = engines
        self._tokens = manifest.video.tokens
        self.frames = frames
        self.anchor_id = anchor_id
        self.tracker = PosePriorTracker(engines)
        self._anchor_t_first = anchor_t_first
        self._anchor_t_world: FloatArray | None = None
        self._patches = patch_rows(engines)
        self._cache = self._new_cache()
        self._no_suffix = Cache(engines.backend, manifest.language, 0, engines.suffix_rows).view()
        self._cache.append(engines.head)
        self.snapshot = Snapshot(self._cache.view(), self._cache.length, (), anchor_id)

    def _new_cache(self) -> Cache:
        engines, spec = self._engines, self._engines.manifest.language
        capacity = spec.head_tokens + self.frames * self._tokens
        return Cache(engines.backend, spec, capacity, engines.prefix_rows)

    @property
    def has_room(self) -> bool:
        """Whether one more keyframe fits."""
        return self._cache.has_room(self._tokens)

    @property
    def nbytes(self) -> int:
        """Size of the cache in bytes."""
        return self._cache.nbytes

    def look(self, picture: ImageArray, upright: FloatArray | None = None) -> tuple[Sighting, FloatArray]:
        """Look at a frame without learning from it.

        Args:
            picture: (H, W, 3) uint8 RGB of the pose prior's size.
            upright: (4, 4) pose of the camera in a frame whose z is up: it tells how high and how tilted the first is.

        Returns:
            What the prior says, and the (4, 4) pose of the camera in the anchor frame.
        """
        sighting = self.tracker.look(picture)
        anchor_t_world = self._anchor_t_world
        if anchor_t_world is None:
            anchor_t_world = self._first_pose(upright) @ geometry.invert(sighting.world_t_camera)
        return sighting, anchor_t_world @ sighting.world_t_camera

    def _first_pose(self, upright: FloatArray | None) -> FloatArray:
        if self._anchor_t_first is not None:
            return self._anchor_t_first
        if upright is not None and geometry.is_valid_pose(upright):
            return geometry.invert(geometry.world_t_anchor(upright)) @ upright
        return LEVEL_CAMERA

    def append(self, record: Record, sighting: Sighting, anchor_t_camera: FloatArray) -> None:
        """Remember the frame that was looked at last. In a full cache only the pose prior learns from it."""
        if self.has_room:
            self._append_tokens(record, np.concatenate([sighting.camera_token, record.tokens]), anchor_t_camera)
        self.tracker.learn()  # last: an engine that fails leaves everything as it was
        if self._anchor_t_world is None:
            self._anchor_t_world = anchor_t_camera @ geometry.invert(sighting.world_t_camera)

    def _append_tokens(self, record: Record, embeddings: Array, anchor_t_camera: FloatArray) -> None:
        before = self.snapshot
        heads = append_tokens(
            self._engines,
            embeddings,
            before.next_position,
            before.cache,
            self._no_suffix,
            self._cache,
            layout_rows=self._patches,
        )
        entry = Entry(record, anchor_t_camera, heads.layout)
        self.snapshot = Snapshot(
            self._cache.view(), before.next_position + len(embeddings), (*before.entries, entry), self.anchor_id
        )

    @property
    def anchor_t_world(self) -> FloatArray:
        """The (4, 4) pose prior's world in the anchor frame; known from the first keyframe on."""
        assert self._anchor_t_world is not None
        return self._anchor_t_world

    def restore(self, saved: SavedMemory) -> None:
        """Hold a saved sequence instead; ValueError where its arrays do not fit."""
        self._cache = self._new_cache()
        self._cache.append(saved.cache)
        self.tracker.restore(saved.prior_state, saved.prior_count)
        self._anchor_t_world = saved.anchor_t_world
        self.snapshot = Snapshot(self._cache.view(), saved.next_position, saved.entries, self.anchor_id)

    def drop(self, indices: Collection[int]) -> None:
        """Forget keyframes without computing the others anew: an approximation.

        What remains was computed while it saw the forgotten frames; positions, anchor and the prior's state stay.
        """
        before, head = self.snapshot, self._engines.manifest.language.head_tokens
        kept = [n for n, entry in enumerate(before.entries) if entry.record.index not in indices]
        spans = [(0, head), *((head + n * self._tokens, head + (n + 1) * self._tokens) for n in kept)]
        cache = self._new_cache()
        cache.append_rows(before.cache, spans)
        self._cache = cache
        entries = tuple(before.entries[n] for n in kept)
        self.snapshot = Snapshot(cache.view(), before.next_position, entries, self.anchor_id)


def patch_rows(engines: EngineSet) -> np.ndarray:
    """Return the rows of a frame's tokens that are patches."""
    video = engines.manifest.video
    return VideoLayout(video.rows, video.columns, video.newline, has_camera=True).patch_offsets()  # type: ignore[arg-type]
