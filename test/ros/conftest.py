"""Real nodes in processes of their own, and a probe that talks to them over real DDS."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the helpers beside this file

pytest.importorskip("rclpy", reason="no ROS 2 here")


@pytest.fixture(scope="module")
def probe():
    from harness import Probe

    with Probe() as probe:
        yield probe


@pytest.fixture
def start_node():
    """Start nodes that end with the test; `start_node(parameters={...}, remap={...}, namespace="")`."""
    from harness import NodeProcess

    nodes = []

    def start(**options):
        nodes.append(NodeProcess(**options))
        return nodes[-1]

    yield start
    codes = [node.stop() for node in nodes if node.process.poll() is None]
    assert not any(codes), "a node did not end well"
