"""When a memory must begin anew, how often, and what then becomes of the map; and maps tied to a new odometry."""

import dataclasses
import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

from loc3r_ros import geometry
from loc3r_ros.alignment import Aligner, Alignment
from loc3r_ros.alignment.aligner import FIRST_REST, LINKING

_spec = importlib.util.spec_from_file_location("aligner_cases", Path(__file__).parent / "test_aligner.py")
cases = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(cases)
SECOND, drive, first, shifted, trajectory = cases.SECOND, cases.drive, cases.first, cases.shifted, cases.trajectory


def newest(seen, camera, odometry, stamp):
    """Return a trajectory whose newest frame is no keyframe."""
    return dataclasses.replace(seen, anchor_t_newest=camera, odom_t_newest=odometry, newest_stamp=stamp)


def demands(seen):
    """Return what a growing memory is asked for, keyframe by keyframe."""
    aligner, asked = Aligner(), []
    for count in range(1, len(seen.stamps) + 1):
        aligner.update(first(seen, count))
        asked.append(aligner.take_demand())
    return aligner, asked


def test_after_a_jump_the_memory_is_to_begin_with_the_first_keyframe_behind_it():
    truth, measured, _ = drive(4, 32)
    aligner, asked = demands(shifted(trajectory(truth, measured), 16, (1.5, 0.5, 0.3)))
    assert asked[17] == trajectory(truth, measured).stamps[16] and not any(asked[:17])
    assert aligner.failures == 1 + sum(map(bool, asked[18:])) and "jumped" in aligner.last_failure


def test_a_sound_memory_is_left_alone():
    truth, measured, _ = drive(4, 32)
    assert not any(demands(trajectory(truth, measured))[1])


def test_a_prior_that_is_always_wrong_does_not_wear_the_memory_out():
    rng, aligner, moments = np.random.default_rng(0), Aligner(), []
    truth, measured, _ = drive(0, 8)
    for n in range(200):  # one anchor a second, each of noise
        seen = trajectory(truth, measured, anchor_id=n)
        seen.anchor_t_cameras[:, :2, 3] = rng.normal(0, 5, (8, 2))
        seen = dataclasses.replace(seen, stamps=seen.stamps + n * SECOND)
        alignment = aligner.update(seen)
        assert alignment.reason
        if aligner.take_demand() is not None:
            moments.append(n)
    assert 3 <= len(moments) <= 5
    assert np.all(np.diff(moments)[1:] >= 1.9 * np.diff(moments)[:-1])
    assert np.diff(moments)[0] * SECOND >= FIRST_REST


