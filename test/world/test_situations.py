import itertools
import math

import numpy as np
import pytest

from loc3r_ros.geometry import compose2, wrap_angle
from loc3r_ros.world.ceiling import Ceiling, best_guess, ceiling_of, mean_ceiling
from loc3r_ros.world.clearance import clearance, solids
from loc3r_ros.world.situations import MAX_SPREAD, MAX_TURN_SPREAD
from loc3r_ros.world.viewpoints import FACING, IN_FRONT, NEAR, SIDEWARDS, Region, Relation

MIDDLE = {Relation.FACING: 0.0, Relation.LEFT: 0.5 * math.pi, Relation.RIGHT: -0.5 * math.pi, Relation.BEHIND: math.pi}


def told(samples):
    """Yield sample, situation and the situation's pose in the world."""
    for sample in samples:
        for situation in sample.situations:
            yield sample, situation, compose2(sample.world_t_anchor, situation.pose)


def is_true(clause, pose, scene):
    """The meaning of a clause, from the furniture's corners and angles alone."""
    item = scene.furniture[clause.furniture]
    corners = np.vstack([item.footprint, item.footprint[:1]])
    along = np.linspace(0, 1, 400)[:, None]
    outline = np.concatenate([a + along * (b - a) for a, b in itertools.pairwise(corners)])
    if clause.relation is Relation.BESIDE:
        return np.hypot(*(outline - pose[:2]).T).min() < NEAR + 0.01
    if clause.relation is Relation.IN_FRONT_OF:
        front = corners[0] - corners[3]  # along the front side, which joins the corners 3 and 0
        share = (pose[:2] - corners[3]) @ front / (front @ front)
        ahead = np.cross(np.append(front, 0), np.append(pose[:2] - corners[3], 0))[2] / -np.hypot(*front)
        return 0 < share < 1 and 0 < ahead < IN_FRONT
    bearing = math.atan2(item.position[1] - pose[1], item.position[0] - pose[0])
    limit = FACING if clause.relation is Relation.FACING else SIDEWARDS
    return abs(wrap_angle(bearing - pose[2] - MIDDLE[clause.relation])) < limit


def test_most_scenes_have_four_situations(samples):
    assert np.mean([len(sample.situations) for sample in samples]) > 3


def test_the_truth_satisfies_its_own_words(samples):
    for sample, situation, pose in told(samples):
        for clause in situation.clauses:
            assert is_true(clause, pose, sample.scene), situation.text


def test_the_region_satisfies_the_words_and_is_small(samples):
    for sample, situation, pose in told(samples):
        for consistent in situation.region.pose[::7]:
            assert all(is_true(clause, consistent, sample.scene) for clause in situation.clauses)
        off = np.hypot(*(situation.region.pose[:, :2] - pose[:2]).T)
        assert math.sqrt((off**2).mean()) == pytest.approx(situation.spread)
        assert situation.spread < MAX_SPREAD
        turn = wrap_angle(situation.region.pose[:, 2] - pose[2])
        assert math.sqrt((turn**2).mean()) < MAX_TURN_SPREAD


def test_observers_stand_where_one_can_stand(samples):
    for sample, _, pose in told(samples):
        assert clearance(solids(sample.scene), pose[None, :2])[0] > 0.05


def test_only_seen_furniture_is_named_and_its_name_fits_nothing_else(samples):
    for sample, situation, _ in told(samples):
        text = situation.text.lower()
        for number in situation.mentioned:
            item = sample.scene.furniture[number]
            assert number in sample.sightings.seen
            same_category = sum(other.category == item.category for other in sample.scene.furniture)
            full, short = f"the {item.name}".lower(), f"the {item.category}".lower()
            assert full in text or (same_category == 1 and short in text)


def region_of(*poses):
    return Region(np.arange(len(poses)), np.array(poses, float))


def test_the_ceiling_of_one_pose_is_one():
    assert ceiling_of(region_of((1.0, 2.0, 3.0))) == Ceiling(1.0, 1.0, 1.0, 1.0)


def test_the_best_guess_is_the_mean_also_across_the_turn():
    guess = best_guess(region_of((0, 0, math.pi - 0.1), (2, 0, -math.pi + 0.3)))
    np.testing.assert_allclose(guess[:2], [1, 0])
    assert abs(wrap_angle(guess[2] - (math.pi + 0.1))) < 1e-9


def test_ceilings_count_poses_within_the_limits():
    region = region_of(
        (-0.4, 0, 0), (0.4, 0, 0), (-0.6, 0, 0), (0.6, 0, 0), (0, 0, math.radians(25)), (0, 0, -math.radians(25))
    )
    assert ceiling_of(region) == Ceiling(4 / 6, 1.0, 4 / 6, 1.0)


def test_ceilings_are_monotone(samples):
    for _, situation, _ in told(samples):
        best = situation.ceiling
        assert 0 < best.acc_05m <= best.acc_10m <= 1
        assert 0 < best.acc_15deg <= best.acc_30deg <= 1


def test_a_perfect_reader_is_nearly_always_right(samples):
    best = mean_ceiling(situation.ceiling for _, situation, _ in told(samples))
    assert best.acc_05m > 0.95
    assert best.acc_10m > 0.99
    assert best.acc_15deg > 0.9
    assert best.acc_30deg > 0.99
