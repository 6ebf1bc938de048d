"""What an evaluation has seen of each scene, as plain data: measuring and scoring are two things."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from loc3r_ros.errors import ConfigError
from loc3r_ros.geometry import Array
from loc3r_ros.interface import Place
from loc3r_ros.world.facts import Cue

CONDITIONS = ("video", "shuffled", "blank")
"""What the model has seen when it is asked: the scene, another scene, or as many grey frames (text alone)."""


@dataclass(frozen=True, eq=False)
class Estimated:
    """A place as the localizer gives it; see `interface.Place`."""

    pose: Array
    covariance: Array
    heading_distribution: Array
    confidence: float

    @classmethod
    def of(cls, place: Place) -> Estimated:
        """Return what of a place is scored."""
        return cls(place.pose, place.covariance, place.heading_distribution, place.confidence)


@dataclass(frozen=True, eq=False)
class Placement:
    """A place that was asked for.

    Attributes:
        text: the situation, empty for the camera's own place.
        truth: (3,) true pose in the anchor frame.
        ceiling: share of each accuracy that the words allow, by its name in `poses.ACCURACIES`; empty for an own place.
        estimates: condition -> answer.
        readers: one of `readers.READERS` -> (3,) pose that a perfect reader finds; empty for an own place.
    """

    text: str
    truth: Array
    ceiling: dict[str, float]
    estimates: dict[str, Estimated]
    readers: dict[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Asked:
    """A question that was asked.

    Attributes:
        type: one of `world.language.QUESTIONS`.
        text: the question.
        situation: text of the situation that it was asked from, or empty.
        answer: the right answer.
        replies: condition -> reply.
        cues: of the question, for the balance.
    """

    type: str
    text: str
    situation: str
    answer: str
    replies: dict[str, str]
    cues: tuple[Cue, ...] = ()


@dataclass(frozen=True, eq=False)
class LayoutErrors:
    """Of every patch whose truth is one place, P in all.

    Attributes:
        distance: (P,) metres along the floor from the camera to the true place.
        error: (P,) metres from the estimated place.
        level: (P,) share of the predicted distribution that lies nearer than the error.
        posed: (P,) metres that are left when each keyframe's patches are moved, as one, to where they fit best.
    """

    distance: Array
    error: Array
    level: Array
    posed: Array


@dataclass(frozen=True, eq=False)
class Trajectory:
    """(N, 4, 4) estimated and true camera poses, each in a frame of its own."""

    estimated: Array
    true: Array


@dataclass(frozen=True, eq=False)
class SceneRecord:
    """All that was measured in one scene.

    Attributes:
        seed: of the scene.
        world_t_anchor: (3,) of the video's anchor.
        placements: described places.
        own: the camera's own place at some frames of the video.
        asked: questions.
        layout: of all keyframes of the video.
        camera: poses of the video.
        walk: keyframes of a long walk, None where there was none.
    """

    seed: int
    world_t_anchor: Array
    placements: list[Placement]
    own: list[Placement]
    asked: list[Asked]
    layout: LayoutErrors
    camera: Trajectory
    walk: Trajectory | None = None


def to_json(record: SceneRecord) -> str:
    """Return a record as one line."""
    return json.dumps(asdict(record), default=np.ndarray.tolist)


def from_json(line: str) -> SceneRecord:
    """Return the record that `to_json` wrote."""
    values = json.loads(line)
    return SceneRecord(
        seed=values["seed"],
        world_t_anchor=np.array(values["world_t_anchor"]),
        placements=[_placement(one) for one in values["placements"]],
        own=[_placement(one) for one in values["own"]],
        asked=[Asked(**one | {"cues": _cues(one["cues"])}) for one in values["asked"]],
        layout=LayoutErrors(**_arrays(values["layout"])),
        camera=Trajectory(**_arrays(values["camera"])),
        walk=Trajectory(**_arrays(values["walk"])) if values["walk"] else None,
    )


def _placement(values: dict[str, Any]) -> Placement:
    estimates = {
        name: Estimated(**_arrays({key: one[key] for key in one if key != "confidence"}), confidence=one["confidence"])
        for name, one in values["estimates"].items()
    }
    truth = np.array(values["truth"])
    return Placement(values["text"], truth, values["ceiling"], estimates, _arrays(values["readers"]))


def _arrays(values: dict[str, Any]) -> dict[str, Array]:
    return {name: np.array(value, dtype=np.float64) for name, value in values.items()}


def _cues(values: list[dict[str, Any]]) -> tuple[Cue, ...]:
    return tuple(Cue(tuple(one["key"]), one["outcome"], one["outcomes"], one["tolerance"]) for one in values)


@dataclass
class RecordFile:
    """Records on disk, one a line behind a header, so that a run that was interrupted goes on where it was.

    Attributes:
        path: of the file.
        header: what the records depend on.
        records: seed -> record.
    """

    path: Path
    header: dict[str, Any]
    records: dict[int, SceneRecord] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, header: dict[str, Any]) -> RecordFile:
        """Read the records of an earlier run with the same header, or begin a file.

        Raises:
            ConfigError: the file is from other engines or options, or no such file.
        """
        file = cls(path, header)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(header) + "\n")
            return file
        try:
            first, *lines = path.read_text().splitlines(keepends=True)
            if json.loads(first) != json.loads(json.dumps(header)):
                raise ConfigError(
                    f"{path} holds results of other engines, seeds or options: delete it, or write to another file."
                )
            whole = [line for line in lines if line.endswith("\n")]  # the last may have been cut off
            file.records = {record.seed: record for record in map(from_json, whole)}
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path} is no file of results, or it is damaged ({error!r}): delete it.") from error
        path.write_text("".join([first, *whole]))
        return file

    def add(self, record: SceneRecord) -> None:
        """Keep a record."""
        with self.path.open("a") as stream:
            stream.write(to_json(record) + "\n")
        self.records[record.seed] = record
