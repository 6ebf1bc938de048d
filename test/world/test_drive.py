import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loc3r_ros.geometry import compose2
from loc3r_ros.world.drive import LOOK_AHEAD, Driver, Limits

STEP = 1.0 / 30.0
coordinates = st.floats(-3.0, 3.0).map(lambda value: round(value, 2))
paths = st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=5).map(np.array)
headings = st.none() | st.floats(-3.1, 3.1)


def drive(driver, limit=200.0):
    """Step until the arrival; return the poses."""
    poses = [driver.pose]
    while not driver.arrived:
        driver.step(STEP)
        poses.append(driver.pose)
        assert len(poses) * STEP < limit, "it never arrives"
    return np.array(poses)


def distance_to_path(points, path):
    """Distance of each of (N, 2) points to a polyline of (M, 2)."""
    best = np.full(len(points), np.inf)
    for start, end in itertools.pairwise(path):
        span = end - start
        share = np.clip((points - start) @ span / max(span @ span, 1e-12), 0.0, 1.0)
        best = np.minimum(best, np.hypot(*(points - start - share[:, None] * span).T))
    return best


@settings(max_examples=25, deadline=None)
@given(paths, headings)
def test_it_arrives_beside_no_corner_and_within_its_limits(path, heading):
    limits = Limits()
    driver = Driver((0.0, 0.0, 0.0), limits)
    driver.follow(path, heading)
    poses = drive(driver)
    assert np.hypot(*(poses[-1, :2] - path[-1])) < 0.1
    if heading is not None:
        assert abs(math.remainder(poses[-1, 2] - heading, math.tau)) < math.radians(2.0)
    assert distance_to_path(poses[:, :2], np.vstack([[0.0, 0.0], path])).max() < LOOK_AHEAD
    steps = np.diff(poses, axis=0)
    assert np.hypot(*steps[:, :2].T).max() <= limits.speed * STEP + 1e-9
    turns = [abs(math.remainder(turn, math.tau)) for turn in steps[:, 2]]
    assert max(turns, default=0.0) <= limits.turn_rate * STEP + 1e-9


@given(st.tuples(coordinates, coordinates, st.floats(-3.0, 3.0)), st.integers(1, 60))
@settings(max_examples=20, deadline=None)
def test_motions_add_up_to_the_pose(start, count):
    driver = Driver(start)
    driver.follow(np.array([[1.0, 1.0], [-1.0, 2.0]]))
    pose = start
    for _ in range(count):
        pose = compose2(pose, driver.step(STEP))
    assert pose == pytest.approx(driver.pose)


def test_it_brakes_and_speeds_up_gently():
    driver = Driver((0.0, 0.0, 0.0), Limits(acceleration=0.5))
    driver.follow(np.array([[2.0, 0.0]]))
    speeds = [0.0]
    while not driver.arrived:
        driver.step(STEP)
        speeds.append(driver.speed)
    assert np.abs(np.diff(speeds)).max() <= 0.5 * STEP + 1e-9
    assert max(speeds) == pytest.approx(0.5)
    assert driver.pose[0] == pytest.approx(2.0, abs=0.05)


def test_without_a_path_it_stands():
    driver = Driver((1.0, 2.0, 0.5))
    assert driver.arrived
    assert driver.step(STEP) == pytest.approx([0.0, 0.0, 0.0])
    assert driver.pose == pytest.approx([1.0, 2.0, 0.5])


def test_a_new_path_replaces_the_old_one():
    driver = Driver((0.0, 0.0, 0.0))
    driver.follow(np.array([[3.0, 0.0]]))
    for _ in range(60):
        driver.step(STEP)
    driver.follow(np.array([[0.0, 1.0]]), math.pi)
    poses = drive(driver)
    assert poses[-1, :2] == pytest.approx([0.0, 1.0], abs=0.1)
    assert poses[:, 0].max() < 1.5


def test_the_step_length_does_not_change_where_it_ends():
    ends = []
    for step in (0.01, 0.1):
        driver = Driver((0.0, 0.0, 2.0))
        driver.follow(np.array([[1.0, 0.0], [1.0, 1.5]]), 0.0)
        for _ in range(round(30.0 / step)):
            driver.step(step)
        assert driver.arrived
        ends.append(driver.pose)
    assert ends[0] == pytest.approx(ends[1], abs=0.1)
