"""Places and answers over ROS, beside those of the evaluation without ROS: the same frames, the same engines.

Videos of unseen scenes go as images over DDS into the node, frame by frame. It is asked for described places and
questions; each place is compared with the evaluation's, and with TF. Then the video is shown again at a steady rate,
without questions and with one after the other. Without odometry, as in the evaluation, and every frame is a keyframe.

Options: `engines` (folder; none: random weights of nano's size), `seeds` (FIRST:END), `situations` (most per scene;
with 4 they are those of `loc3r evaluate`), `rate` (images per second).
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from loc3r_ros import geometry
from loc3r_ros.benchmarks import Measurement
from loc3r_ros.benchmarks._conversation import RESEND, Conversation
from loc3r_ros.benchmarks._timing import Metronome
from loc3r_ros.engines.manifest import Manifest
from loc3r_ros.errors import ConfigError
from loc3r_ros.evaluation.clips import parse_seeds
from loc3r_ros.evaluation.engines import load_engines, subject_of
from loc3r_ros.evaluation.poses import ACCURACIES, accuracies, heading_error, position_error
from loc3r_ros.evaluation.run import PERIOD
from loc3r_ros.evaluation.statistics import measured
from loc3r_ros.geometry import Array
from loc3r_ros.interface import ImageArray
from loc3r_ros.prompt.template import PromptTemplate
from loc3r_ros.ros.conversions import matrix_from_pose
from loc3r_ros.srv import Ask, WhereAmI
from loc3r_ros.world.sample import make_sample
from loc3r_ros.world.splits import Split, split_of

LIMIT = 1.0
"""s within which each answer should come."""


@dataclass(frozen=True, eq=False)
class Scene:
    """What is shown and asked.

    Attributes:
        images: (N, H, W, 3) uint8 RGB.
        situations: texts with their (3,) true poses in the anchor frame.
        questions: (question, situation or empty).
    """

    images: ImageArray
    situations: list[tuple[str, Array]]
    questions: list[tuple[str, str]]


@dataclass(frozen=True, eq=False)
class Told:
    """What was said of a scene, over ROS or without.

    Attributes:
        places: (S, 3) poses of the situations.
        answers: texts, one for each question.
    """

    places: Array
    answers: list[str]


@dataclass
class Watch:
    """What was measured over ROS.

    Attributes:
        latencies: s from call to reply: of places and of answers, and of both while images arrive at the steady rate.
        cpu: s that the node spent on all places and on all answers without other images, user and system.
        tf_errors: largest difference between a number of the message and of TF, for each place.
        keyframes: of the steady rate, without questions and with them, scene by scene.
        gaps: s between the stamps of two broadcasts while questions run.
        frames: images shown at the steady rate, of all scenes.
        lateness: s by which the machine made a bare timer of 20 Hz late, meanwhile.
    """

    latencies: dict[str, list[float]] = field(default_factory=lambda: {"place": [], "answer": [], "busy": []})
    cpu: dict[str, float] = field(default_factory=lambda: {"place": 0.0, "answer": 0.0})
    tf_errors: list[float] = field(default_factory=list)
    keyframes: dict[str, int] = field(default_factory=lambda: {"quiet": 0, "busy": 0})
    gaps: list[float] = field(default_factory=list)
    frames: int = 0
    lateness: float = 0.0


def measure(
    engines: str = "", seeds: str = "1100000:1100010", situations: int = 20, rate: float = 5.0
) -> list[Measurement]:
    """Show and ask everything, over ROS and then without; half a minute a scene."""
    with engine_folder(engines) as folder:
        loaded = load_engines(folder)
        scenes = [load_scene(seed, situations, loaded.manifest) for seed in unseen(seeds)]
        watch = Watch()
        with Conversation(folder, loaded.manifest) as node:
            node.wait_until_ready(scenes[0].images[0])
            over_ros = [hold(node, scene, rate, watch) for scene in scenes]
        localizer = subject_of(loaded, PromptTemplate.load(folder)).video
        evaluated = []
        for scene in scenes:
            localizer.reset()
            for number, image in enumerate(scene.images):
                localizer.observe(image, number * PERIOD)
            places = [localizer.locate(text).pose for text, _ in scene.situations]
            evaluated.append(Told(np.array(places), [localizer.ask(*one).text for one in scene.questions]))
    return describe(scenes, over_ros, evaluated, watch, rate)


@contextmanager
def engine_folder(name: str) -> Iterator[Path]:
    """Yield the folder that a name means; for an empty one a temporary one with random weights."""
    if name:
        yield Path(name)
        return
    from loc3r_ros.export.folder import export_engines
    from loc3r_ros.export.source import random_source
    from loc3r_ros.model.config import preset

    with tempfile.TemporaryDirectory() as folder:
        export_engines(random_source(preset("nano")), Path(folder) / "nano", "fp32")
        yield Path(folder) / "nano"


def unseen(seeds: str) -> range:
    """Return the seeds of scenes that no model was trained on.

    Raises:
        ConfigError: one of them belongs to the training scenes, or there is none.
    """
    chosen = parse_seeds(seeds)
    if not chosen or split_of(chosen[0]) is Split.TRAIN:
        raise ConfigError(f"The seeds {seeds} hold no scenes, or some for training: use such as 1100000:1100010.")
    return chosen


def load_scene(seed: int, situations: int, manifest: Manifest) -> Scene:
    """Return a scene of the world, rendered as `loc3r evaluate` does."""
    video = manifest.video
    size = video.image_size
    grid = video.rows, video.columns
    sample = make_sample(seed, frames=video.frames, width=size, height=size, grid=grid, situations=situations)
    texts = [one.text for one in sample.situations]
    questions = [(one.text, "" if one.situation is None else texts[one.situation]) for one in sample.questions]
    return Scene(sample.frames.rgb, [(one.text, one.pose) for one in sample.situations], questions[:situations])


# --- over ROS ---------------------------------------------------------------------------------------------------------


def hold(node: Conversation, scene: Scene, rate: float, watch: Watch) -> Told:
    """Show a scene to the node and ask everything; then measure the keyframe rate without and with questions."""
    node.reset()
    for image in scene.images:
        node.show_until_kept(image)
    told = ask_all(node, scene, watch)
    watch.frames += len(scene.images)
    watch.keyframes["quiet"] += show_steadily(node, scene.images, rate, nullcontext())
    watch.keyframes["busy"] += show_steadily(node, scene.images, rate, Chatter(node, scene, watch))
    return told


def ask_all(node: Conversation, scene: Scene, watch: Watch) -> Told:
    """Ask for every place and every answer, one after the other."""
    places, answers, begin = [], [], node.cpu_seconds()
    for text, _ in scene.situations:
        response, seconds = node.call(WhereAmI, situation=text)
        watch.latencies["place"].append(seconds)
        watch.tf_errors.append(node.tf_error(response.pose))
        places.append(geometry.planar(matrix_from_pose(response.pose.pose.pose)))
    between = node.cpu_seconds()
    for question, situation in scene.questions:
        response, seconds = node.call(Ask, question=question, situation=situation)
        watch.latencies["answer"].append(seconds)
        answers.append(response.answer.answer)
    watch.cpu["place"] += between - begin
    watch.cpu["answer"] += node.cpu_seconds() - between
    return Told(np.array(places), answers)


def show_steadily(
    node: Conversation, images: ImageArray, rate: float, meanwhile: AbstractContextManager[object]
) -> int:
    """Show a video at a steady rate to a node that has forgotten all; return how many frames it keeps.

    Args:
        node: the node.
        images: (N, H, W, 3), the video.
        rate: Hz.
        meanwhile: begins once the first frame is kept.
    """
    node.reset()
    node.show_until_kept(images[0])
    with meanwhile:
        begin, stamp = time.monotonic(), 0
        for number, image in enumerate(images[1:]):
            time.sleep(max(0.0, begin + number / rate - time.monotonic()))
            stamp = node.show(image)
        node.is_kept(stamp, RESEND)
    return node.keyframe_count


class Chatter:
    """Asks the node about a scene without a pause, in a thread of its own; a context manager."""

    def __init__(self, node: Conversation, scene: Scene, watch: Watch) -> None:
        self._node, self._scene, self._watch = node, scene, watch
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._metronome = Metronome()

    def __enter__(self) -> Chatter:
        self._node.stamps.clear()
        self._metronome.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._metronome.__exit__()
        self._watch.lateness = max(self._watch.lateness, self._metronome.lateness)
        self._watch.gaps += (1e-9 * np.diff(self._node.stamps)).tolist()

    def _ask(self) -> None:
        number = 0
        while not self._is_over.is_set():
            question, situation = self._scene.questions[number % len(self._scene.questions)]
            place = self._scene.situations[number % len(self._scene.situations)][0]
            for kind, fields in (
                (WhereAmI, {"situation": place}),
                (Ask, {"question": question, "situation": situation}),
            ):
                self._watch.latencies["busy"].append(self._node.call(kind, **fields)[1])
            number += 1


# --- what comes of it -------------------------------------------------------------------------------------------------


def as_printed(value: float) -> str:
    """Return a number as the tables show it: sums of the same numbers differ in the sixteenth digit."""
    return f"{value:.4g}"


def describe(
    scenes: Sequence[Scene], over_ros: Sequence[Told], evaluated: Sequence[Told], watch: Watch, rate: float
) -> list[Measurement]:
    """Return the numbers."""
    ros, known = (np.concatenate([one.places for one in told]) for told in (over_ros, evaluated))
    rows, expected = [], score(evaluated, scenes)
    for name, value in score(over_ros, scenes).items():
        same = "the same" if as_printed(value) == as_printed(expected[name]) else f"NOT the same: {expected[name]!r}"
        rows.append(Measurement(f"{name}, over ROS", value, UNITS.get(name, "%"), f"evaluation {same}"))
    difference = ros - known
    difference[:, 2] = geometry.wrap_angle(difference[:, 2])
    said, right = ([text for one in told for text in one.answers] for told in (over_ros, evaluated))
    equal = sum(map(str.__eq__, said, right))
    rows += [
        Measurement("places: largest difference", float(np.abs(difference).max()), "m, rad", f"{len(ros)} situations"),
        Measurement("answers with the same words", equal, "answers", f"of {len(said)}"),
        Measurement("TF against the message: largest difference", max(watch.tf_errors), "m", "described pose"),
    ]
    for name, title in (("place", "place"), ("answer", "answer"), ("busy", "either, while images arrive")):
        seconds = np.array(watch.latencies[name])
        late = f"{np.median(seconds):.3f} s in the middle, {(seconds > LIMIT).sum()} of {len(seconds)} over {LIMIT:g} s"
        rows.append(Measurement(f"call to reply: {title}", float(seconds.max()), "s", f"the longest; {late}"))
    for name, spent in watch.cpu.items():
        each = 1e3 * spent / max(len(watch.latencies[name]), 1)
        rows.append(Measurement(f"CPU of the node: {name}", each, "ms", "each, with TF meanwhile"))
    for name in ("quiet", "busy"):
        kept = watch.keyframes[name]
        note = f"{kept} of {watch.frames} images at {rate:g} Hz" + (", one question after the other" * (name == "busy"))
        rows.append(Measurement(f"keyframe rate, {name}", rate * kept / watch.frames, "Hz", note))
    gaps = np.array(watch.gaps)
    note = f"of {len(gaps)}, by stamp; a bare timer was up to {1e3 * watch.lateness:.0f} ms late"
    return [*rows, Measurement("TF: longest gap while questions run", 1e3 * float(gaps.max()), "ms", note)]


UNITS = {"median_m": "m", "median_deg": "deg"}


def score(told: Sequence[Told], scenes: Sequence[Scene]) -> dict[str, float]:
    """Return the numbers of the evaluation's table."""
    true = [np.array([pose for _, pose in scene.situations]).reshape(-1, 3) for scene in scenes]
    pairs = [(one.places, poses) for one, poses in zip(told, true, strict=True)]
    metres, degrees = (measured([error(*pair) for pair in pairs]) for error in (position_error, heading_error))
    right = accuracies(metres.value, degrees.value)
    shares = {name: 100.0 * float(right[name].mean()) for name in ACCURACIES}
    return {**shares, "median_m": metres.median().value, "median_deg": degrees.median().value}
