"""Anchors in the odometry and the map: consistency on simulated drives, and what is said of a pose prior gone wrong."""

import dataclasses
import math

import numpy as np
import pytest

from loc3r_ros import geometry
from loc3r_ros.alignment import Aligner, DeadReckoning, OdometryNoise, align, locate
from loc3r_ros.interface import HEADING_BINS, Place, Trajectory
from loc3r_ros.world.odometry import Drift, Odometer

SECOND = 1_000_000_000
SIGMAS = 0.1, 0.05
MOUNT = geometry.from_position_rpy((0.1, 0.0, 1.0), 0.0, 0.2, 0.0) @ geometry.CAMERA_LINK_T_OPTICAL


def drive(seed, count=24, drift=None):
    """Return (N, 3) true poses from 0, 0, 0, the odometry of them and the odometer: 0.4 m and a turn every second."""
    rng = np.random.default_rng(seed)
    odometer = Odometer(drift or Drift(0, 0, 0, 0), rng)
    truth, measured = [np.zeros(3)], [np.zeros(3)]
    for turn in rng.normal(0.1, 0.4, count - 1):
        motion = np.array([0.4, 0.0, turn])
        truth.append(geometry.compose2(truth[-1], motion))
        odometer.step(motion, 1.0)
        measured.append(odometer.pose.copy())
    return np.array(truth), np.array(measured), odometer


def trajectory(truth, measured, seed=0, noise=1.0, scale=1.0, anchor_id=0, odometry=True):
    """Return what a prior that errs by `noise` calibrated sigmas makes of a drive; `scale` may be one per keyframe."""
    rng = np.random.default_rng(seed)
    cameras = np.array([geometry.from_planar(pose) @ MOUNT for pose in truth])
    cameras = geometry.invert(geometry.world_t_anchor(cameras[0])) @ cameras
    scale = np.broadcast_to(scale, len(truth))
    steps = np.diff(cameras[:, :3, 3], axis=0) / scale[1:, None]
    cameras[1:, :3, 3] = cameras[0, :3, 3] + np.cumsum(steps, axis=0)
    for camera, error in zip(cameras, noise * rng.normal(size=(len(truth), 3)) * (SIGMAS[0], *SIGMAS), strict=True):
        camera[:2, 3] += error[:2]
        camera[:3, :3] = geometry.from_planar((0, 0, error[2]))[:3, :3] @ camera[:3, :3]
    odom = np.array([geometry.from_planar(pose) @ MOUNT for pose in measured])
    stamps = SECOND * np.arange(1, len(truth) + 1)
    odom = odom if odometry else np.full_like(odom, np.nan)
    return Trajectory(anchor_id, stamps, cameras, odom, cameras[-1], *SIGMAS)


def first(trajectory, count):
    cut = {
        name: getattr(trajectory, name)[:count] for name in ("stamps", "anchor_t_cameras", "odom_t_cameras")
    }  # fmt: skip
    return dataclasses.replace(trajectory, **cut)


def shifted(trajectory, begin, pose):
    """Return a trajectory whose prior is off by a (3,) pose from one keyframe on."""
    cameras = trajectory.anchor_t_cameras.copy()
    cameras[begin:] = geometry.from_planar(pose) @ cameras[begin:]
    return dataclasses.replace(trajectory, anchor_t_cameras=cameras)


def place(pose, covariance):
    return Place("", pose, covariance, np.full(HEADING_BINS, 1 / HEADING_BINS), 0.5, 0, 0, 1)


def test_without_noise_a_place_lands_where_it_is():
    truth, measured, _ = drive(1)
    alignment = align(trajectory(truth, measured, noise=0.0, scale=1.25))
    assert alignment.reason == ""
    assert alignment.scale == pytest.approx(1.25, rel=1e-4)
    # In the anchor, 0.8 m of the model ahead of the first camera, which is 0.1 m ahead of the robot.
    located = locate(place(np.array([0.8, -0.4, 0.3]), np.zeros((3, 3))), alignment)
    np.testing.assert_allclose(located.pose, (1.1, -0.5, 0.3), atol=1e-3)
    camera = alignment.camera(trajectory(truth, measured, noise=0.0, scale=1.25).anchor_t_cameras[-1])
    np.testing.assert_allclose(geometry.planar(camera)[:2], (geometry.from_planar(truth[-1]) @ MOUNT)[:2, 3], atol=1e-2)


