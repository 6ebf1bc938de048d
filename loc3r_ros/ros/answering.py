"""From a question to the messages of its answer: places in the map, the robot's own place, streams of words."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node

from loc3r_ros import geometry
from loc3r_ros.action import AskStream
from loc3r_ros.alignment import Located
from loc3r_ros.errors import ConfigError, NotReadyError
from loc3r_ros.interface import FloatArray, Place, Reply
from loc3r_ros.msg import Answer, LanguagePose
from loc3r_ros.ros.answers import answer_message, language_pose, seen_from, told_by_odometry
from loc3r_ros.ros.conversions import time_message
from loc3r_ros.ros.parameters import Parameters
from loc3r_ros.ros.questions import Questions
from loc3r_ros.ros.session import Session
from loc3r_ros.ros.session_notes import RobotPose
from loc3r_ros.ros.transforms import TransformError, TransformListener
from loc3r_ros.srv import Ask, WhereAmI

NEAR = 2.0
"""Metres within which a named place helps to tell where something is."""


class Brain(Protocol):
    """What requests need of the node."""

    @property
    def parameters(self) -> Parameters:
        """The parameters of the moment."""
        ...

    @property
    def transforms(self) -> TransformListener:
        """What TF said."""
        ...

    @property
    def camera_frame(self) -> str:
        """The camera's optical frame; empty while it is not known."""
        ...

    def session(self) -> Session:
        """Return the session of an active node, or raise `NotReadyError`."""
        ...

    def explain(self, error: NotReadyError) -> str:
        """Return why there is no answer, with what the node knows beyond the error."""
        ...

    def set_enabled(self, is_enabled: bool) -> None:
        """Hear the camera, or not."""
        ...


