"""Every transition in any order, signals in every state, and what a refused configuration says."""

import ast
import random
import signal
import sys
import threading
import time

import pytest
import rclpy
from geometry_msgs.msg import PoseWithCovarianceStamped
from harness import LATCHED, RELIABLE, ROOT, image_message, static_robot, wait_until
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from loc3r_ros.srv import WhereAmI
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from loc3r_ros.errors import ConfigError, NotReadyError
from loc3r_ros.ros.lifecycle import SpinThread
from loc3r_ros.ros.node import Loc3rNode, explain_state

pytestmark = pytest.mark.ros

STEPS = {
    ("unconfigured", "configure"): "inactive",
    ("unconfigured", "shutdown"): "finalized",
    ("inactive", "activate"): "active",
    ("inactive", "cleanup"): "unconfigured",
    ("inactive", "shutdown"): "finalized",
    ("active", "deactivate"): "inactive",
    ("active", "shutdown"): "finalized",
}
ALL = ("configure", "activate", "deactivate", "cleanup")


@pytest.fixture(scope="module")
def stream(probe):
    """A camera at 50 Hz on a robot that stands still, whoever listens."""
    latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    probe.publisher(TFMessage, "/tf_static", latched, wait=False).publish(static_robot())
    images = probe.publisher(Image, "image", RELIABLE, wait=False)
    probe.node.create_timer(0.02, lambda: images.publish(image_message(probe.now())))
    probe.executor.wake()


def change(probe, label):
    """Ask once: a second request for a step that is done is refused, and its answer may be all that arrives."""
    unknown = ChangeState.Request(transition=Transition(label="rehearsal"))
    return probe.call(ChangeState, "loc3r/change_state", rehearsal=unknown, transition=Transition(label=label)).success


def state(probe):
    return probe.call(GetState, "loc3r/get_state").current_state.label


def test_any_order_of_transitions(probe, stream, start_node):
    """A random walk, allowed or not: the state is that of the table, and images arrive where it is active."""
    node = start_node(parameters={"autostart": False})
    poses = probe.listen(PoseWithCovarianceStamped, "pose", LATCHED)
    expected, dice, seen = "unconfigured", random.Random(7), set()
    for _ in range(40):
        label = dice.choice(ALL)
        allowed = STEPS.get((expected, label))
        assert change(probe, label) == (allowed is not None), f"{label} in {expected}"
        expected = allowed or expected
        assert state(probe) == expected
        seen.add(expected)
        if expected == "active":
            poses.clear()
            poses.wait(what="a pose while active")
    assert seen == {"unconfigured", "inactive", "active"}
    assert change(probe, "shutdown")
    assert state(probe) == "finalized"
    assert not any(change(probe, label) for label in ALL)
    answer = probe.call(WhereAmI, "where_am_i")
    assert not answer.success
    assert "finalized" in answer.message
    assert node.stop(signal.SIGTERM) == 0, node.log
    assert "Traceback" not in node.log


def test_publishers_and_subscriptions_come_and_go_while_their_executor_spins(probe):
    errors, node = [], Node("restless", context=probe.context)
    executor = SingleThreadedExecutor(context=probe.context)
    executor.add_node(node)
    spinner = SpinThread("restless", executor, errors.append)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # the threads meet at every step
    for _ in range(300):
        subscription = node.create_subscription(Image, "restless", lambda _: None, RELIABLE)
        publisher = node.create_publisher(Image, "restless", RELIABLE)
        node.destroy_subscription(subscription)
        node.destroy_publisher(publisher)
    sys.setswitchinterval(before)
    done = threading.Event()
    node.create_timer(0.0, done.set)
    assert done.wait(30), "the executor spins no more"
    executor.create_task(lambda: 1 / 0)
    wait_until(lambda: errors, "the report of a defect")
    spinner.stop()
    node.destroy_node()
    assert len(errors) == 1 and "ZeroDivisionError" in errors[0], errors


def our_threads():
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("loc3r_"))