def test_gravity_comes_from_the_odometry():
    truth, measured, _ = drive(2)
    level = trajectory(truth, measured, noise=0.0)
    tilt = geometry.from_position_rpy((0, 0, 0), 0.3, -0.4, 0.0)
    pivot = geometry.make_pose(np.eye(3), level.anchor_t_cameras[0, :3, 3])
    tilted = dataclasses.replace(level, anchor_t_cameras=pivot @ tilt @ geometry.invert(pivot) @ level.anchor_t_cameras)
    alignment = align(tilted)
    assert alignment.reason == "" and alignment.scale == pytest.approx(1, rel=1e-4)
    np.testing.assert_allclose(alignment.target_t_anchor[:2], (0.1, 0.0), atol=1e-3)


@pytest.mark.parametrize("drift", [Drift(0, 0, 0, 0), Drift(2.0, 5.0, 0.01, 1.0)], ids=["true", "drifting"])
@pytest.mark.parametrize("noise", [0.5, 1.0])
def test_the_covariance_of_a_place_in_the_map_is_that_of_its_errors(drift, noise):
    """Head, fit and odometry together: 150 drives, the normalised squared error of a place near the last camera."""
    squares = []
    for seed in range(150):
        truth, measured, _ = drive(seed, drift=drift)
        log_scale = np.random.default_rng(seed).normal(0, 0.1)
        seen = trajectory(truth, measured, seed, noise, math.exp(log_scale))
        rng = np.random.default_rng(1000 + seed)
        target = np.array([*(truth[-1, :2] + rng.normal(0, 2, 2)), rng.uniform(-3, 3)])
        anchor_t_target = geometry.compose2(geometry.invert2((0.1, 0, 0)), target) * (
            math.exp(-log_scale),
            math.exp(-log_scale),
            1,
        )
        head = np.diag([0.2, 0.2, 0.1]) ** 2
        guess = place(anchor_t_target + rng.normal(size=3) * (0.2, 0.2, 0.1), head)
        alignment = align(seen)
        assert alignment.reason == ""
        reckoning = DeadReckoning(
            OdometryNoise(0.02 * (drift.distance_percent > 0), math.radians(drift.heading_deg_per_minute) / 60)
        )
        for stamp, pose in enumerate(measured):
            reckoning.follow(pose, stamp * SECOND)
        located = locate(guess, alignment).blurred(measured[-1], reckoning.covariance)
        error = located.pose - target
        error[2] = geometry.wrap_angle(error[2])
        squares.append(error @ np.linalg.solve(located.covariance, error))
    assert 0.6 < np.mean(squares) / 3 < 1.2
    assert np.mean(np.array(squares) < 7.81) > 0.9  # chi-square, 95 %


def test_dead_reckoning_grows_as_the_odometer_says():
    drift = Drift(2.0, 5.0, 0.01, 0.0)
    _, measured, odometer = drive(3, 60, drift)
    reckoning = DeadReckoning(OdometryNoise(0.02, math.radians(5) / 60, 0.01, 0.0))
    for stamp, pose in enumerate(measured):
        reckoning.follow(pose, stamp * SECOND)
    np.testing.assert_allclose(np.sqrt(np.diag(reckoning.covariance)), np.sqrt(np.diag(odometer.covariance)), rtol=0.05)
    reckoning.restart(np.eye(3))
    reckoning.follow(measured[0], 0)
    reckoning.follow(measured[0], 3600 * SECOND)  # it stands
    np.testing.assert_array_equal(reckoning.covariance, np.eye(3))


# --- a pose prior that went wrong -------------------------------------------------------------------------------------


def follow(seen):
    """Return the alignments of a growing memory."""
    aligner = Aligner()
    return [aligner.update(first(seen, count)) for count in range(1, len(seen.stamps) + 1)]


