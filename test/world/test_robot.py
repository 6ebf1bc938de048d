import math

import numpy as np
import pytest

from loc3r_ros.geometry import camera_heading, compose2, invert2
from loc3r_ros.world.clearance import clearance, solids
from loc3r_ros.world.drive import Limits
from loc3r_ros.world.generate import make_scene
from loc3r_ros.world.odometry import Drift
from loc3r_ros.world.robot import NEAR_ENOUGH, RADIUS, Build, CameraMount, DriveError, Robot
from loc3r_ros.world.splits import FIRST_TEST_SEED

SEEDS = range(FIRST_TEST_SEED, FIRST_TEST_SEED + 10)
SMOOTH = Drift(0.0, 0.0, 0.0, 0.0)


def drive(robot, seconds, step=0.1):
    """Return the (N, 3) true poses of some seconds."""
    poses = []
    for _ in range(round(seconds / step)):
        robot.step(step)
        poses.append(robot.world_t_base)
    return np.array(poses)


@pytest.mark.parametrize("seed", SEEDS)
def test_it_wanders_without_touching_anything(seed):
    scene = make_scene(seed)
    poses = drive(Robot(scene, Build(drift=SMOOTH)), 60.0)
    assert clearance(solids(scene), poses[:, :2]).min() > RADIUS
    assert np.hypot(*np.diff(poses[:, :2], axis=0).T).sum() > 5.0
    assert len({tuple(place) for place in np.round(poses[:, :2])}) > 2, "it stays in one corner"


def test_it_goes_where_it_is_sent_and_stays():
    scene = make_scene(SEEDS[0])
    robot = Robot(scene)
    goals = [robot._space.points[index] for index in (0, len(robot._space.points) // 2)]
    for goal in goals:
        drive(robot, 3.0)
        path = robot.send((*goal, 1.0))
        assert clearance(solids(scene), path).min() > RADIUS
        poses = drive(robot, 90.0)
        assert robot.has_arrived
        assert poses[-1, :2] == pytest.approx(goal, abs=0.1)
        assert abs(math.remainder(poses[-1, 2] - 1.0, math.tau)) < math.radians(3)
        assert clearance(solids(scene), poses[:, :2]).min() > RADIUS
        assert (poses[-1] == drive(robot, 5.0)[-1]).all()


def test_a_goal_inside_furniture_is_moved_beside_it():
    scene = make_scene(SEEDS[0])
    robot = Robot(scene, Build(drift=SMOOTH))
    blocked = next(item for item in scene.furniture if min(item.size[:2]) / 2 > 0.2 and item.elevation == 0)
    goal = np.array(blocked.position)
    nearest = robot._space.points[robot._space.nearest(goal)]
    if np.hypot(*(nearest - goal)) > NEAR_ENOUGH:
        with pytest.raises(DriveError, match="nearest place"):
            robot.send((*goal, 0.0))
    else:
        assert robot.send((*goal, 0.0))[-1] == pytest.approx(nearest)


def test_a_goal_outside_the_house_is_refused_with_the_nearest_place():
    robot = Robot(make_scene(SEEDS[1]))
    with pytest.raises(DriveError, match=r"The goal \(50.00, 50.00\) is .* m from the nearest place"):
        robot.send((50.0, 50.0, 0.0))
    assert not robot.is_sent


def test_the_camera_looks_forward_and_down_from_its_mount():
    robot = Robot(make_scene(SEEDS[2]), Build(mount=CameraMount(0.2, 1.0, 0.3)))
    x, y, heading = robot.world_t_base
    camera = robot.world_t_camera
    assert camera[:3, 3] == pytest.approx([x + 0.2 * math.cos(heading), y + 0.2 * math.sin(heading), 1.0])
    assert camera_heading(camera) == pytest.approx(heading)
    assert camera[2, 2] == pytest.approx(-math.sin(0.3))  # the optical axis points down


def test_without_drift_odometry_tells_the_truth():
    robot = Robot(make_scene(SEEDS[3]), Build(drift=SMOOTH))
    drive(robot, 20.0)
    assert compose2(robot.world_t_odom, robot.odometer.pose) == pytest.approx(robot.world_t_base, abs=1e-9)


def test_with_drift_the_truth_stays_within_the_covariance():
    squared = []
    for seed in SEEDS:
        robot = Robot(make_scene(seed), Build(drift=Drift(2.0, 5.0, 0.02, 2.0)))
        drive(robot, 40.0, step=0.05)
        truth = compose2(invert2(robot.world_t_odom), robot.world_t_base)
        error = robot.odometer.pose - truth
        error[2] = math.remainder(error[2], math.tau)
        squared.append(error @ np.linalg.solve(robot.odometer.covariance, error))
    assert 1.2 < np.mean(squared) < 5.5  # chi-square of 3 dimensions, 10 runs: mean 3, deviation 0.8


def test_it_obeys_its_limits_and_repeats_itself():
    build = Build(limits=Limits(speed=0.3), drift=Drift())
    first, second = (Robot(make_scene(SEEDS[4]), build) for _ in range(2))
    poses = drive(first, 20.0)
    assert np.hypot(*np.diff(poses[:, :2], axis=0).T).max() <= 0.3 * 0.1 + 1e-9
    assert (poses == drive(second, 20.0)).all()
    assert (first.odometer.pose == second.odometer.pose).all()
