"""What is worth keeping, and what is forgotten first."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from loc3r_ros import geometry
from loc3r_ros.interface import FloatArray, Keyframe

TOO_LITTLE_MOTION = "too little motion"
NOTHING_NEW = "nothing new in view"


class Policy(Protocol):
    """Judges frames that have a pose, and says which keyframe to forget. It hears of every change of the buffer."""

    def judge(self, candidate: Keyframe, kept: Sequence[Keyframe], at_stake: int) -> str:
        """Return why a frame is not worth keeping; empty where it is.

        Args:
            candidate: it and the newest of `kept` have poses in one frame.
            kept: the keyframes, oldest first.
            at_stake: how many of them stand in line for the next eviction if it is kept; 0 while there is room.
        """
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

    def judge(self, candidate: Keyframe, kept: Sequence[Keyframe], at_stake: int) -> str:
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
        bearing = np.arctan2(y, x)
        inside = (np.hypot(x, y) <= self.max_range) & (np.abs(bearing) <= self.field_of_view / 2)
        self._sector = np.stack([x[inside], y[inside]], axis=1)
        self._bearing = bearing[inside]

    def judge(self, candidate: Keyframe, kept: Sequence[Keyframe], at_stake: int) -> str:
        """Return `NOTHING_NEW` or nothing. It must add as much as any keyframe at stake takes away when it goes."""
        view = self.view(candidate)
        gain = sum(1 for cell in view if cell not in self._seen)
        if gain < max(self.min_gain * len(view), 1):
            return NOTHING_NEW
        return "" if self._is_worth(candidate, view, gain, kept, at_stake) else NOTHING_NEW

    def _is_worth(
        self, candidate: Keyframe, view: frozenset[int], gain: int, kept: Sequence[Keyframe], at_stake: int
    ) -> bool:
        """Rehearse the next eviction with the candidate in."""
        left = [*kept, candidate]
        gone: list[Keyframe] = []
        worth = True
        self._seen.update(view)
        while worth and len(gone) < at_stake:
            gone.append(left.pop(self.victim(left)))
            worth = self._contribution(gone[-1]) <= gain
            self._forget(self._views.get(gone[-1].index, frozenset()))
        for keyframe in gone:
            self._seen.update(self._views.get(keyframe.index, ()))
        self._forget(view)
        return worth

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
        self._forget(self._views.pop(keyframe.index, frozenset()))

    def view(self, keyframe: Keyframe) -> frozenset[int]:
        """Return the cells that a keyframe with a pose sees, as numbers that name place, side and reference frame."""
        pose = _pose(keyframe)
        heading = geometry.camera_heading(pose)
        reach = float(np.hypot(*pose[:2, 2]))
        rays = (reach * self._sector) @ geometry.rotation2(heading).T
        cells = np.floor((rays + pose[:2, 3]) / self.cell).astype(np.int64)
        side = np.floor((heading + self._bearing) * (self.sides / (2 * np.pi))).astype(np.int64)
        place = self._references.setdefault(keyframe.reference, len(self._references)) * self.sides + side % self.sides
        return frozenset(((((place << 24) + (cells[:, 0] & 0xFFFFFF)) << 24) + (cells[:, 1] & 0xFFFFFF)).tolist())

    def covered(self) -> int:
        """Return how many cells the keyframes see together."""
        return len(self._seen)

    def _forget(self, view: frozenset[int]) -> None:
        self._seen.subtract(view)
        for cell in view:
            if not self._seen[cell]:
                del self._seen[cell]

    def _contribution(self, keyframe: Keyframe) -> int:
        """Return how many cells only this keyframe sees."""
        return sum(1 for cell in self._views.get(keyframe.index, ()) if self._seen[cell] == 1)


def _pose(keyframe: Keyframe) -> FloatArray:
    """Return the pose of a keyframe that has one."""
    assert keyframe.reference_t_camera is not None
    return keyframe.reference_t_camera
