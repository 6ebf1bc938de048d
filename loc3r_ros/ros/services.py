"""The services and the action of the node. Each answers `success = false` and a sentence where it cannot do better."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from rclpy.action import ActionServer, CancelResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger

from loc3r_ros import geometry
from loc3r_ros.action import AskStream
from loc3r_ros.alignment import Located
from loc3r_ros.errors import ConfigError, Loc3RError, NotReadyError
from loc3r_ros.interface import LocalizerProtocol, Place, Reply
from loc3r_ros.msg import Answer, LanguagePose
from loc3r_ros.ros.answers import answer_message, language_pose
from loc3r_ros.ros.conversions import stamped_pose, time_message
from loc3r_ros.ros.parameters import Parameters
from loc3r_ros.ros.questions import Questions
from loc3r_ros.ros.session import Session
from loc3r_ros.ros.transforms import TransformListener
from loc3r_ros.srv import Ask, ListLabels, SessionFile, SetLabel, WhereAmI

JOB_TIMEOUT = 10.0
"""s that a service waits for the worker, which at worst looks at one frame."""


class Brain(Protocol):
    """What the services need of the node."""

    @property
    def parameters(self) -> Parameters:
        """The parameters of the moment."""
        ...

    @property
    def transforms(self) -> TransformListener:
        """What TF said."""
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


class Services:
    """The servers; they exist as long as the node and answer in every lifecycle state."""

    def __init__(self, node: Node, brain: Brain) -> None:
        self._brain = brain
        self._node = node
        self._questions = Questions()
        self._answers = node.create_publisher(Answer, "answer", 10)
        self._places = node.create_publisher(LanguagePose, "language_pose", 10)
        group = ReentrantCallbackGroup()
        for name, service_type, handler in (
            ("where_am_i", WhereAmI, self._where_am_i),
            ("ask", Ask, self._ask),
            ("reset", Trigger, self._reset),
            ("enable", SetBool, self._enable),
            ("save_session", SessionFile, self._save_session),
            ("load_session", SessionFile, self._load_session),
            ("set_label", SetLabel, self._set_label),
            ("list_labels", ListLabels, self._list_labels),
        ):
            node.create_service(service_type, name, self._guarded(handler), callback_group=group)
        self._action = ActionServer(
            node,
            AskStream,
            "ask_stream",
            self._ask_stream,
            callback_group=group,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
        )

    def close(self) -> None:
        """End the question that runs, and the action server."""
        self._questions.close()
        self._action.destroy()

    def _guarded(self, handler: Callable[[Any, Any], None]) -> Callable[[Any, Any], Any]:
        """Return a callback that turns every error of a handler into an answer."""

        def answer(request: Any, response: Any) -> Any:
            try:
                response.success = True
                handler(request, response)
            except Exception as error:
                response.success, response.message = False, self._sentence(error)
            return response

        return answer

    def _sentence(self, error: Exception) -> str:
        if isinstance(error, NotReadyError):
            return self._brain.explain(error)
        if isinstance(error, Loc3RError):
            return str(error)
        self._node.get_logger().error(f"A request failed, by a defect:\n{traceback.format_exc()}")
        return f"The request failed, by a defect ({type(error).__name__}: {error}); the log has the details."

    # --- questions ----------------------------------------------------------------------------------------------------

    def _where_am_i(self, request: WhereAmI.Request, response: WhereAmI.Response) -> None:
        begin = time.monotonic()
        session, timeout = self._brain.session(), self._brain.parameters.answer_timeout
        localizer = session.localizer()
        if request.question:
            reply = self._questions.ask(lambda: localizer.ask(request.question, request.situation), timeout)
            response.answer = reply.text
            self._publish_answer(session, reply, request.question, request.situation, begin)
        place = self._questions.ask(lambda: self._locate(localizer, request.situation), timeout)
        located = session.locate(place)
        response.pose = self._place_message(session, place, located, request.target_frame, begin)
        if request.situation:
            session.placement.described = located.pose
            self._places.publish(self._place_message(session, place, located, "", begin))
        position = response.pose.pose.pose.position
        response.message = (
            f"At x {position.x:.2f} m, y {position.y:.2f} m in '{response.pose.header.frame_id}', "
            f"{100 * place.confidence:.0f} % sure to be within 1 m."
        )
        if located.reason:
            response.message += f" But it is doubtful: {located.reason}"

    def _ask(self, request: Ask.Request, response: Ask.Response) -> None:
        begin = time.monotonic()
        session = self._brain.session()
        localizer = session.localizer()
        if not request.question:
            raise ConfigError("The question is empty.")
        reply = self._questions.ask(
            lambda: localizer.ask(request.question, request.situation), self._brain.parameters.answer_timeout
        )
        response.answer = self._publish_answer(session, reply, request.question, request.situation, begin)

    def _ask_stream(self, goal: ServerGoalHandle) -> AskStream.Result:
        """Execute one goal of the action."""
        result = AskStream.Result()
        try:
            result.answer = self._stream(goal)
            result.success = not goal.is_cancel_requested
        except Exception as error:
            result.message = self._sentence(error)
        if goal.is_cancel_requested:
            result.message = "The question was cancelled."
            goal.canceled()
        elif result.success:
            goal.succeed()
        else:
            goal.abort()
        return result

    def _stream(self, goal: ServerGoalHandle) -> Answer:
        begin = time.monotonic()
        request = goal.request
        session = self._brain.session()
        localizer = session.localizer()
        if not request.question:
            raise ConfigError("The question is empty.")
        feedback = AskStream.Feedback()
        for piece in self._questions.stream(
            lambda: localizer.ask_stream(request.question, request.situation),
            request.timeout or self._brain.parameters.answer_timeout,
            lambda: bool(goal.is_cancel_requested),
        ):
            feedback.text, feedback.text_so_far = piece, feedback.text_so_far + piece
            goal.publish_feedback(feedback)
        keyframes = session.keyframes()
        stamp = keyframes[-1].stamp if keyframes else 0
        reply = Reply(feedback.text_so_far, None, 0.0, len(keyframes), stamp)
        return self._publish_answer(session, reply, request.question, request.situation, begin)

    @staticmethod
    def _locate(localizer: LocalizerProtocol, situation: str) -> Place:
        return localizer.locate(situation) if situation else localizer.where_am_i()

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

    def _publish_answer(self, session: Session, reply: Reply, question: str, situation: str, begin: float) -> Answer:
        pose = None
        if reply.pose is not None:
            pose = self._place_message(session, reply.pose, session.locate(reply.pose), "", begin)
        latency = time.monotonic() - begin
        answer = answer_message(reply, question, situation, pose, self._brain.parameters.map_frame, latency)
        self._answers.publish(answer)
        return answer

    # --- the memory and the places ------------------------------------------------------------------------------------

    def _reset(self, request: Trigger.Request, response: Trigger.Response) -> None:
        session = self._brain.session()
        session.localizer()  # while it loads, the worker is busy: say so at once
        session.forget().result(JOB_TIMEOUT)
        response.message = "Keyframes, correction and labels are forgotten."

    def _enable(self, request: SetBool.Request, response: SetBool.Response) -> None:
        self._brain.set_enabled(request.data)
        response.message = "The node looks at the camera." if request.data else "The node ignores the camera."

    def _set_label(self, request: SetLabel.Request, response: SetLabel.Response) -> None:
        label = request.label.strip()
        if not label:
            raise ConfigError("The label is empty: give the place a name.")
        place = self._brain.session().name_place(label)
        frame = self._brain.parameters.map_frame
        response.pose = stamped_pose(place.map_t_base, frame, place.stamp)
        x, y = place.map_t_base[:2, 3]
        response.message = f"'{label}' is at x {x:.2f} m, y {y:.2f} m in '{frame}'."

    def _list_labels(self, request: ListLabels.Request, response: ListLabels.Response) -> None:
        labels = self._brain.session().labels
        frame = self._brain.parameters.map_frame
        response.labels = list(labels)
        response.poses = [stamped_pose(place.map_t_base, frame, place.stamp) for place in labels.values()]
        response.message = "" if labels else "No place has a name yet: use set_label."

    def _save_session(self, request: SessionFile.Request, response: SessionFile.Response) -> None:
        session = self._brain.session()
        path = self._session_path(request.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._questions.ask(lambda: session.save(path), self._brain.parameters.answer_timeout)
        response.message = f"Saved to {path}."

    def _load_session(self, request: SessionFile.Request, response: SessionFile.Response) -> None:
        session = self._brain.session()
        session.localizer()
        path = self._session_path(request.path)
        session.restore(path).result(self._brain.parameters.answer_timeout)
        response.message = f"Loaded from {path}."

    def _session_path(self, path: str) -> Path:
        if not path:
            raise ConfigError("The path is empty: name a file.")
        return Path(self._brain.parameters.session_directory).expanduser() / Path(path).expanduser()