def test_there_are_few_false_alarms():
    alarms = 0
    for seed in range(30):
        truth, measured, _ = drive(seed, drift=Drift(2.0, 5.0, 0.01, 1.0))
        alarms += any(alignment.reason for alignment in follow(trajectory(truth, measured, seed)))
    assert alarms <= 2


def test_a_memory_of_ten_minutes_is_not_blamed_for_the_drift_of_the_odometry():
    alarms = 0
    for seed in range(10):
        truth, measured, _ = drive(seed, 600, Drift(2.0, 5.0, 0.01, 1.0))
        kept = np.sort(np.random.default_rng(seed).choice(600, 32, replace=False))
        seen = dataclasses.replace(trajectory(truth[kept], measured[kept], seed), stamps=SECOND * kept)
        alarms += bool(align(seen).reason)
    assert alarms <= 1


def failing(kind, seed):
    truth, measured, _ = drive(seed, 32, Drift(2.0, 5.0, 0.01, 1.0))
    if kind == "jump":
        return shifted(trajectory(truth, measured, seed), 16, (1.5, 0.5, 0.3))
    if kind == "turned":
        return shifted(trajectory(truth, measured, seed), 16, (0.0, 0.0, math.radians(60)))
    if kind == "scale":
        return trajectory(truth, measured, seed, scale=np.where(np.arange(32) < 16, 1.0, 2.0))
    return trajectory(truth, measured, seed, scale=4.0)


@pytest.mark.parametrize("kind", ["jump", "turned", "scale", "too small"])
def test_a_failure_is_noticed_and_the_map_is_not_bent(kind):
    noticed = 0
    for seed in range(10):
        alignments = follow(failing(kind, seed))
        noticed += any(alignment.reason for alignment in alignments[16:])
        if kind in ("jump", "turned"):
            assert alignments[17].reason  # two keyframes are enough
            before, after = alignments[15], alignments[-1]
            gap = np.hypot(*(after.target_t_anchor - before.target_t_anchor)[:2])
            assert gap < 0.1 + 3 * math.sqrt(np.trace(before.covariance[:2, :2]))
            assert np.trace(alignments[17].covariance) > np.trace(before.covariance)
    assert noticed >= 9


def test_one_wrong_keyframe_is_left_out():
    truth, measured, _ = drive(5)
    seen = trajectory(truth, measured)
    seen.anchor_t_cameras[-1, :2, 3] += 5.0
    alignment = align(seen)
    assert (alignment.reason, alignment.outlier_count, alignment.keyframe_count) == ("", 1, 24)


def test_a_new_anchor_begins_anew_and_a_reset_forgets():
    truth, measured, _ = drive(6)
    aligner = Aligner()
    good = aligner.update(trajectory(truth, measured))
    bad = aligner.update(shifted(trajectory(truth, measured), 12, (4.0, 0.0, 0.0)))
    np.testing.assert_array_equal(bad.target_t_anchor, good.target_t_anchor)
    assert bad.reason and aligner.latest is bad
    assert "carried away" in aligner.update(trajectory(truth, measured, anchor_id=1)).reason
    aligner.trust()
    assert aligner.update(trajectory(truth, measured, anchor_id=1)).reason == ""
    assert aligner.get(0) is bad
    aligner.reset()
    assert aligner.latest is None and aligner.get(0) is None


def test_without_odometry_anchors_follow_one_another():
    truth, measured, _ = drive(7)
    blind = trajectory(truth, measured, odometry=False)
    aligner = Aligner()
    begin = aligner.update(blind)
    assert not begin.has_odometry and begin.reason == "" and begin.scale_sigma == pytest.approx(0.2)
    np.testing.assert_array_equal(begin.target_t_anchor, np.zeros(3))
    step = geometry.from_planar((1.0, 2.0, 0.5))
    after = aligner.update(dataclasses.replace(blind, anchor_id=1, previous_t_anchor=step))
    np.testing.assert_allclose(after.target_t_anchor, (1.0, 2.0, 0.5))
    assert after.covariance[0, 0] > 0
    lost = aligner.update(dataclasses.replace(blind, anchor_id=5, previous_t_anchor=step))
    assert "not known" in lost.reason
    jump = Aligner().update(shifted(blind, 12, (20.0, 0.0, 0.0)))
    assert "jumped by 2" in jump.reason
