"""The recorded walk through DDS: every frame is accounted for, and keyframes agree with the ground truth on motion."""

import math

import numpy as np
import pytest

from loc3r_ros.bags import Bag, Track
from loc3r_ros.geometry import CAMERA_LINK_T_OPTICAL, from_planar, from_position_rpy, invert

pytest.importorskip("rclpy", reason="no ROS 2 here")

pytestmark = pytest.mark.ros


def straight_track():
    """A camera that moves 0.1 m per second along x."""
    poses = np.array([from_planar((0.1 * second, 0.0, 0.0)) @ CAMERA_LINK_T_OPTICAL for second in range(20)])
    return Track("map", "camera", np.arange(20) * 1_000_000_000, poses)


def test_motion_is_measured_in_thresholds():
    from loc3r_ros.benchmarks.intake import least_motion

    track = straight_track()
    every_third = {stamp * 1_000_000_000: np.eye(4) for stamp in range(0, 19, 3)}
    assert least_motion(every_third, track) == pytest.approx(1.0)
    assert least_motion(every_third | {19_000_000_000: np.eye(4)}, track) == pytest.approx(1 / 3)
    turned = straight_track()
    turned.poses[3] = turned.poses[3] @ from_position_rpy((0, 0, 0), 0.0, math.radians(30.0), 0.0)
    assert least_motion({0: np.eye(4), 3_000_000_000: np.eye(4)}, turned) == pytest.approx(2.0)


def test_errors_of_keyframes_are_measured():
    from loc3r_ros.benchmarks.intake import pose_error

    track = straight_track()
    forward = track.poses[4] @ invert(CAMERA_LINK_T_OPTICAL)
    assert pose_error({4_000_000_000: forward}, track) == pytest.approx(0.0, abs=1e-9)
    forward[0, 3] += 0.02
    assert pose_error({4_000_000_000: forward}, track) == pytest.approx(0.02)


@pytest.mark.slow
@pytest.mark.shared_data
@pytest.mark.parametrize("options", [["--rate", "5"], ["--fast"]], ids=["5x", "unlimited"])
def test_the_recorded_walk_is_accounted_for_frame_by_frame(monkeypatch, options):
    from loc3r_ros.benchmarks import intake

    monkeypatch.setattr(intake, "IDLING", 0.2)
    walk = intake.find_walk()
    with Bag(walk) as bag:
        truth = bag.track(intake.TRUTH)
    result = intake.measure_node(walk, options)
    counts = result.counts
    assert result.sent == counts["received"] == 125
    assert counts["processed"] + counts["replaced"] == 125
    assert counts["failed"] == counts["pending"] == 0
    assert 0 < len(result.keyframes) <= counts["processed"]
    assert set(result.keyframes) <= set(truth.stamps.tolist())
    assert intake.least_motion(result.keyframes, truth) >= 1.0 - 1e-6
    assert intake.pose_error(result.keyframes, truth) < 1e-6
