"""The node `loc3r`.

An image arrives in the thread of the inputs and goes into a slot of one (`intake`). The worker takes the newest,
decodes it, waits at most `odometry_timeout` for the odometry at its stamp, shows both to the localizer (`observer`) and
publishes what came of it (`session`, `outputs`). The pulse keeps simulated time and broadcasts the transforms from
`map`; timers watch the camera and publish diagnostics. Services and the action answer from the localizer's snapshot in
threads of their own (`services`, `answering`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.executors import MultiThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from loc3r_ros.errors import ConfigError, NotReadyError
from loc3r_ros.interface import LocalizerProtocol
from loc3r_ros.keyframes import JUMP_BACK
from loc3r_ros.ros import localizers, parameters
from loc3r_ros.ros.inputs import Inputs
from loc3r_ros.ros.lifecycle import GuardedLifecycleNode, run
from loc3r_ros.ros.logs import ThrottledLog
from loc3r_ros.ros.outputs import Outputs, if_remembered, placed
from loc3r_ros.ros.parameters import Parameters
from loc3r_ros.ros.pulse import Pulse
from loc3r_ros.ros.report import Reporter
from loc3r_ros.ros.services import Services
from loc3r_ros.ros.session import Session
from loc3r_ros.ros.transforms import TransformListener

WATCH_PERIOD = 0.5
"""s between two looks at the publishers of the images."""
THREADS = 24
"""Threads for callbacks, made as they are needed: each request that waits for its answer holds one."""


class Loc3rNode(GuardedLifecycleNode):
    """The perception node."""

    def __init__(
        self, make_localizer: Callable[[Parameters], LocalizerProtocol] = localizers.make_localizer, **options: Any
    ) -> None:
        """Declare parameters, offer the services and, with `autostart`, begin as soon as an executor spins.

        Args:
            make_localizer: makes the localizer; may take minutes.
            options: those of `rclpy.node.Node`.

        Raises:
            ConfigError: a parameter that is not allowed.
        """
        super().__init__("loc3r", **options)
        self.parameters = parameters.declare(self)
        self.transforms = TransformListener()
        self._make_localizer = make_localizer
        self._warn = ThrottledLog(self.get_logger().warning)
        self._session: Session | None = None
        self._is_active = False
        self._is_starting = self.parameters.autostart
        self._inputs = Inputs(self, lambda: self.parameters, self._receive, self.transforms)
        self._requests = Services(self, self)
        self._reporter = Reporter(self._inputs, self._warn, self.get_logger().info)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._initial_pose: Subscription | None = None
        self._pulse = Pulse(self, self._broadcast)
        self._jump_handle = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-JUMP_BACK), on_clock_change=True),
            post_callback=self._on_time_jump,
        )
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(WATCH_PERIOD, self._watch, clock=steady)
        self.create_timer(1.0, self._report, clock=steady)
        # Once the executor spins, so that requests are answered from the beginning.
        self._autostart_timer = self.create_timer(0.0, self._autostart, clock=steady)

    def _autostart(self) -> None:
        self._autostart_timer.cancel()
        if self.parameters.autostart:
            self.start()
        self._is_starting = False

    # --- lifecycle ----------------------------------------------------------------------------------------------------

    def configure(self) -> None:
        """Begin to load the localizer.

        Raises:
            EngineError: the folder of engines is missing.
        """
        localizers.engine_folder(self.parameters)
        self._outputs = Outputs(self, self.parameters.map_frame)
        self._session = Session(
            lambda: self._make_localizer(self.parameters),
            lambda: self.parameters,
            self.transforms,
            self._outputs,
            self._warn,
            self.get_logger().error,
            lambda: self.get_clock().now().nanoseconds,
        )

    def activate(self) -> None:
        """Hear and speak."""
        self._inputs.open()
        self._initial_pose = self.create_subscription(
            PoseWithCovarianceStamped, "initialpose", self._on_initial_pose, 10
        )
        self._pulse.beat(self.parameters.transform_rate)
        self._reporter.begin()
        self._is_active = True

    def deactivate(self) -> None:
        """Fall silent; the memory stays."""
        self._is_active = False
        self._pulse.rest()
        if self._initial_pose is not None:
            self.destroy_subscription(self._initial_pose)
        self._initial_pose = None
        self._inputs.close()
        if self._session is not None:
            self._session.discard()

    def cleanup(self) -> None:
        """Give back memory, engines and worker."""
        if self._session is not None:
            self._session.close()
            self._outputs.close()
        self._session = None

    def close(self) -> None:
        """End what the constructor began, too."""
        self._requests.close()
        self._jump_handle.unregister()
        super().close()
        self._pulse.close()

    # --- what the services ask (`services.Brain`) ---------------------------------------------------------------------

    def session(self) -> Session:
        """Return the session.

        Raises:
            NotReadyError: the node is not active.
        """
        if self._session is None or not self._is_active:
            raise NotReadyError(explain_state(self.state, self.get_fully_qualified_name(), self._is_starting))
        return self._session

    @property
    def camera_frame(self) -> str:
        """The camera's optical frame; empty while it is not known."""
        return self.parameters.camera_frame or self._inputs.camera_frame

    def explain(self, error: NotReadyError) -> str:
        """Return why there is no answer; where no image has arrived, with the reason for that."""
        if self._session is None or not self._is_active or self._session.counts.received:
            return str(error)
        return f"{error} Besides, no image has arrived on {self._inputs.topic}: {self._inputs.describe_silence()}"

    def set_enabled(self, is_enabled: bool) -> None:
        """Hear the camera, or not."""
        self._inputs.is_enabled = is_enabled
        self._inputs.refresh()

    # --- parameters ---------------------------------------------------------------------------------------------------

    def set_parameters(self, parameter_list: list[Parameter]) -> list[SetParametersResult]:
        """Check, set and apply parameters one by one."""
        return [self.set_parameters_atomically([parameter]) for parameter in parameter_list]

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """Check, set and apply parameters together; what is refused is refused with a sentence.

        rclpy's own callbacks come after its check of types and ranges, whose texts say less, and the one for applying
        is missing in Humble.
        """
        try:
            values = parameters.values_of(parameter_list)
            changed = parameters.changed(self.parameters, values, configured=self._session is not None)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        result = super().set_parameters_atomically(parameter_list)
        if result.successful:
            before, self.parameters = self.parameters, changed
            self._apply(before)
        return result

    def _apply(self, before: Parameters) -> None:
        self._inputs.refresh()
        if self._is_active and self.parameters.transform_rate != before.transform_rate:
            self._pulse.beat(self.parameters.transform_rate)

    # --- callbacks ----------------------------------------------------------------------------------------------------

    def _receive(self, message: Image | CompressedImage) -> None:
        if self._session is not None:
            self._session.receive(message, self.get_clock().now().nanoseconds)

    def _on_initial_pose(self, message: PoseWithCovarianceStamped) -> None:
        if self._session is None:
            return
        future = self._session.seed(message, self.get_clock().now().nanoseconds)
        future.add_done_callback(self._say_refusal)

    def _say_refusal(self, done: Future[str]) -> None:
        if not done.cancelled() and (reason := done.result()):
            self._warn(f"initialpose refused: {reason}")

    def _on_time_jump(self, jump: TimeJump) -> None:
        self.transforms.clear()
        if self._session is not None:
            self._warn("The clock jumped: keyframes, transforms and correction are forgotten.")
            self._session.forget()

    def _broadcast(self) -> None:
        """Send the transforms from `map` ahead of time, so that a lookup between two broadcasts succeeds."""
        session, now = self._session, self.parameters
        if session is not None and now.publish_tf:
            stamp = self.get_clock().now().nanoseconds + round(now.transform_tolerance * 1e9)
            self._outputs.broadcast(session.frames(), stamp)

    def _watch(self) -> None:
        self._inputs.refresh()
        self._reporter.watch(self.state, self._session, self.parameters)
        if self._session is not None and self._is_active:
            self._draw(self._session, self.get_clock().now().nanoseconds)

    def _draw(self, session: Session, stamp: int) -> None:
        """Publish markers and layout where they changed and someone listens."""
        cameras = placed(session.keyframes(), session.correction.map_t_odom, session.placement.alignment)
        places = {name: place.map_t_base for name, place in session.labels.items()}
        answering = self._requests.answering
        self._outputs.send_markers(
            [map_t_camera for _, map_t_camera in cameras],
            places,
            answering.newest_place if session.placement.described is not None else None,
            if_remembered(answering.newest_answer, session.keyframes()),
            self._inputs.camera_info,
            stamp,
        )
        with suppress(NotReadyError):
            self._outputs.send_layout(session.layout, self.parameters.layout_resolution, stamp)

    def _report(self) -> None:
        stamp = self.get_clock().now().nanoseconds
        message = self._reporter.report(self.state, self._session, self.parameters, stamp)
        for status in message.status:
            status.hardware_id = self.get_fully_qualified_name()  # several robots share /diagnostics
        self._diagnostics.publish(message)


def explain_state(state: str, name: str, is_starting: bool) -> str:
    """Return why a node that is not active does not answer, and what to do.

    Args:
        state: label of its lifecycle state, or of the transition that runs.
        name: full name of the node.
        is_starting: it configures and activates itself.
    """
    if state == "finalized":
        return "The node is finalized, so it does not answer any more: start it anew."
    if state not in ("unconfigured", "inactive") or is_starting:
        return f"The node is {'starting' if is_starting else state}, not active yet: ask again in a moment."
    steps = "configure, then activate" if state == "unconfigured" else "activate"
    return f"The node is {state}, not active: ros2 lifecycle set {name} {steps}."


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop, and return the exit code."""
    return run(Loc3rNode, lambda: MultiThreadedExecutor(num_threads=THREADS), args)


if __name__ == "__main__":
    sys.exit(main())
