"""Shows videos to a localizer and asks it everything: from clips to records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np

from loc3r_ros import geometry
from loc3r_ros.evaluation.clips import Clip
from loc3r_ros.evaluation.poses import ACCURACIES
from loc3r_ros.evaluation.readers import PerceivedMap, read_all
from loc3r_ros.evaluation.records import Asked, Estimated, LayoutErrors, Placement, SceneRecord, Trajectory
from loc3r_ros.evaluation.uncertainty import ellipse_levels, squared_mahalanobis
from loc3r_ros.geometry import Array
from loc3r_ros.interface import ImageArray, LocalizerProtocol
from loc3r_ros.world.balance import Balancer
from loc3r_ros.world.ceiling import Ceiling
from loc3r_ros.world.questions import Question

PERIOD = 100_000_000
"""ns between two frames."""
OWN_EVERY = 4
"""Frames between two at which the camera's own place is asked for."""
GREY = 128


class Evaluated(LocalizerProtocol, Protocol):
    """A localizer that can be waited for, so that a result does not depend on how fast the machine is."""

    def settle(self, timeout: float | None = None) -> bool:
        """Wait until the memory is not being rebuilt."""
        ...


@dataclass(frozen=True)
class Subject:
    """What is evaluated: three localizers with the same engines.

    Attributes:
        video: keeps every frame, as the model was trained.
        blank: the same; it is shown grey frames.
        robot: chooses and forgets keyframes as it does on the robot.
    """

    video: Evaluated
    blank: Evaluated
    robot: Evaluated


@dataclass(frozen=True)
class Plan:
    """What is asked.

    Attributes:
        seeds: of the scenes.
        load: seed and number of frames -> clip.
        frames: length of a video.
        questions: most questions of a type in a scene; 0 asks none.
        walks: so many of the scenes, the first ones, are also walked through for long.
        walk_frames: length of such a walk.
    """

    seeds: Sequence[int]
    load: Callable[[int, int], Clip]
    frames: int = 32
    questions: int = 1
    walks: int = 8
    walk_frames: int = 200


@dataclass(frozen=True, eq=False)
class Job:
    """A scene to measure.

    Attributes:
        before: seed of the scene whose video is shown first.
        clip: the scene.
        questions: what is asked about it.
        walks: whether it is also walked through for long.
    """

    before: int
    clip: Clip
    questions: list[Question]
    walks: bool


def run(subject: Subject, plan: Plan, done: Mapping[int, SceneRecord]) -> Iterator[SceneRecord]:
    """Yield the record of every scene of a plan that is not done yet, in their order."""
    examiner = Examiner(subject, plan)
    return map(examiner.examine, jobs(plan, done))


def jobs(plan: Plan, done: Mapping[int, SceneRecord]) -> Iterator[Job]:
    """Yield what is left to do of a plan; which questions are asked does not depend on what is done."""
    balancer = Balancer()
    for number, seed in enumerate(plan.seeds):
        if seed in done:
            _replay(done[seed], balancer)
            continue
        clip = plan.load(seed, plan.frames)
        before = plan.seeds[number - 1]  # of the first scene: the last
        yield Job(before, clip, _choose(clip.questions, plan.questions, balancer), walks=number < plan.walks)


class Examiner:
    """Measures one scene after another."""

    def __init__(self, subject: Subject, plan: Plan) -> None:
        self.subject, self.plan = subject, plan
        self._watched: int | None = None

    def examine(self, job: Job) -> SceneRecord:
        """Measure a scene; that is quickest where it follows the last one."""
        if self._watched is None:
            _show_grey(self.subject.blank, job.clip)
        if self._watched != job.before:
            watch(self.subject.video, self.plan.load(job.before, self.plan.frames))
        walk = self.plan.load(job.clip.seed, self.plan.walk_frames) if job.walks else None
        record = _measure(self.subject, job.clip, walk, job.questions)
        self._watched = job.clip.seed
        return record


