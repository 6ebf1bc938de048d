"""The product in one class, without ROS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from loc3r_ros.engines import EngineSet
from loc3r_ros.errors import EngineError
from loc3r_ros.interface import FloatArray, ImageArray, Keyframe, Layout, Pieces, Place, Reply, Trajectory
from loc3r_ros.keyframes import KeyframeBuffer, MotionPolicy
from loc3r_ros.localizer import session
from loc3r_ros.localizer.frames import prepare
from loc3r_ros.localizer.places import described_place, own_place
from loc3r_ros.localizer.question import MAX_ANSWER_TOKENS, Question, Token, likelihood
from loc3r_ros.memory import Memory, Snapshot
from loc3r_ros.memory.memory import Eviction
from loc3r_ros.memory.snapshot import Anchor
from loc3r_ros.memory.stopwatch import Stopwatch
from loc3r_ros.prompt.template import PromptIds, PromptTemplate
from loc3r_ros.prompt.tokenizer import ORIENTATION, POSITION, TextStream


class Localizer:
    """Images in, places and answers out (`interface.LocalizerProtocol`).

    `observe` is called from one thread. Every other method may be called from any thread at the same time: it answers
    from a snapshot of the memory, holds no lock while it computes and never makes `observe` wait.
    """

    def __init__(
        self,
        engines: EngineSet,
        template: PromptTemplate,
        keyframes: KeyframeBuffer | None = None,
        eviction: Eviction = "rebuild",
        answer_tokens: int = MAX_ANSWER_TOKENS,
    ) -> None:
        """Start with an empty memory.

        Args:
            engines: the model.
            template: builds its prompts.
            keyframes: which frames to remember, an empty buffer of its own; None keeps as many as the model was trained
                with, chosen by motion, and evicts a quarter of them at once.
            eviction: "rebuild" is exact; "drop" saves the rebuild and answers from what saw evicted frames.
            answer_tokens: the longest answer.

        Raises:
            ConfigError: more keyframes than the model has positions for.
        """
        check_tokenizer(engines, template)
        self.engines = engines
        self._template = template
        self._answer_tokens = answer_tokens
        self._memory = Memory(engines, keyframes or default_keyframes(engines), eviction)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        threads: int = 0,
        keyframes: KeyframeBuffer | None = None,
        eviction: Eviction = "rebuild",
        answer_tokens: int = MAX_ANSWER_TOKENS,
    ) -> Localizer:
        """Load a folder of engines, whose manifest says everything else.

        Args:
            folder: of engines (`loc3r export`).
            threads: of one run of an engine; 0 lets the backend decide.
            keyframes: see `Localizer`.
            eviction: see `Localizer`.
            answer_tokens: see `Localizer`.

        Raises:
            EngineError: the folder is missing, damaged, or for a backend that is not here.
            ConfigError: its tokenizer is missing or does not fit, or there are too many keyframes.
        """
        folder = Path(folder)
        return cls(EngineSet.load(folder, threads), PromptTemplate.load(folder), keyframes, eviction, answer_tokens)

    # --- the camera ---------------------------------------------------------------------------------------------------

    def observe(
        self,
        image: ImageArray,
        stamp: int,
        odometry: FloatArray | None = None,
        base_t_camera: FloatArray | None = None,
    ) -> Keyframe | None:
        """Look at a frame and return the keyframe it became, or None.

        Args:
            image: (H, W, 3) uint8 RGB of any size.
            stamp: ns. A jump back of more than half a second begins a new memory.
            odometry: (4, 4) `odom_t_camera` with optical camera axes, where there is odometry at that stamp.
            base_t_camera: (4, 4) the camera on its robot, which is taken to stand level: gravity, where there is no
                odometry to tell it.

        Raises:
            ImageError: the array is no such image; the memory is untouched.
        """
        return self._memory.observe(prepare(self.engines.manifest, image, stamp, odometry, base_t_camera))

    @property
    def timings(self) -> dict[str, float]:
        """Seconds that each stage of the last `observe` took."""
        return dict(self._memory.timings)

    def keyframes(self) -> tuple[Keyframe, ...]:
        """Return the keyframes in memory, oldest first. Their images are the vision engine's pictures."""
        return self._memory.keyframes

    def reset(self) -> None:
        """Forget everything seen."""
        self._memory.reset()

    def reanchor(self, since: int) -> None:
        """Forget the keyframes before a stamp (ns) and begin a new anchor with the others, in the background.

        For a pose prior that went wrong: how the new anchor lies in the old one is not known. Where no keyframe is
        left, the next frame becomes the first.
        """
        self._memory.reanchor(since)

    def settle(self, timeout: float | None = None) -> bool:
        """Wait until the memory is not being rebuilt; return whether that is so after `timeout` seconds."""
        return self._memory.settle(timeout)

    @property
    def is_rebuilding(self) -> bool:
        """Whether the memory is being rebuilt in the background."""
        return self._memory.is_rebuilding

    # --- questions ----------------------------------------------------------------------------------------------------

    def locate(self, situation: str) -> Place:
        """Return where the described observer stands and looks.

        Raises:
            NotReadyError: nothing has been seen yet.
            PromptError: the text is too long.
        """
        snapshot, watch = self._memory.snapshot, Stopwatch()
        with watch.stage("prompt"):
            prompt = self._template.locate(situation)
        with watch.stage("prefill"):
            question = Question(self.engines, snapshot, prompt, answer_tokens=0)
        return self._described(question, snapshot, situation, watch)

    def where_am_i(self) -> Place:
        """Return the robot's own place: the camera at the newest frame, as the pose prior locates it.

        The frame need not be a keyframe; `stamp` is its stamp. Heading is where the camera looks. The covariance is
        that of the calibration: the prior itself gives none.

        Raises:
            NotReadyError: nothing has been seen yet.
        """
        whereabouts, watch = self._memory.whereabouts, Stopwatch()
        with watch.stage("place"):
            pose, covariance, distribution, confidence = own_place(whereabouts, self.engines.manifest.calibration)
        return Place(
            situation="",
            pose=pose,
            covariance=covariance,
            heading_distribution=distribution,
            confidence=confidence,
            anchor_id=whereabouts.anchor_id,
            stamp=whereabouts.stamp,
            keyframe_count=whereabouts.keyframe_count,
            timings=watch.seconds,
        )

    def anchor(self, anchor_id: int) -> Anchor:
        """Return what the anchor of a place is: the camera that it lies under, in odometry too, and its predecessor.

        Raises:
            NotReadyError: there is none of that id, or it is long gone.
        """
        return self._memory.anchor(anchor_id)

    def ask(self, question: str, situation: str = "") -> Reply:
        """Answer a question, from the described place where there is one.

        Raises:
            NotReadyError: nothing has been seen yet.
            PromptError: a text is too long.
        """
        return _whole(self.ask_stream(question, situation))

    def ask_stream(self, question: str, situation: str = "") -> Pieces:
        """Yield the answer piece by piece and return the whole; closing the generator cancels within one token.

        Raises:
            NotReadyError: nothing has been seen yet.
            PromptError: a text is too long.
        """
        snapshot, watch = self._memory.snapshot, Stopwatch()
        with watch.stage("prompt"):
            prompt = self._template.ask(question, situation)
        return self._pieces(snapshot, prompt, situation, watch)

    def layout(self) -> Layout:
        """Return the bird's-eye-view map.

        Raises:
            NotReadyError: nothing has been seen yet.
        """
        snapshot, calibration = self._memory.snapshot, self.engines.manifest.calibration
        points = np.concatenate([entry.layout for entry in snapshot.entries]).astype(np.float64)
        patches = len(snapshot.entries[0].layout)
        return Layout(
            points=points[:, :2],
            sigma=np.maximum(calibration.sigma_scale * np.exp(0.5 * points[:, 2:]), calibration.sigma_floor),
            colour=np.concatenate([entry.record.colour for entry in snapshot.entries]),
            keyframe_index=np.repeat([entry.record.index for entry in snapshot.entries], patches),
            anchor_id=snapshot.anchor_id,
        )

    def trajectory(self) -> Trajectory:
        """Return where the pose prior places the keyframes, and where odometry does.

        Raises:
            NotReadyError: nothing has been seen yet.
        """
        snapshot, whereabouts = self._memory.snapshot, self._memory.whereabouts
        while snapshot.anchor_id != whereabouts.anchor_id:  # they are being swapped at this moment
            snapshot, whereabouts = self._memory.snapshot, self._memory.whereabouts
        anchor = self._memory.anchor(snapshot.anchor_id)
        known = {one.index: one.reference_t_camera for one in self._memory.keyframes if one.reference == "odom"}
        poses = [known.get(entry.record.index) for entry in snapshot.entries]
        calibration = self.engines.manifest.calibration
        return Trajectory(
            anchor_id=snapshot.anchor_id,
            stamps=np.array([entry.record.stamp for entry in snapshot.entries]),
            anchor_t_cameras=np.array([entry.anchor_t_camera for entry in snapshot.entries]),
            odom_t_cameras=_poses(poses),
            anchor_t_newest=whereabouts.anchor_t_camera,
            position_sigma=calibration.own_position_sigma,
            heading_sigma=calibration.own_heading_sigma,
            previous_t_anchor=anchor.previous_t_anchor,
            previous_t_cameras=_poses([anchor.previous_t_cameras.get(entry.record.index) for entry in snapshot.entries])
            if anchor.previous_t_cameras
            else None,
            newest_stamp=whereabouts.stamp,
            odom_t_newest=whereabouts.odometry,
        )

    def _pieces(self, snapshot: Snapshot, prompt: PromptIds, situation: str, watch: Stopwatch) -> Pieces:
        with watch.stage("prefill"):
            asked = Question(self.engines, snapshot, prompt, self._answer_tokens)
        stream, tokens, answer = TextStream(self._template.tokenizer), list[Token](), asked.answer()
        while True:
            with watch.stage("decode"):
                token = next(answer, None)
            if token is None:
                break
            tokens.append(token)
            yield stream.push(token.id)
        if rest := stream.finish():
            yield rest
        return Reply(
            text=self._template.tokenizer.decode([token.id for token in tokens]).strip(),
            pose=self._described(asked, snapshot, situation, watch) if situation.strip() else None,
            confidence=likelihood(tokens),
            keyframe_count=len(snapshot.entries),
            stamp=snapshot.stamp,
            timings=watch.seconds,
        )

    def _described(self, question: Question, snapshot: Snapshot, situation: str, watch: Stopwatch) -> Place:
        calibration = self.engines.manifest.calibration
        pose, covariance, distribution, confidence = described_place(
            question.position, question.orientation, calibration
        )
        return Place(
            situation=situation,
            pose=pose,
            covariance=covariance,
            heading_distribution=distribution,
            confidence=confidence,
            anchor_id=snapshot.anchor_id,
            stamp=snapshot.stamp,
            keyframe_count=len(snapshot.entries),
            timings=dict(watch.seconds),
        )

    # --- what survives a restart --------------------------------------------------------------------------------------

    def save(self, path: str | Path, notes: str = "") -> None:
        """Write the memory to a file, whole or not at all, and a text of the caller's with it.

        Raises:
            NotReadyError: nothing has been seen yet.
            SessionError: the file cannot be written.
        """
        session.save(self._memory, self.engines, Path(path), notes)

    def restore(self, path: str | Path, now: int | None = None) -> str:
        """Go on with a memory that `save` wrote, in place of the present one, and return its notes.

        The odometry that its keyframes had is that of another run: they keep it under another name, and it is not
        compared with that of new frames.

        Args:
            path: of the file.
            now: stamp (ns) that the memory must lie before; where its clock was another, its stamps are moved. None
                leaves them.

        Raises:
            SessionError: the file is missing, damaged, or from other engines.
        """
        return session.restore(self._memory, self.engines, Path(path), now)

    @classmethod
    def resume(cls, path: str | Path, engines: str | Path | None = None, threads: int = 0) -> Localizer:
        """Load the engines that a saved memory names, or those given, and go on with it.

        Raises:
            SessionError: the file is missing, damaged, or from other engines.
            EngineError: the engines cannot be loaded.
        """
        localizer = cls.load(engines or session.engines_of(Path(path)), threads=threads)
        localizer.restore(path)
        return localizer


def _poses(poses: Sequence[FloatArray | None]) -> FloatArray:
    """Return (N, 4, 4) poses, NaN where there is none."""
    return np.array([np.full((4, 4), np.nan) if pose is None else pose for pose in poses])


def _whole(pieces: Pieces) -> Reply:
    """Run an answer to its end."""
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            reply: Reply = end.value
            return reply


def default_keyframes(engines: EngineSet) -> KeyframeBuffer:
    """Return a buffer for as many keyframes as the model was trained with."""
    frames = engines.manifest.video.frames
    return KeyframeBuffer(frames, MotionPolicy(), eviction_block=max(1, frames // 4))


def check_tokenizer(engines: EngineSet, template: PromptTemplate) -> None:
    """Raise EngineError unless the tokenizer is the one that the engines were made with."""
    language, tokenizer = engines.manifest.language, template.tokenizer
    expected = (language.position_token, language.orientation_token, language.head_tokens)
    found = (tokenizer.special(POSITION), tokenizer.special(ORIENTATION), len(template.prefix))
    if found != expected:
        raise EngineError(
            f"The tokenizer does not belong to these engines: <Pos>, <Ori> and the length of the prompt's beginning "
            f"are {found} instead of {expected}. Copy the whole folder again."
        )
