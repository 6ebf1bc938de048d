import numpy as np
import pytest

from loc3r_ros.evaluation.statistics import DRAWS, mean_of, measured, resamples


def test_mean_and_median_of_all_values():
    values = measured([np.array([1.0, 2.0]), np.array([9.0]), np.array([])])
    assert values.mean().value == 4.0
    assert values.mean().count == 3
    assert values.median().value == 2.0
    assert values.where(values.value < 5).median().value == 1.0  # of two, the lower


def test_nothing_to_measure_is_not_a_number():
    for estimate in (measured([np.array([])]).mean(), measured([np.array([])]).median(), mean_of([])):
        assert np.isnan(estimate.value)
        assert np.isnan(estimate.interval).all()
        assert estimate.count == 0


def test_resamples_take_as_many_scenes_as_there_are():
    drawn = resamples(7)
    assert drawn.shape == (DRAWS, 7)
    assert (drawn.sum(axis=1) == 7).all()
    assert drawn.mean() == pytest.approx(1.0)
    np.testing.assert_array_equal(drawn, resamples(7))


def test_the_interval_is_that_of_a_mean_of_independent_scenes():
    draw = np.random.default_rng(0)
    values = measured(list(draw.normal(5.0, 2.0, (100, 1))))
    low, high = values.mean().interval
    assert high - low == pytest.approx(2 * 1.96 * 2.0 / 10, rel=0.2)
    assert low < values.mean().value < high


def test_values_of_one_scene_count_as_one():
    """Ten equal values in each scene say no more than one does."""
    once = np.random.default_rng(1).normal(size=(50, 1))
    intervals = [measured(list(groups)).mean().interval for groups in (once, np.repeat(once, 10, axis=1))]
    assert intervals[0] == pytest.approx(intervals[1])


def test_medians_of_draws_are_medians():
    draw = np.random.default_rng(2)
    groups = [draw.normal(size=3) for _ in range(4)]
    draws = measured(groups).median().draws
    for taken, median in zip(resamples(4)[:20], draws[:20], strict=True):
        values = np.sort(np.concatenate([np.tile(groups[i], int(taken[i])) for i in range(4)]))
        assert median == values[(len(values) - 1) // 2]


def test_a_difference_is_over_the_same_scenes():
    groups = list(np.random.default_rng(3).normal(size=(20, 2)))
    difference = measured([group + 1.0 for group in groups]).mean() - measured(groups).mean()
    assert difference.value == pytest.approx(1.0)
    assert difference.interval == pytest.approx((1.0, 1.0))


def test_the_mean_over_types_is_plain():
    """A type with many questions weighs no more than one with few."""
    many, few = measured([np.zeros(9), np.zeros(1)]).mean(), measured([np.ones(1), np.ones(0)]).mean()
    assert mean_of([many, few]).value == 0.5
    low, high = mean_of([many, few]).interval
    assert 0.0 <= low <= 0.5 == high  # draws without the few have the many alone