def _replay(record: SceneRecord, balancer: Balancer) -> None:
    """Bring the balance to where it was after a scene."""
    for asked in record.asked:
        balancer.take(Question(asked.type, asked.text, asked.answer, None, asked.cues))


def _choose(questions: Sequence[Question], most: int, balancer: Balancer) -> list[Question]:
    """Return up to `most` questions of each type that keep the answers in balance."""
    chosen: list[Question] = []
    counts: Counter[str] = Counter()
    for question in questions:
        if counts[question.type] < most and balancer.take(question):
            counts[question.type] += 1
            chosen.append(question)
    return chosen


def _measure(subject: Subject, clip: Clip, walk: Clip | None, questions: list[Question]) -> SceneRecord:
    placements = [Placement(one.text, one.pose, _ceiling(one.ceiling), {}) for one in clip.situations]
    texts = ["" if one.situation is None else clip.situations[one.situation].text for one in questions]
    asked = [Asked(q.type, q.text, text, q.answer, {}, q.cues) for q, text in zip(questions, texts, strict=True)]
    # The video of the scene before is still in memory.
    placements, asked = ask("shuffled", subject.video, placements, asked)
    own = watch(subject.video, clip)
    placements, asked = ask("video", subject.video, placements, asked)
    placements, asked = ask("blank", subject.blank, placements, asked)
    perceived, sigma = look_at_layout(subject.video, clip)
    posed = perceived.posed()
    readers = [read_all(one.reading, perceived, posed) for one in clip.situations]
    return SceneRecord(
        seed=clip.seed,
        world_t_anchor=clip.world_t_anchor,
        placements=[replace(one, readers=found) for one, found in zip(placements, readers, strict=True)],
        own=own,
        asked=asked,
        layout=layout_errors(perceived, posed, sigma, clip),
        camera=keyframe_poses(subject.video, {shot.stamp: shot.pose for shot in shots_of(clip)}),
        walk=follow(subject.robot, shots_of(walk)) if walk is not None else None,
    )


def watch(localizer: LocalizerProtocol, clip: Clip) -> list[Placement]:
    """Show a video to a localizer that forgets all else, and return where it thinks it was at some frames."""
    localizer.reset()
    own = []
    for number, image in enumerate(clip.images):
        localizer.observe(image, number * PERIOD)
        if (number + 1) % OWN_EVERY == 0:
            truth = _planar(clip.anchor_t_camera[number])
            own.append(Placement("", truth, {}, {"video": Estimated.of(localizer.where_am_i())}))
    return own


def _show_grey(localizer: LocalizerProtocol, clip: Clip) -> None:
    grey: ImageArray = np.full_like(clip.images[0], GREY)
    localizer.reset()
    for number in range(len(clip.images)):
        localizer.observe(grey, number * PERIOD)


def ask(
    condition: str, localizer: LocalizerProtocol, placements: list[Placement], asked: list[Asked]
) -> tuple[list[Placement], list[Asked]]:
    """Return places and questions with what the localizer says under a condition."""
    places = [
        replace(one, estimates=one.estimates | {condition: Estimated.of(localizer.locate(one.text))})
        for one in placements
    ]
    answered = [
        replace(one, replies=one.replies | {condition: localizer.ask(one.text, one.situation).text}) for one in asked
    ]
    return places, answered


