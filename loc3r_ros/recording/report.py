"""What a model makes of a recording: keyframes, described places and answers in one anchor frame, and their JSON."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from loc3r_ros import geometry
from loc3r_ros.errors import NotReadyError
from loc3r_ros.interface import FloatArray, Keyframe, Layout, Place, Reply
from loc3r_ros.localizer import Localizer
from loc3r_ros.memory.snapshot import Anchor
from loc3r_ros.recording.sources import View

NOWHERE: FloatArray = np.full(3, np.nan)


@dataclass(frozen=True)
class Answered:
    """A question and its answer."""

    question: str
    situation: str
    reply: Reply


@dataclass(frozen=True)
class Watched:
    """What it took to look at the frames.

    Attributes:
        frames: how many there were.
        with_odometry: how many of them had odometry.
        cpu_seconds: CPU time of this process for all of them, decoding included.
    """

    frames: int
    with_odometry: int
    cpu_seconds: float


@dataclass(frozen=True)
class Report:
    """What a model makes of a recording; all poses are in the anchor frame `layout.anchor_id`.

    Attributes:
        watched: what it took.
        keyframes: those in memory at the end, oldest first.
        keyframe_poses: (K, 3) x, y in metres and heading in radians of their cameras; NaN where it is not known.
        layout: the bird's-eye-view map.
        robot: the camera's own place at the end.
        places: one for each description.
        answers: one for each question.
    """

    watched: Watched
    keyframes: tuple[Keyframe, ...]
    keyframe_poses: FloatArray
    layout: Layout
    robot: Place
    places: tuple[Place, ...]
    answers: tuple[Answered, ...]


def watch(localizer: Localizer, views: Iterable[View]) -> Watched:
    """Show every frame to the localizer, and wait until its memory is complete."""
    begin, frames, with_odometry = time.process_time(), 0, 0
    for view in views:
        localizer.observe(view.image, view.stamp, view.odom_t_camera)
        frames += 1
        with_odometry += view.odom_t_camera is not None
    localizer.settle()
    return Watched(frames, with_odometry, time.process_time() - begin)


def make_report(
    localizer: Localizer, watched: Watched, situations: Sequence[str], questions: Sequence[str], situation: str = ""
) -> Report:
    """Locate descriptions and answer questions, these from a situation where there is one.

    Raises:
        NotReadyError: the recording has no frames.
        PromptError: a text is too long.
    """
    if not watched.frames:
        raise NotReadyError("The recording has no frame that could be decoded: there is nothing to answer from.")
    layout, keyframes = localizer.layout(), localizer.keyframes()
    return Report(
        watched=watched,
        keyframes=keyframes,
        keyframe_poses=keyframe_poses(keyframes, localizer.anchor(layout.anchor_id)),
        layout=layout,
        robot=localizer.where_am_i(),
        places=tuple(localizer.locate(text) for text in situations),
        answers=tuple(Answered(text, situation, localizer.ask(text, situation)) for text in questions),
    )


def keyframe_poses(keyframes: Sequence[Keyframe], anchor: Anchor) -> FloatArray:
    """Return the (K, 3) poses of keyframes in the anchor frame: x, y, metres, and where the camera looks, radians."""
    rows = [_pose_in_anchor(keyframe, anchor) for keyframe in keyframes]
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def _pose_in_anchor(keyframe: Keyframe, anchor: Anchor) -> FloatArray:
    """Return the (3,) pose, NaN where it is not known; through the anchor's own camera where odometry gave it."""
    if keyframe.reference_t_camera is None:
        return NOWHERE
    pose = _on_floor(keyframe.reference_t_camera)
    if keyframe.reference == "anchor":
        return pose
    if anchor.reference_t_first is None or anchor.reference != keyframe.reference:
        return NOWHERE
    # On the floor, since pose prior and odometry need not agree on how the camera is tilted.
    anchor_t_odom = geometry.compose2(
        _on_floor(anchor.anchor_t_first), geometry.invert2(_on_floor(anchor.reference_t_first))
    )
    return geometry.compose2(anchor_t_odom, pose)


def _on_floor(world_t_camera: FloatArray) -> FloatArray:
    x, y = world_t_camera[:2, 3]
    return np.array([x, y, geometry.camera_heading(world_t_camera)])


# --- for files --------------------------------------------------------------------------------------------------------


def as_json(report: Report) -> dict[str, Any]:
    """Return a report as what JSON can hold: metres, radians (degrees in fields `_deg`), seconds, stamps in ns."""
    return {
        "frame": {"name": "anchor", "anchor_id": report.layout.anchor_id},
        "watched": dataclasses.asdict(report.watched),
        "keyframes": [
            {"index": keyframe.index, "stamp": keyframe.stamp, "source": keyframe.reference, **_pose_json(pose)}
            for keyframe, pose in zip(report.keyframes, report.keyframe_poses, strict=True)
        ],
        "layout": {"points": len(report.layout.points), "median_sigma": float(np.median(report.layout.sigma))},
        "robot": _place_json(report.robot),
        "places": [_place_json(place) for place in report.places],
        "answers": [_answer_json(answered) for answered in report.answers],
    }


def _place_json(place: Place) -> dict[str, Any]:
    return {
        "situation": place.situation,
        **_pose_json(place.pose),
        "covariance": place.covariance.tolist(),
        "heading_distribution": place.heading_distribution.tolist(),
        "confidence": place.confidence,
        "anchor_id": place.anchor_id,
        "stamp": place.stamp,
        "keyframe_count": place.keyframe_count,
        "timings": dict(place.timings),
    }


def _answer_json(answered: Answered) -> dict[str, Any]:
    reply = answered.reply
    return {
        "question": answered.question,
        "situation": answered.situation,
        "answer": reply.text,
        "confidence": reply.confidence,
        "place": None if reply.pose is None else _place_json(reply.pose),
        "stamp": reply.stamp,
        "keyframe_count": reply.keyframe_count,
        "timings": dict(reply.timings),
    }


def _pose_json(pose: FloatArray) -> dict[str, float | None]:
    """Return x, y and heading; None where they are not known, for JSON has no NaN."""
    x, y, heading = (float(value) if math.isfinite(value) else None for value in pose)
    return {"x": x, "y": y, "heading": heading, "heading_deg": None if heading is None else math.degrees(heading)}