def test_no_thread_outlives_its_state(stream):
    context = Context()
    rclpy.init(context=context)
    node = Loc3rNode(context=context, namespace="in_process", parameter_overrides=[Parameter("autostart", value=False)])
    dice = random.Random(3)
    expected = {
        "unconfigured": ["loc3r_pulse"],
        "inactive": ["loc3r_observer", "loc3r_pulse"],
        "active": ["loc3r_inputs", "loc3r_observer", "loc3r_pulse"],
    }
    for _ in range(60):
        getattr(node, f"trigger_{dice.choice(ALL)}")()
        assert our_threads() == expected[node.state]
    node.close()
    assert our_threads() == []
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_a_failing_step_is_undone(monkeypatch):
    context = Context()
    rclpy.init(context=context)
    node = Loc3rNode(context=context, namespace="in_process", parameter_overrides=[Parameter("autostart", value=False)])
    for error, state_after in ((ConfigError("No."), "inactive"), (RuntimeError("defect"), "unconfigured")):
        with monkeypatch.context() as patch:
            patch.setattr(node._pulse, "beat", lambda rate, error=error: raise_(error))
            if node.state == "unconfigured":
                node.trigger_configure()
            assert node.trigger_activate() != TransitionCallbackReturn.SUCCESS
        assert node.state == state_after
        assert "loc3r_inputs" not in our_threads()
    assert our_threads() == ["loc3r_pulse"]
    assert node.start(), "the node works again"
    node.close()
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_a_node_that_starts_says_so(monkeypatch):
    context = Context()
    rclpy.init(context=context)
    node = Loc3rNode(context=context, namespace="in_process", parameter_overrides=[Parameter("autostart", value=False)])
    configure, has_begun, go_on = node.configure, threading.Event(), threading.Event()
    monkeypatch.setattr(node, "configure", lambda: (has_begun.set(), go_on.wait(30.0), configure()))
    thread = threading.Thread(target=node.trigger_configure)
    thread.start()
    assert has_begun.wait(30.0)
    with pytest.raises(NotReadyError, match="The node is configuring, not active yet: ask again in a moment"):
        node.session()
    go_on.set()
    thread.join()
    with pytest.raises(NotReadyError, match="The node is inactive, not active: ros2 lifecycle set"):
        node.session()
    node.close()
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_what_a_node_that_is_not_active_says():
    assert explain_state("unconfigured", "/loc3r", is_starting=True).startswith("The node is starting, not active yet")
    assert "ros2 lifecycle set /loc3r configure, then activate" in explain_state("unconfigured", "/loc3r", False)
    assert "does not answer any more" in explain_state("finalized", "/loc3r", False)


def test_where_rclpy_raises_on_a_forbidden_transition_the_answer_is_no():
    """As rclpy does up to Jazzy; there it would end the executor."""
    context = Context()
    rclpy.init(context=context)
    node = Loc3rNode(context=context, namespace="in_process")
    service = node._service_change_state
    service.callback = lambda request, response: raise_(RuntimeError("transition is not registered"))
    node._answer_forbidden_transitions()
    response = service.callback(ChangeState.Request(), ChangeState.Response(success=True))
    assert not response.success
    node.close()
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_no_name_of_ours_hides_one_of_rclpy():
    """rclpy keeps its state in attributes of the same object, `_services` and `_parameters` among them."""
    context = Context()
    rclpy.init(context=context)
    plain = LifecycleNode("plain", context=context)
    theirs = set(vars(plain)) | set(dir(LifecycleNode))
    ours = set()
    for name in ("node.py", "lifecycle.py"):
        tree = ast.parse((ROOT / "loc3r_ros" / "ros" / name).read_text())
        assigned = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_stored(node)]
        ours |= {node.attr for node in assigned if getattr(node.value, "id", "") == "self"}
    assert "_session" in ours
    assert ours & theirs == set()
    plain.destroy_node()
    rclpy.shutdown(context=context)


def is_stored(node):
    return isinstance(node.ctx, ast.Store)


def raise_(error):
    raise error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("steps", [(), ("configure",), ("configure", "activate")], ids=lambda steps: "-".join(steps))
@pytest.mark.slow
def test_signals_end_the_process_in_every_state(probe, stream, start_node, steps, number):
    node = start_node(parameters={"autostart": False})
    for step in steps:
        assert change(probe, step), node.log
    wait_until(lambda: state(probe) in ("unconfigured", "inactive", "active"), "a state")
    assert node.stop(number) == 0, node.log
    assert "Traceback" not in node.log


def test_engines_that_load_for_ever_do_not_keep_the_process(probe, start_node, tmp_path):
    node = start_node(script="test/ros/scripted_node.py", parameters={"session_directory": tmp_path})
    wait_until(lambda: "engines are loading" in probe.call(Trigger, "reset").message, "that the engines load")
    assert probe.call(WhereAmI, "where_am_i").success is False
    assert node.stop(signal.SIGTERM) == 0, node.log
    assert "Traceback" not in node.log


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.3, 0.8, 1.2, 1.6, 2.0])
def test_a_signal_at_the_start_ends_the_process(start_node, delay):
    """Before Python has installed its handler the signal kills, which is no failure of the node's."""
    node = start_node()
    time.sleep(delay)
    assert node.stop(signal.SIGTERM) in (0, -signal.SIGTERM), node.log
    assert "Traceback" not in node.log


def test_a_node_that_cannot_start_says_why(start_node):
    node = start_node(parameters={"transform_rate": "fast"})
    assert node.process.wait(30) == 1
    assert "Parameter transform_rate must be a double, not 'fast' of another type." in node.log
    assert "Traceback" not in node.log


def test_missing_engines_refuse_the_configuration_and_leave_the_node_alive(probe, start_node):
    node = start_node(parameters={"engines": "/nowhere", "image_timeout": 0.5})
    node.wait_for_log("Could not configure: Parameter engines names '/nowhere', but /nowhere is not a folder")
    node.wait_for_log("0 images in 0.5 s on /image: the node is unconfigured: activate it")
    assert state(probe) == "unconfigured"
    answer = probe.call(Trigger, "reset")
    assert not answer.success
    assert "The node is unconfigured, not active: ros2 lifecycle set /loc3r configure" in answer.message
    assert probe.call(GetState, "loc3r/get_state").current_state.id == State.PRIMARY_STATE_UNCONFIGURED
    assert node.stop() == 0
