"""The services and the action of the node. Each answers `success = false` and a sentence where it cannot do better."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger

from loc3r_ros.action import AskStream
from loc3r_ros.errors import ConfigError, Loc3RError, NotReadyError
from loc3r_ros.ros.answering import Answering, Brain
from loc3r_ros.ros.conversions import stamped_pose
from loc3r_ros.ros.logs import ThrottledLog
from loc3r_ros.ros.questions import BusyError
from loc3r_ros.srv import Ask, ListLabels, SessionFile, SetLabel, WhereAmI

JOB_TIMEOUT = 10.0
"""s that a service waits for the worker, which at worst looks at one frame."""


class Services:
    """The servers; they exist as long as the node and answer in every lifecycle state.

    Attributes:
        answering: answers the questions.
    """

    def __init__(self, node: Node, brain: Brain) -> None:
        self._brain = brain
        self._node = node
        self._warn = ThrottledLog(node.get_logger().warning)
        self.answering = Answering(node, brain)
        group = ReentrantCallbackGroup()
        for name, service_type, handler in (
            ("where_am_i", WhereAmI, self.answering.where_am_i),
            ("ask", Ask, self.answering.ask),
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
            goal_callback=self._admit,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
        )

    def close(self) -> None:
        """End the question that runs, and the action server."""
        self.answering.questions.close()
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

    # --- the action ---------------------------------------------------------------------------------------------------

    def _admit(self, _: AskStream.Goal) -> GoalResponse:
        """Refuse a goal of the action where too many questions wait; the log says why, for a refusal has no text."""
        try:
            self.answering.questions.check_room()
        except BusyError as error:
            self._warn(f"A goal of ask_stream was refused: {error}")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _ask_stream(self, goal: ServerGoalHandle) -> AskStream.Result:
        """Execute one goal of the action."""
        result = AskStream.Result()
        try:
            self.answering.stream(goal, result)
            result.success = True
        except Exception as error:
            result.message = self._sentence(error)
        if result.success:
            goal.succeed()
        elif goal.is_cancel_requested:
            goal.canceled()
        else:
            goal.abort()
        return result

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
        self.answering.questions.ask(lambda: session.save(path), self._brain.parameters.answer_timeout)
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
