"""A lifecycle node that its own callbacks cannot kill, and the way into and out of its process.

rclpy's pieces leave gaps that every distribution fills differently: an exception in a transition, a transition that is
not allowed, an exception in any callback, signals that shut the context down under running threads. Here a failed
transition is an answer, a failed callback a log entry, and a signal only ends the wait of the main thread, which then
stops the threads, the node and the context in this order.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

import rclpy
from rclpy.exceptions import InvalidHandle, ParameterException
from rclpy.executors import Executor, ExternalShutdownException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions

from loc3r_ros.errors import Loc3RError
from loc3r_ros.ros.logs import ThrottledLog

SWITCH_INTERVAL = 0.0005
"""s after which a thread gives the interpreter to one that waits. A timer needs it several times for each tick, and
with Python's own 5 ms a thread that computes in Python makes every tick late by tens of milliseconds."""


class GuardedLifecycleNode(LifecycleNode):
    """A lifecycle node whose steps raise a `Loc3RError` where they are refused.

    Subclasses override `configure`, `activate`, `deactivate` and `cleanup`. The last two must bear being called in any
    state, since they also undo what a failed step left half done.
    """

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self._transition_lock = threading.RLock()
        self._answer_forbidden_transitions()

    @property
    def state(self) -> str:
        """Label of the lifecycle state: unconfigured, inactive, active or finalized, or a transition between them."""
        return str(self._state_machine.current_state[1])

    def configure(self) -> None:
        """Get ready: unconfigured to inactive."""

    def activate(self) -> None:
        """Begin to work: inactive to active."""

    def deactivate(self) -> None:
        """Stop working; keep what was learned."""

    def cleanup(self) -> None:
        """Give back what `configure` took."""

    def start(self) -> bool:
        """Configure and activate, and say whether both succeeded."""
        success = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == success and self.trigger_activate() == success

    def release(self) -> None:
        """Undo `activate` and `configure`, in whatever state the node is."""
        with self._transition_lock:
            self.deactivate()
            self.cleanup()

    def close(self) -> None:
        """Stop all work for good; the node is not used afterwards."""
        self.release()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `configure`."""
        return self._step("configure", self.configure, undo=self.cleanup)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `activate`."""
        return self._step("activate", self.activate, undo=self.deactivate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `deactivate`."""
        return self._step("deactivate", self.deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `cleanup`."""
        return self._step("clean up", self.cleanup)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `release`."""
        return self._step("shut down", self.release)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give everything back, so that the node can be configured anew."""
        return self._step("recover", self.release)

    def _step(
        self, name: str, work: Callable[[], None], undo: Callable[[], None] | None = None
    ) -> TransitionCallbackReturn:
        """Run one step; a refusal is a failure with a sentence, anything else an error with its traceback."""
        with self._transition_lock:
            try:
                work()
                return TransitionCallbackReturn.SUCCESS
            except Loc3RError as error:
                self.get_logger().error(f"Could not {name}: {error}")
                result = TransitionCallbackReturn.FAILURE
            except Exception:
                self.get_logger().error(f"Could not {name}, by a defect:\n{traceback.format_exc()}")
                return TransitionCallbackReturn.ERROR  # on_error gives everything back
            if undo is not None:
                undo()
            return result

    def _answer_forbidden_transitions(self) -> None:
        """Answer "no" to a transition that the state does not allow; older rclpy raises (rclpy issue 1209)."""
        service = self._service_change_state
        change_state = service.callback

        def answer(request: Any, response: Any) -> Any:
            try:
                return change_state(request, response)
            except Exception as error:
                self.get_logger().warning(f"Transition refused in state {self.state}: {error}")
                response.success = False
                return response

        service.callback = answer


class SpinThread:
    """An executor in a thread of its own, which an exception in a callback does not end."""

    def __init__(self, name: str, executor: Executor, log_error: Callable[[str], object]) -> None:
        """Begin to spin.

        Args:
            name: name of the thread.
            executor: the executor; it is shut down at the end.
            log_error: logs an error.
        """
        self._executor = executor
        self._log_error = ThrottledLog(log_error)
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._spin, name=name)
        self._thread.start()

    def stop(self) -> None:
        """Let the running callback end and join the thread."""
        self._is_stopping.set()
        self._executor.create_task(lambda: None)  # ends the wait; a plain wake would not
        self._thread.join()
        self._executor.shutdown()

    def _spin(self) -> None:
        while not self._is_stopping.is_set():
            try:
                self._executor.spin_once()
            except ExternalShutdownException:
                return
            except Exception as error:
                if not _is_gone(error):
                    self._log_error(f"A callback failed; the node goes on:\n{traceback.format_exc()}")
                self._is_stopping.wait(0.01)  # where it fails for ever, it must not take the whole machine


def _is_gone(error: Exception) -> bool:
    """Say whether another thread destroyed an entity while the executor began to wait for it; no callback has failed.

    rclpy passes over subscriptions, services and timers that have just gone, but not over the events of publishers and
    subscriptions.
    """
    names = {frame.name for frame in traceback.extract_tb(error.__traceback__)}
    return isinstance(error, InvalidHandle) and "_wait_for_ready_callbacks" in names


def run(make_node: Callable[[], Any], make_executor: Callable[[], Executor], args: Sequence[str] | None) -> int:
    """Run a node until SIGINT or SIGTERM and return the exit code: 0, or 1 with a sentence if it could not be made.

    Args:
        make_node: makes the node; its `close()` ends its threads.
        make_executor: makes the executor of its callbacks.
        args: command line without the program's name, or None for that of the process.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    stop: SimpleQueue[int] = SimpleQueue()  # an event's lock is not reentrant: a signal just before it waits would hang
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: stop.put(number))
    rclpy.init(args=None if args is None else list(args), signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = make_node()
        executor = make_executor()
        executor.add_node(node)
        spinner = SpinThread("loc3r_control", executor, node.get_logger().error)
        stop.get()
        spinner.stop()
        node.close()
        node.destroy_node()
    except (Loc3RError, ParameterException) as error:
        print(f"{make_node.__name__}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    finally:
        rclpy.try_shutdown()
    _leave()
    return 0


def _leave() -> None:
    """End the process here where a thread is inside a library that cannot be interrupted, such as one that loads."""
    if any(thread.daemon for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