def still(odometry, gap, frames, seed=0):
    """Return the aligner of a robot that stands, and what it asks for while the camera is off by a (3,) gap."""
    truth, measured, _ = drive(1)
    seen = trajectory(truth, measured, odometry=odometry)
    aligner = Aligner()
    rng, asked, begin = np.random.default_rng(seed), [], int(seen.stamps[-1])
    for n in range(1, frames):
        off = geometry.from_planar(np.array(gap) * (n > 10) + rng.normal(0, 0.02, 3))
        camera = off @ seen.anchor_t_cameras[-1]
        standing = seen.odom_t_cameras[-1] if odometry else None
        aligner.update(newest(seen, camera, standing, begin + n * SECOND // 10))
        asked.append(aligner.take_demand())
    return aligner, asked, begin


@pytest.mark.parametrize("odometry", [True, False])
def test_a_camera_that_is_carried_from_a_standing_robot_is_noticed_without_a_keyframe(odometry):
    aligner, asked, begin = still(odometry, (3.0, -2.0, 1.0), 40)
    moments = [n + 1 for n, one in enumerate(asked) if one is not None]
    assert moments and 20 <= moments[0] <= 22  # a second after the first frame that is off
    assert asked[moments[0] - 1] == begin + 11 * SECOND // 10
    assert "carried" in aligner.last_failure


@pytest.mark.parametrize("odometry", [True, False])
def test_a_glimpse_is_no_news(odometry):
    assert not any(still(odometry, (0.0, 0.0, 0.0), 60)[1])
    assert not any(still(odometry, (3.0, -2.0, 1.0), 16)[1])


def test_without_odometry_the_map_goes_on_from_where_the_camera_was():
    truth, measured, _ = drive(7)
    seen = trajectory(truth, measured, odometry=False, noise=0.0)
    jumped, aligner = shifted(seen, 12, (20.0, 0.0, 0.0)), Aligner()
    aligner.update(first(seen, 12))
    wrong = aligner.update(first(jumped, 13))
    assert "jumped" in wrong.reason and wrong.since == seen.stamps[12] == aligner.take_demand()
    anew = dataclasses.replace(first(seen, 1), anchor_id=1)
    after = aligner.update(anew)
    last = geometry.planar(geometry.world_t_anchor(seen.anchor_t_cameras[11]))
    np.testing.assert_allclose(after.target_t_anchor, last, atol=1e-9)
    assert "by guess" in after.reason and after.since is None
    assert after.covariance[0, 0] > 1.0 and after.covariance[2, 2] > 1.0
    step = geometry.from_planar((1.0, 0.0, 0.0))
    chained = aligner.update(dataclasses.replace(anew, anchor_id=2, previous_t_anchor=step))
    assert "by guess" in chained.reason  # it stays a guess
    aligner.adopt(chained.pinned(np.zeros(3), np.array([1.0, 2.0, 3.0]), 0.01 * np.eye(3)), since=0)
    told = aligner.update(dataclasses.replace(anew, anchor_id=2, previous_t_anchor=step))
    assert told.reason == "" and told.target_t_anchor[1] == 2.0


def saved(pose=(7.0, -3.0, 2.0), scale=1.0):
    return Alignment(0, np.array(pose), scale, np.diag([0.01, 0.01, 0.0004, 0.001]), has_odometry=False)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_a_saved_map_is_tied_to_the_new_odometry(noise):
    squares = []
    for seed in range(30 if noise else 1):
        truth, measured, _ = drive(seed, 12)
        seen = trajectory(truth, measured, seed, noise=noise)
        map_t_anchor = saved().target_t_anchor + noise * np.random.default_rng(seed).normal(size=3) * (0.2, 0.2, 0.04)
        seen.odom_t_cameras[:6] = np.nan  # keyframes of the run before
        aligner = Aligner()
        aligner.adopt(dataclasses.replace(saved(), target_t_anchor=map_t_anchor), since=0)
        for count in range(6, 6 + LINKING):
            assert not aligner.update(first(seen, count)).has_odometry and aligner.take_link() is None
        assert aligner.update(first(seen, 6 + LINKING)).has_odometry
        link = aligner.take_link()
        odom_t_camera = geometry.planar(geometry.world_t_anchor(seen.odom_t_cameras[5 + LINKING]))
        map_t_camera, covariance = link.in_map.apply(*link.in_odometry.find(odom_t_camera))
        anchor_t_first = geometry.planar(geometry.world_t_anchor(geometry.from_planar(truth[0]) @ cases.MOUNT))
        camera = geometry.planar(geometry.world_t_anchor(geometry.from_planar(truth[5 + LINKING]) @ cases.MOUNT))
        true = geometry.compose2(saved().target_t_anchor, geometry.compose2(geometry.invert2(anchor_t_first), camera))
        error = map_t_camera - true
        error[2] = geometry.wrap_angle(error[2])
        squares.append(error @ np.linalg.solve(covariance, error))
        assert aligner.take_link() is None and aligner.update(seen).has_odometry
    assert np.mean(squares) / 3 < (1.3 if noise else 0.05)


def test_a_memory_that_does_not_know_the_place_is_not_tied():
    truth, measured, _ = drive(3, 20)
    seen = trajectory(truth, measured)
    seen.odom_t_cameras[:6] = np.nan
    seen.anchor_t_cameras[6:, :2, 3] = np.random.default_rng(0).normal(9, 1, (14, 2))
    aligner = Aligner()
    aligner.adopt(saved(), since=int(seen.stamps[6]))
    alignment = aligner.update(seen)
    assert not alignment.has_odometry and "not tied" in alignment.reason
    assert aligner.take_link() is None and aligner.take_demand() is None  # what was saved is not thrown away
    blind = dataclasses.replace(first(seen, 8), odom_t_cameras=np.full((8, 4, 4), np.nan))
    assert aligner.update(blind).since is None  # nobody watched the step from the last run to this one
    assert math.isclose(alignment.target_t_anchor[0], 7.0)