def look_at_layout(localizer: LocalizerProtocol, clip: Clip) -> tuple[PerceivedMap, Array]:
    """Return the bird's-eye-view map of a video beside the truth, and its (K, P, 2) standard deviations."""
    layout = localizer.layout()
    keyframe_of = {keyframe.index: keyframe for keyframe in localizer.keyframes()}
    kept = [keyframe_of[index] for index in layout.keyframe_index.reshape(-1, clip.patches.shape[1])[:, 0]]
    frames = np.array([keyframe.stamp // PERIOD for keyframe in kept])
    true = clip.patches[frames]
    perceived = PerceivedMap(
        frames=frames,
        points=layout.points.reshape(true.shape),
        true=true,
        known=clip.is_place[frames],
        cameras=np.array([_planar(_pose_in_anchor(keyframe.reference_t_camera)) for keyframe in kept]),
        true_cameras=np.array([_planar(pose) for pose in clip.anchor_t_camera[frames]]),
    )
    return perceived, layout.sigma.reshape(true.shape)


def layout_errors(perceived: PerceivedMap, posed: PerceivedMap, sigma: Array, clip: Clip) -> LayoutErrors:
    """Return the errors of a map, and those of the same map with each keyframe where it was."""
    known, cameras = perceived.known, clip.anchor_t_camera[perceived.frames, None, :2, 3]
    difference = (perceived.points - perceived.true)[known]
    covariance = sigma[known][:, :, None] ** 2 * np.eye(2)
    return LayoutErrors(
        distance=np.linalg.norm((perceived.true - cameras)[known], axis=1),
        error=np.linalg.norm(difference, axis=1),
        level=ellipse_levels(squared_mahalanobis(difference, covariance)),
        posed=np.linalg.norm((posed.points - posed.true)[known], axis=1),
    )


class Shot(NamedTuple):
    """A frame: its stamp (ns), (H, W, 3) uint8 RGB, and the (4, 4) true pose of its camera, optical axes."""

    stamp: int
    image: ImageArray
    pose: Array


def shots_of(clip: Clip) -> Iterator[Shot]:
    """Yield the frames of a clip, poses in its anchor frame."""
    for number, (image, pose) in enumerate(zip(clip.images, clip.anchor_t_camera, strict=True)):
        yield Shot(number * PERIOD, image, pose)


def follow(localizer: Evaluated, shots: Iterable[Shot]) -> Trajectory:
    """Walk a robot without odometry through a long video; return its keyframes' poses as it knew them at the time.

    Where the memory was rebuilt with a new anchor, the new one is found from the oldest keyframe in both.
    """
    localizer.reset()
    first_t_anchor, anchor, known = np.eye(4), None, {}
    estimated, true = [], []
    for shot in shots:
        keyframe = localizer.observe(shot.image, shot.stamp)
        if keyframe is not None:
            estimated.append(first_t_anchor @ _pose_in_anchor(keyframe.reference_t_camera))
            true.append(shot.pose)
        localizer.settle()
        poses = {one.index: _pose_in_anchor(one.reference_t_camera) for one in localizer.keyframes()}
        now = localizer.where_am_i().anchor_id
        if anchor not in (None, now):
            common = min(known.keys() & poses.keys())
            first_t_anchor = first_t_anchor @ known[common] @ geometry.invert(poses[common])
        anchor, known = now, poses
    return Trajectory(np.array(estimated), np.array(true))


def keyframe_poses(localizer: LocalizerProtocol, true: Mapping[int, Array]) -> Trajectory:
    """Return the poses of the keyframes in memory beside the true ones, which are known by their stamps."""
    keyframes = localizer.keyframes()
    estimated = np.array([_pose_in_anchor(one.reference_t_camera) for one in keyframes])
    return Trajectory(estimated, np.array([true[one.stamp] for one in keyframes]))


def _pose_in_anchor(pose: Array | None) -> Array:
    assert pose is not None, "the pose prior gives every keyframe a pose"
    return pose


def _planar(anchor_t_camera: Array) -> Array:
    return np.array([*anchor_t_camera[:2, 3], geometry.camera_heading(anchor_t_camera)])


def _ceiling(ceiling: Ceiling) -> dict[str, float]:
    shares = (ceiling.acc_05m, ceiling.acc_10m, ceiling.acc_15deg, ceiling.acc_30deg)
    return dict(zip(ACCURACIES, shares, strict=True))
