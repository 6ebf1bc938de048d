"""A recorded walk with true camera poses, shown to a model that has never seen a real room: what it makes of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from loc3r_ros.bags import Bag
from loc3r_ros.errors import BagError
from loc3r_ros.evaluation.poses import align
from loc3r_ros.evaluation.records import Trajectory
from loc3r_ros.evaluation.run import Shot, Subject, follow, keyframe_poses
from loc3r_ros.evaluation.score import score_trajectories
from loc3r_ros.interface import Place, Reply


@dataclass(frozen=True)
class Walk:
    """A bag: where it lies, its image topic (empty where it has but one), and the topic of the true camera poses."""

    path: Path
    images: str
    poses: str

    def shots(self) -> Iterator[Shot]:
        """Yield the frames whose true pose is known, optical axes."""
        with Bag(self.path) as bag:
            track = bag.track(self.poses)
            for frame in bag.frames(self.images):
                pose = track.at(frame.stamp)
                if pose is not None:
                    yield Shot(frame.stamp, frame.image, pose)

    def even_shots(self, count: int) -> list[Shot]:
        """Return `count` of them, evenly spread from the first to the last."""
        total = sum(1 for _ in self.shots())
        if total < 2:
            raise BagError(f"{self.path} has {total} images with a true pose on {self.poses}: a walk has two or more.")
        chosen = set(np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist())
        return [shot for number, shot in enumerate(self.shots()) if number in chosen]


@dataclass(frozen=True, eq=False)
class WalkRecord:
    """What a model makes of a walk.

    Attributes:
        video: camera poses of as many frames as the model was trained with, spread over the walk.
        robot: keyframes of the whole walk as the robot chooses and forgets them.
        places: answers to descriptions, from the video.
        answers: question and answer, from the video.
    """

    video: Trajectory
    robot: Trajectory
    places: tuple[Place, ...]
    answers: tuple[tuple[str, Reply], ...]


def walk_through(
    subject: Subject, walk: Walk, frames: int, situations: Sequence[str], questions: Sequence[str]
) -> WalkRecord:
    """Show a walk to a model, without odometry, and ask it.

    Raises:
        BagError: the bag is missing or damaged, or has no such topics.
    """
    video = walk.even_shots(frames)
    subject.video.reset()
    for shot in video:
        subject.video.observe(shot.image, shot.stamp)
    return WalkRecord(
        video=keyframe_poses(subject.video, {shot.stamp: shot.pose for shot in video}),
        robot=follow(subject.robot, walk.shots()),
        places=tuple(subject.video.locate(text) for text in situations),
        answers=tuple((text, subject.video.ask(text)) for text in questions),
    )


def score_walk(record: WalkRecord) -> dict[str, Any]:
    """Return the errors of the camera poses, and what was answered, as plain data."""
    return {
        "video": score_trajectories([record.video]),
        "robot": score_trajectories([record.robot]),
        "places": [_place(place) for place in record.places],
        "answers": [
            {"question": question, "answer": reply.text, "confidence": reply.confidence}
            for question, reply in record.answers
        ],
    }


def draw_walk(record: WalkRecord) -> Figure:
    """Draw the walk from above (x and y of the true poses) and both estimates, each aligned with the truth."""
    figure = Figure(figsize=(12, 6.5), layout="constrained")
    parts = (("video", record.video), ("robot", record.robot))
    for axes, (name, trajectory) in zip(figure.subplots(1, 2), parts, strict=True):
        true = trajectory.true[:, :3, 3]
        scale, aligned = align(trajectory.estimated[:, :3, 3], true)
        rmse = np.sqrt(((aligned - true) ** 2).sum(axis=1).mean())
        axes.plot(*true[:, :2].T, "o-", color="black", markersize=3, linewidth=1, label="truth")
        axes.plot(*aligned[:, :2].T, "o--", color="tab:red", markersize=3, linewidth=1, label="estimate, aligned")
        axes.plot(*np.stack([true[:, :2], aligned[:, :2]]).transpose(2, 0, 1), color="0.8", linewidth=0.6, zorder=0)
        axes.set_title(f"{name}: {len(true)} keyframes, scale {scale:.2f}, RMSE {rmse:.2f} m")
        axes.set(xlabel="x, m", ylabel="y, m", aspect="equal")
        axes.legend(fontsize=8)
    return figure


def _place(place: Place) -> dict[str, Any]:
    x, y, heading = (float(value) for value in place.pose)
    sigma = np.sqrt(np.diag(place.covariance))
    return {
        "situation": place.situation,
        "x": x,
        "y": y,
        "heading_deg": float(np.degrees(heading)),
        "sigma_m": [float(sigma[0]), float(sigma[1])],
        "confidence": place.confidence,
    }