class Answering:
    """Asks the localizer at the desk of the questions and publishes what it says.

    Attributes:
        questions: the desk.
        newest_place: the last localized description, in the map.
        newest_answer: the last answer.
    """

    def __init__(self, node: Node, brain: Brain) -> None:
        self._brain = brain
        self.questions = Questions(lambda: brain.parameters.question_queue)
        self._answers = node.create_publisher(Answer, "answer", 10)
        self._places = node.create_publisher(LanguagePose, "language_pose", 10)
        self.newest_place: LanguagePose | None = None
        self.newest_answer: Answer | None = None

    def where_am_i(self, request: WhereAmI.Request, response: WhereAmI.Response) -> None:
        """Answer where the robot or the described observer is, and a question from there."""
        begin = time.monotonic()
        session = self._brain.session()
        place = None
        if request.question:
            answer, place = self._ask(session, request.question, request.situation, begin)
            response.answer = answer.answer
        if not request.situation:
            place, located = self._own_place(session)
        elif place is None:
            place = self._locate(session, request.situation)
            located = session.locate(place)
            self._publish_place(session, place, located, begin)
        else:
            located = session.locate(place)
        response.pose = self._place_message(session, place, located, request.target_frame, begin)
        response.message = describe(response.pose, located, session.labels)

    def ask(self, request: Ask.Request, response: Ask.Response) -> None:
        """Answer a question."""
        begin = time.monotonic()
        session = self._brain.session()
        response.answer = self._ask(session, request.question, request.situation, begin)[0]

    def stream(self, goal: ServerGoalHandle, result: AskStream.Result) -> None:
        """Answer the question of a goal word by word; where that fails, `result` holds the words so far."""
        begin = time.monotonic()
        request, feedback = goal.request, AskStream.Feedback()
        result.answer.question, result.answer.situation = request.question, request.situation
        if not request.timeout >= 0.0:
            raise ConfigError(
                f"The timeout must be a number of seconds, or 0 for answer_timeout, not {request.timeout}."
            )

        def tell(piece: str) -> None:
            if piece:
                feedback.text, feedback.text_so_far = piece, feedback.text_so_far + piece
                result.answer.answer = feedback.text_so_far
                goal.publish_feedback(feedback)

        result.answer = self._ask(
            self._brain.session(),
            request.question,
            request.situation,
            begin,
            request.timeout,
            lambda: bool(goal.is_cancel_requested),
            tell,
        )[0]

    # --- the localizer ------------------------------------------------------------------------------------------------

    def _ask(
        self,
        session: Session,
        question: str,
        situation: str,
        begin: float,
        timeout: float = 0.0,
        is_cancelled: Callable[[], bool] | None = None,
        on_piece: Callable[[str], object] = lambda _: None,
    ) -> tuple[Answer, Place | None]:
        """Return the published answer, and the place from which it was given where a situation describes one."""
        localizer = session.localizer()
        if not question:
            raise ConfigError("The question is empty.")
        reply = self.questions.answer(
            lambda: localizer.ask_stream(question, situation),
            timeout or self._brain.parameters.answer_timeout,
            is_cancelled,
            on_piece,
        )
        return self._publish_answer(session, reply, question, situation, begin), reply.pose

    def _locate(self, session: Session, situation: str) -> Place:
        localizer = session.localizer()
        return self.questions.ask(lambda: localizer.locate(situation), self._brain.parameters.answer_timeout)

    def _own_place(self, session: Session) -> tuple[Place, Located]:
        """Return the robot's own place and where that is in the map: by odometry, as `pose`, else by the pose prior.

        The pose prior sees the camera; where nobody says how the robot carries it, its place is the camera's.
        """
        place = session.localizer().where_am_i()  # costs no run of an engine, so it need not queue
        if (told := session.place_by_odometry()) is not None:
            return told_by_odometry(place, *told), told[0]
        located, base, camera = session.locate(place), self._brain.parameters.base_frame, self._brain.camera_frame
        try:
            base_t_camera = self._brain.transforms.lookup(base, camera, place.stamp)
        except TransformError:
            return place, located
        return place, seen_from(located, geometry.planar(geometry.world_t_anchor(base_t_camera)))

    # --- messages -----------------------------------------------------------------------------------------------------

    def _place_message(
        self, session: Session, place: Place, located: Located, target_frame: str, begin: float
    ) -> LanguagePose:
        """Return a place in `target_frame`, as that lay at the newest odometry, or in the map where that is empty."""
        parameters = self._brain.parameters
        if target_frame in ("", parameters.map_frame):
            return language_pose(place, located, parameters.map_frame, time.monotonic() - begin)
        stamp = session.robot_pose().stamp
        target_t_odom = self._brain.transforms.lookup(target_frame, parameters.odom_frame, stamp)
        target_t_map = target_t_odom @ geometry.invert(session.correction.map_t_odom)
        located = located.moved(geometry.planar(target_t_map))
        message = language_pose(place, located, target_frame, time.monotonic() - begin)
        message.header.stamp = time_message(stamp)
        return message

    def _publish_place(self, session: Session, place: Place, located: Located, begin: float) -> LanguagePose:
        """Publish a localized description, and make it the described pose of TF and of the markers."""
        message = self._place_message(session, place, located, "", begin)
        session.placement.described = located.pose
        self.newest_place = message
        self._places.publish(message)
        return message

    def _publish_answer(self, session: Session, reply: Reply, question: str, situation: str, begin: float) -> Answer:
        pose = None
        if reply.pose is not None:
            pose = self._publish_place(session, reply.pose, session.locate(reply.pose), begin)
        latency = time.monotonic() - begin
        answer = answer_message(reply, question, situation, pose, self._brain.parameters.map_frame, latency)
        self.newest_answer = answer
        self._answers.publish(answer)
        return answer


def describe(pose: LanguagePose, located: Located, labels: Mapping[str, RobotPose]) -> str:
    """Return a sentence about a place: where it is, near what, how sure.

    Args:
        pose: its message, in any frame.
        located: the place in the map.
        labels: named places.
    """
    x, y, frame = pose.pose.pose.position.x, pose.pose.pose.position.y, pose.header.frame_id
    near = nearest(located.pose[:2], {name: place.map_t_base[:2, 3] for name, place in labels.items()})
    doubt = f" But it is doubtful: {located.reason}" if located.reason else ""
    return (
        f"At x {x:.2f} m, y {y:.2f} m in '{frame}'{near}, {100 * pose.confidence:.0f} % sure to be within 1 m.{doubt}"
    )


def nearest(point: FloatArray, places: Mapping[str, FloatArray]) -> str:
    """Return ", 0.4 m from 'kitchen door'" for the nearest of some (2,) places, empty where none is near."""
    distances = {name: float(np.hypot(*(point - place))) for name, place in places.items()}
    name = min(distances, key=distances.__getitem__, default="")
    if distances.get(name, math.inf) > NEAR:
        return ""
    return f", {distances[name]:.1f} m from '{name}'"
