"""The drive through the node's own session: small where nothing goes wrong, and told where something does."""

import numpy as np
import pytest

from loc3r_ros import geometry
from loc3r_ros.engines import EngineSet
from loc3r_ros.errors import ImageError

pytest.importorskip("rclpy", reason="no ROS 2 here")

from loc3r_ros.benchmarks import drive
from loc3r_ros.benchmarks._simulated_drive import MOUNT, Plan, run
from loc3r_ros.benchmarks._true_prior import PriorNoise, read, sign, with_true_prior
from loc3r_ros.memory.pose_prior import PosePriorTracker

pytestmark = [pytest.mark.ros, pytest.mark.slow]
SEED = 1_000_000


@pytest.fixture(scope="module")
def engines(engine_folder):
    return with_true_prior(EngineSet.load(engine_folder("tiny"), threads=1), PriorNoise())


def poses(count):
    return [geometry.from_planar((0.3 * n, 0.1, 0.2 * n)) @ MOUNT.base_t_camera for n in range(count)]


def test_the_truth_is_read_off_the_picture_and_nowhere_else(engines):
    picture = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    pose, jump = read(sign(picture, poses(2)[1], np.array([1.0, 2.0, 3.0])))
    np.testing.assert_array_equal(pose, poses(2)[1])
    np.testing.assert_array_equal(jump, (1.0, 2.0, 3.0))
    with pytest.raises(ImageError, match="nobody signed it"):
        read(picture)
    exact = with_true_prior(engines, PriorNoise(0.0, 0.0, 0.0, 0.0, 0.0))
    tracker = PosePriorTracker(exact)
    for pose in poses(4):
        sighting = tracker.look(sign(picture, pose))
        np.testing.assert_allclose(sighting.world_t_camera, geometry.relative(poses(1)[0], pose), atol=1e-5)
        tracker.learn()


@pytest.mark.parametrize("has_odometry", [True, False])
def test_a_pose_prior_that_goes_wrong_does_not_bend_the_map(engines, has_odometry):
    log = run(engines, Plan(SEED, 40.0, has_odometry, jumps=(20.0,)), is_signed=True)
    off = drive.errors(log.array("pose"), log.array("truth"))
    failures, seconds = log.array("failures"), log.array("seconds")
    assert failures[seconds < 20.0].max() == 0 and failures[-1] == 1
    assert seconds[failures > 0][0] < 22.0
    step = np.hypot(*(off[seconds > 22.0][0] - off[seconds < 20.0][-1])[:2])
    assert step < (0.1 if has_odometry else 0.7)  # the jump was 1.7 m
    squares = [e @ np.linalg.solve(c, e) for e, c in zip(
        drive.errors(log.array("own"), log.array("own_truth")), log.own_covariance, strict=True)]  # fmt: skip
    assert np.mean(np.array(squares) < drive.INSIDE) > 0.85
    if not has_odometry:
        assert "by guess" in log.reason[-1]


@pytest.mark.parametrize("has_odometry", [True, False])
def test_a_camera_cut_to_another_scene_is_noticed(engines, has_odometry):
    log = run(engines, Plan(SEED, 24.0, has_odometry, cut=15.0), is_signed=True)
    failures, seconds = log.array("failures"), log.array("seconds")
    assert failures[seconds < 15.0].max() == 0
    assert seconds[failures > 0][0] < 18.0
    assert ("carried away" if has_odometry else "by guess") in log.reason[-1]
