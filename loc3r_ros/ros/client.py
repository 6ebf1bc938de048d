"""A client of the node `loc3r`: asks, and says in a sentence what is missing where there is no answer."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.action import ActionClient
from rclpy.context import Context
from rclpy.exceptions import InvalidNamespaceException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

from loc3r_ros.action import AskStream
from loc3r_ros.errors import ConfigError, Loc3RError
from loc3r_ros.geometry import planar
from loc3r_ros.msg import Answer, LanguagePose
from loc3r_ros.ros.conversions import matrix_from_pose
from loc3r_ros.srv import Ask, ListLabels, SetLabel, WhereAmI

DISCOVERY = 5.0
"""s that a node may take to be found: what gets lost of DDS's first words to each other is said again after 3 s."""
ACTION_DELAY = 1.0
"""s that the action server may be found later than the service of the same node."""
KNOCK_PERIOD = 1.0
"""s until the second empty request, where the first gets no answer; then twice as long each time."""
SLICE = 0.1
"""s between two chances for Ctrl-C."""
CANCEL_PATIENCE = 2.0


class ClientError(Loc3RError):
    """There is no node to ask, or it does not answer, or its answer is why it cannot."""


class CancelledError(ClientError):
    """The request was cancelled from here."""


class Client:
    """Asks the node `loc3r` in one namespace; a context manager.

    A request that is sent just as its server appears may get no answer, because DDS matches the two directions one by
    one. So each server is first sent an empty request, which the node answers at once and which changes nothing, until
    one comes back; the request itself is then sent once.
    """

    def __init__(self, namespace: str = "", timeout: float = 60.0, discovery: float = DISCOVERY) -> None:
        """Make the node that asks.

        Args:
            namespace: of the node `loc3r`.
            timeout: longest time for one answer, s.
            discovery: longest time until the node is found, s.

        Raises:
            ConfigError: the namespace or the timeout is none.
        """
        if not timeout > 0:
            raise ConfigError(f"The timeout must be a number of seconds above 0, not {timeout:g}.")
        self._timeout, self._discovery = timeout, discovery
        self._is_cancelled = threading.Event()
        self._context = Context()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        name = f"loc3r_client_{os.getpid()}"
        try:
            self._node = Node(
                name, namespace=namespace, context=self._context, start_parameter_services=False, enable_rosout=False
            )
        except InvalidNamespaceException as error:
            rclpy.try_shutdown(context=self._context)
            raise ConfigError(f"'{namespace}' is no namespace of ROS: use one such as /robot1.") from error
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def cancel(self) -> None:
        """End the request that runs in another thread, which raises `CancelledError`; on the robot, too."""
        self._is_cancelled.set()

    # --- what can be asked --------------------------------------------------------------------------------------------

    def where(self, situation: str = "", question: str = "", target_frame: str = "") -> WhereAmI.Response:
        """Return where the described observer is, or the robot itself where nothing is described.

        Raises:
            ClientError: there is no answer; the sentence says why.
        """
        return self._call(WhereAmI, "where_am_i", situation=situation, question=question, target_frame=target_frame)

    def ask(self, question: str, situation: str = "", on_text: Callable[[str], object] = lambda _: None) -> Answer:
        """Return the answer to a question; its words go to `on_text` as they come, whole where they do not stream.

        Raises:
            ClientError: there is no answer; the sentence says why.
        """
        self._is_cancelled.clear()
        action: Any = ActionClient(self._node, AskStream, "ask_stream")
        service: Any = self._node.create_client(Ask, "ask")
        try:
            self._wait_for_server(lambda: action.server_is_ready() or service.service_is_ready(), Ask, "ask")
            if self._wait(action.server_is_ready, ACTION_DELAY):
                return self._stream(action, on_text, question=question, situation=situation)
        finally:
            action.destroy()
            self._node.destroy_client(service)
        answer: Answer = self._call(Ask, "ask", question=question, situation=situation).answer
        on_text(answer.answer)
        return answer

    def set_label(self, label: str) -> SetLabel.Response:
        """Name the place where the robot is.

        Raises:
            ClientError: it could not be named; the sentence says why.
        """
        return self._call(SetLabel, "set_label", label=label)

    def labels(self) -> ListLabels.Response:
        """Return the named places.

        Raises:
            ClientError: there is no list; the sentence says why.
        """
        return self._call(ListLabels, "list_labels")

    def offers(self, service_type: Any) -> list[str]:
        """Return the full names of all services of a type, in any namespace, that are discovered by now."""
        kind = f"loc3r_ros/srv/{service_type.__name__}"
        found = {service for node in self._others() for service, types in self._services_of(*node) if kind in types}
        return sorted(found)

    # --- services -----------------------------------------------------------------------------------------------------

    def _call(self, service_type: Any, name: str, **fields: Any) -> Any:
        self._is_cancelled.clear()
        client: Any = self._node.create_client(service_type, name)
        full_name = self._node.resolve_service_name(name)
        try:
            self._wait_for_server(client.service_is_ready, service_type, name)
            self._knock(lambda: client.call_async(service_type.Request()), full_name)
            response = self._await(client.call_async(service_type.Request(**fields)), full_name)
        finally:
            self._node.destroy_client(client)
        return _checked(response)

    def _wait_for_server(self, is_ready: Callable[[], bool], service_type: Any, name: str) -> None:
        if not self._wait(is_ready, self._discovery):
            raise ClientError(self._explain_silence(service_type, name))

    def _knock(self, send: Callable[[], Future[Any]], name: str) -> None:
        """Send an empty request, ever more seldom, until one is answered."""
        sent: list[Future[Any]] = []
        deadline, patience = time.monotonic() + self._timeout, KNOCK_PERIOD
        while (left := deadline - time.monotonic()) > 0:
            sent.append(send())
            if self._wait(lambda: any(future.done() for future in sent), min(patience, left)):
                return
            patience *= 2.0
        raise _too_late(name, self._timeout)

    def _await(self, future: Future[Any], name: str, grace: float = 0.0) -> Any:
        if not self._wait(future.done, self._timeout + grace):
            raise _too_late(name, self._timeout)
        return future.result()

    def _wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Spin until a condition is true, and return whether it became so.

        Raises:
            CancelledError: `cancel` was called meanwhile.
        """
        deadline = time.monotonic() + timeout
        while not condition():
            if self._is_cancelled.is_set():
                self._is_cancelled.clear()
                raise CancelledError("The request was stopped.")
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._executor.spin_once(timeout_sec=min(left, SLICE))
        return True

    def _explain_silence(self, service_type: Any, name: str) -> str:
        """Return why nobody offers a service, and what to do."""
        wanted = self._node.resolve_service_name(name)
        if offers := self.offers(service_type):
            spaces = " or ".join(service.rpartition("/")[0] or "/" for service in offers)
            return f"No node offers {wanted}, but there is {', '.join(offers)}: use --namespace {spaces}."
        domain = os.environ.get("ROS_DOMAIN_ID") or "0"
        names = ", ".join(sorted(f"{space.rstrip('/')}/{node}" for node, space in self._others()))
        return (
            f"No node offers {wanted} (waited {self._discovery:g} s): ROS_DOMAIN_ID {domain} has "
            f"{f'only {names}' if names else 'no other node at all'}. Start one with `ros2 launch loc3r_ros "
            "loc3r.launch.py`; where one runs, use the same ROS_DOMAIN_ID, RMW_IMPLEMENTATION and "
            "ROS_AUTOMATIC_DISCOVERY_RANGE here as there."
        )

    def _others(self) -> list[tuple[str, str]]:
        """Return names and namespaces of the nodes beside this one."""
        return [node for node in self._node.get_node_names_and_namespaces() if node[0] != self._node.get_name()]

    def _services_of(self, node: str, namespace: str) -> list[tuple[str, list[str]]]:
        try:
            return self._node.get_service_names_and_types_by_node(node, namespace)
        except RuntimeError:  # it has just gone
            return []

    # --- the action ---------------------------------------------------------------------------------------------------

    def _stream(self, action: Any, on_text: Callable[[str], object], **fields: Any) -> Answer:
        self._knock(lambda: self._empty_goal(action), "the action ask_stream")
        printed = ""

        def tell(text: str) -> None:
            nonlocal printed
            if text.startswith(printed):  # feedback may be lost, and late feedback says less than the result
                on_text(text[len(printed) :])
                printed = text

        goal = AskStream.Goal(timeout=self._timeout, **fields)
        sent = action.send_goal_async(goal, lambda message: tell(message.feedback.text_so_far))
        handle = self._await(sent, "the action ask_stream")
        if not handle.accepted:
            raise ClientError("The node refuses the question: it is busy with another one. Ask again later.")
        try:
            # After the timeout the node ends the question by itself and says so.
            result = self._await(handle.get_result_async(), "the action ask_stream", CANCEL_PATIENCE).result
        except BaseException:  # Ctrl-C above all: the node need not think on
            self._wait(handle.cancel_goal_async().done, CANCEL_PATIENCE)
            raise
        answer: Answer = _checked(result).answer
        tell(answer.answer)
        return answer

    def _empty_goal(self, action: Any) -> Future[Any]:
        """Send a goal without a question and return the future of its result."""
        result: Future[Any] = Future(executor=self._executor)

        def ask_result(sent: Future[Any]) -> None:
            handle = sent.result()
            if handle is None or not handle.accepted:
                result.set_result(None)
            else:
                handle.get_result_async().add_done_callback(lambda done: result.set_result(done.result()))

        action.send_goal_async(AskStream.Goal()).add_done_callback(ask_result)
        return result


def _checked(response: Any) -> Any:
    """Return a response that succeeded.

    Raises:
        ClientError: it did not; the node's own sentence.
    """
    if not response.success:
        raise ClientError(response.message)
    return response


def _too_late(name: str, timeout: float) -> ClientError:
    return ClientError(
        f"The node offers {name} but did not answer within {timeout:g} s: look at its log, or use a longer --timeout."
    )


def describe_pose(pose: LanguagePose) -> str:
    """Return where a pose is, in one line, with what the node knows of its errors (1 sigma)."""
    position, covariance = pose.pose.pose.position, pose.pose.covariance
    heading = math.degrees(planar(matrix_from_pose(pose.pose.pose))[2])
    return (
        f"x {position.x:.2f} +- {math.sqrt(covariance[0]):.2f} m, y {position.y:.2f} +- {math.sqrt(covariance[7]):.2f} "
        f"m, heading {heading:.0f} +- {math.degrees(pose.heading_stddev):.0f} deg in '{pose.header.frame_id}'; "
        f"{100 * pose.confidence:.0f} % sure to be within 1 m; {pose.keyframe_count} keyframes, {pose.latency:.2f} s"
    )


def describe_labels(response: ListLabels.Response) -> str:
    """Return the named places, one a line; the node's sentence where there is none."""
    places = zip(response.labels, response.poses, strict=True)
    lines = [f"{label}: x {place.pose.position.x:.2f} m, y {place.pose.position.y:.2f} m" for label, place in places]
    return "\n".join(lines) or response.message
