"""A memory as named arrays: everything that a restart needs to go on exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from loc3r_ros.engines.protocol import Array
from loc3r_ros.interface import FloatArray, Keyframe
from loc3r_ros.memory.snapshot import Anchor, Entry, Held, Record, Whereabouts

Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class SavedMemory:
    """What a memory holds.

    Attributes:
        entries: keyframes in the cache.
        cache: cache tensor name -> its rows.
        next_position: position id of the next token.
        prior_state: state of the pose prior.
        prior_count: keyframes that it has learned from.
        anchor_t_world: (4, 4) the prior's world in the anchor frame.
        keyframes: of the buffer.
        held: what is needed to run them anew; the same keyframes.
        whereabouts: the newest frame.
        anchor: that of everything here.
    """

    entries: tuple[Entry, ...]
    cache: dict[str, Array]
    next_position: int
    prior_state: dict[str, Array]
    prior_count: int
    anchor_t_world: FloatArray
    keyframes: tuple[Keyframe, ...]
    held: tuple[Held, ...]
    whereabouts: Whereabouts
    anchor: Anchor

    def arrays(self) -> dict[str, Array]:
        """Return it as named arrays."""
        records = {item.record.index: item.record for item in self.held}
        records |= {entry.record.index: entry.record for entry in self.entries}
        where = self.whereabouts
        return {
            "numbers": np.array([self.next_position, self.prior_count, where.stamp, where.anchor_id]),
            "anchor_t_world": self.anchor_t_world,
            "anchor_t_camera": where.anchor_t_camera,
            "anchor/stamp": np.array(self.anchor.stamp),
            "anchor/anchor_t_first": self.anchor.anchor_t_first,
            "anchor/reference_t_first": _or_nan(self.anchor.reference_t_first),
            "anchor/reference": np.array(self.anchor.reference),
            "anchor/previous_t_anchor": _or_nan(self.anchor.previous_t_anchor),
            **{f"cache/{name}": rows for name, rows in self.cache.items()},
            **{f"prior/{name}": values for name, values in self.prior_state.items()},
            **{f"record/{name}": values for name, values in _columns(list(records.values()), Record).items()},
            "entry/index": np.array([entry.record.index for entry in self.entries]),
            "entry/pose": np.array([entry.anchor_t_camera for entry in self.entries]),
            "entry/layout": np.array([entry.layout for entry in self.entries]),
            "held/index": np.array([item.record.index for item in self.held]),
            "held/pose": np.array([item.anchor_t_camera for item in self.held]),
            **_keyframe_columns(self.keyframes),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> SavedMemory:
        """Return what `arrays` was made of; KeyError, ValueError or IndexError where something is missing or wrong."""
        columns = _part(arrays, "record")
        records = {}
        for row, index in enumerate(columns["index"].tolist()):
            picture, tokens, colour = (columns[name][row] for name in ("picture", "tokens", "colour"))
            records[index] = Record(index, int(columns["stamp"][row]), picture, tokens, colour)
        next_position, prior_count, stamp, anchor_id = arrays["numbers"].tolist()
        entry, held, anchor = (_part(arrays, part) for part in ("entry", "held", "anchor"))
        entries = zip(entry["index"].tolist(), entry["pose"], entry["layout"], strict=True)
        return cls(
            entries=tuple(Entry(records[index], pose, layout) for index, pose, layout in entries),
            cache=_part(arrays, "cache"),
            next_position=next_position,
            prior_state=_part(arrays, "prior"),
            prior_count=prior_count,
            anchor_t_world=arrays["anchor_t_world"],
            keyframes=_keyframes(_part(arrays, "keyframe")),
            held=tuple(
                Held(records[index], pose) for index, pose in zip(held["index"].tolist(), held["pose"], strict=True)
            ),
            whereabouts=Whereabouts(arrays["anchor_t_camera"], stamp, anchor_id, len(entry["index"])),
            anchor=Anchor(
                id=anchor_id,
                stamp=int(anchor["stamp"]),
                anchor_t_first=anchor["anchor_t_first"],
                reference_t_first=_or_none(anchor["reference_t_first"]),
                reference=str(anchor["reference"]),
                previous_t_anchor=_or_none(anchor["previous_t_anchor"]),
            ),
        )

    def of_another_run(self, now: int | None) -> SavedMemory:
        """Return it as a memory from before this run: its odometry is not that of now, and its stamps lie in the past.

        Keyframes that odometry had placed are where the pose prior saw them.

        Args:
            now: ns; stamps that are not before it are moved, all alike; None leaves them.
        """
        late = 0 if now is None else max(0, self.whereabouts.stamp + 1 - now)
        poses = {item.record.index: item.anchor_t_camera for item in self.held}

        def record(one: Record) -> Record:
            return replace(one, stamp=one.stamp - late)

        def keyframe(one: Keyframe) -> Keyframe:
            pose = poses.get(one.index)
            return replace(
                one, stamp=one.stamp - late, reference_t_camera=pose, reference="" if pose is None else "anchor"
            )

        return replace(
            self,
            entries=tuple(replace(entry, record=record(entry.record)) for entry in self.entries),
            held=tuple(replace(item, record=record(item.record)) for item in self.held),
            keyframes=tuple(keyframe(one) for one in self.keyframes),
            whereabouts=replace(self.whereabouts, stamp=self.whereabouts.stamp - late),
            anchor=replace(self.anchor, stamp=self.anchor.stamp - late, reference_t_first=None, reference=""),
        )


def _part(arrays: Arrays, prefix: str) -> dict[str, Array]:
    return {name.split("/", 1)[1]: values for name, values in arrays.items() if name.startswith(f"{prefix}/")}


def _columns(rows: list[Record], kind: type[Record]) -> dict[str, Array]:
    return {name: np.array([getattr(row, name) for row in rows]) for name in kind.__dataclass_fields__}


NO_POSE = np.full((4, 4), np.nan)
"""Stands in a file for a pose that is not known."""


def _or_nan(pose: FloatArray | None) -> FloatArray:
    return NO_POSE if pose is None else pose


def _or_none(pose: FloatArray) -> FloatArray | None:
    return None if np.isnan(pose).any() else pose


def _keyframe_columns(keyframes: tuple[Keyframe, ...]) -> dict[str, Array]:
    return {
        "keyframe/index": np.array([item.index for item in keyframes]),
        "keyframe/stamp": np.array([item.stamp for item in keyframes]),
        "keyframe/image": np.array([item.image for item in keyframes]),
        "keyframe/pose": np.array([_or_nan(item.reference_t_camera) for item in keyframes]),
        "keyframe/reference": np.array([item.reference for item in keyframes]),
    }


def _keyframes(columns: Arrays) -> tuple[Keyframe, ...]:
    rows = zip(*(columns[name] for name in ("index", "stamp", "image", "pose", "reference")), strict=True)
    return tuple(
        Keyframe(int(index), int(stamp), image, _or_none(pose), str(reference))
        for index, stamp, image, pose, reference in rows
    )
