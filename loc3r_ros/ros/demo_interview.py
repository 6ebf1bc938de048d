"""Asks a running node about what it remembers, and tells each answer beside the truth."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from loc3r_ros.demo.exam import Examiner, Marks, PlaceMark, mark_answer, mark_place
from loc3r_ros.geometry import Array, planar
from loc3r_ros.msg import LanguagePose
from loc3r_ros.ros.client import Client, ClientError
from loc3r_ros.ros.conversions import matrix_from_pose, stamp_from_message
from loc3r_ros.world.questions import Question
from loc3r_ros.world.scene import Scene
from loc3r_ros.world.situations import Situation

LONGEST_REPLY = 80


@dataclass(frozen=True, eq=False)
class Located:
    """A described place: (3,) true and estimated poses in the world, and (2, 2) covariance of the estimate."""

    truth: Array
    pose: Array
    covariance: Array


class Interview:
    """Asks in rounds, as any client would, while the robot drives on.

    Attributes:
        marks: how right the answers were.
        located: the described places, oldest first.
        enough: keyframes that the node should remember before it is asked.
    """

    def __init__(self, scene: Scene, client: Client, tell: Callable[[str], object], enough: int) -> None:
        """Prepare the questions.

        Args:
            scene: whose truth is known; its world frame is the node's `map`.
            client: of the node.
            tell: takes lines for the user.
            enough: keyframes that the node should remember before it is asked.
        """
        self._examiner = Examiner(scene)
        self._client = client
        self._tell = tell
        self.enough = enough
        self.marks = Marks()
        self.located: list[Located] = []

    def ask_round(self, world_t_cameras: Array, truth_at: Callable[[int], Array | None]) -> None:
        """Ask for the robot's place, for a described one, from there, and about the scene.

        Args:
            world_t_cameras: (N, 4, 4) true cameras of the keyframes, optical axes.
            truth_at: stamp, ns -> (3,) true pose of the robot, None where it is not known.
        """
        asked = self._examiner.set_round(world_t_cameras)
        self._ask_own_place(truth_at)
        if asked.situation is not None:
            self._ask_place(asked.situation, asked.from_there)
        if asked.about_scene is not None:
            self._ask_about_scene(asked.about_scene)

    def _ask_own_place(self, truth_at: Callable[[int], Array | None]) -> None:
        answer = self._timed(self._client.where)
        truth = None if answer is None else truth_at(stamp_from_message(answer.pose.header.stamp))
        if answer is not None and truth is not None:
            self._tell("  ? Where am I?")
            self.marks.own.append(self._compare(answer.pose, truth))

    def _ask_place(self, situation: Situation, question: Question | None) -> None:
        text = question.text if question is not None else ""
        answer = self._timed(lambda: self._client.where(situation.text, text))
        if answer is None:
            return
        self._tell(f"  ? {situation.text}")
        self.marks.described.append(self._compare(answer.pose, situation.pose))
        covariance = np.array(answer.pose.pose.covariance).reshape(6, 6)[:2, :2]
        self.located.append(Located(situation.pose, planar(matrix_from_pose(answer.pose.pose.pose)), covariance))
        if question is not None:
            self._judge(question, answer.answer)

    def _ask_about_scene(self, question: Question) -> None:
        answer = self._timed(lambda: self._client.ask(question.text))
        if answer is not None:
            self._judge(question, answer.answer)

    def _timed(self, ask: Callable[[], object]) -> Any:
        """Return an answer and note how long it took; None, and the reason told, where there is none."""
        begin = time.monotonic()
        try:
            answer = ask()
        except ClientError as error:
            self._tell(f"  ! {error}")
            return None
        self.marks.seconds.append(time.monotonic() - begin)
        return answer

    def _compare(self, place: LanguagePose, truth: Array) -> PlaceMark:
        pose = planar(matrix_from_pose(place.pose.pose))
        mark = mark_place(pose, truth, place.confidence, self._examiner.middle)
        sigma = math.sqrt(max(place.pose.covariance[0], place.pose.covariance[7]))
        self._tell(
            f"    {_tell_pose(pose)}, sigma {sigma:.2f} m, {100 * mark.confidence:.0f} % sure of 1 m; "
            f"truth {_tell_pose(truth)}: {mark.metres:.2f} m and {mark.degrees:.0f} deg off"
        )
        return mark

    def _judge(self, question: Question, reply: str) -> None:
        mark = mark_answer(reply, question)
        verdict = "right" if mark == 1.0 else "wrong" if mark == 0.0 else f"{100 * mark:.0f} % right"
        said = reply if len(reply) <= LONGEST_REPLY else f"{reply[:LONGEST_REPLY]} ..."
        self._tell(f"  ? {question.text}\n    '{said}'; truth '{question.answer}': {verdict}")
        self.marks.answers.append(mark)


def _tell_pose(pose: Array) -> str:
    return f"x {pose[0]:.2f}, y {pose[1]:.2f}, {math.degrees(pose[2]):.0f} deg"
