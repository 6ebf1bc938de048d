"""Draws repeat, keep their bounds and do not disturb each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loc3r_ros.world.draw import Draw


def test_the_sequence_is_the_same_in_every_python():
    draw = Draw(7, "rooms")
    assert [draw.integer(1000) for _ in range(5)] == [102, 38, 486, 922, 35]
    assert draw.uniform(0.0, 1.0) == 0.3119689167178141


def test_streams_and_seeds_differ():
    values = [Draw(seed, stream).uniform(0, 1) for seed in (1, 2) for stream in ("a", "b")]
    assert len(set(values)) == 4


@given(seed=st.integers(0, 10**9), low=st.floats(0.01, 10), factor=st.floats(1.0, 100))
def test_bounds_are_kept(seed, low, factor):
    draw = Draw(seed, "test")
    assert low <= draw.uniform(low, low * factor) <= low * factor * (1 + 1e-12)
    assert low * (1 - 1e-12) <= draw.log_uniform(low, low * factor) <= low * factor * (1 + 1e-12)
    assert 0 <= draw.integer(7) < 7
    assert sorted(draw.shuffled(range(9))) == list(range(9))
    assert draw.choice("abc") in "abc"


def test_log_uniform_draws_every_factor_alike():
    draw = Draw(3, "test")
    values = np.array([draw.log_uniform(1.0, 16.0) for _ in range(4000)])
    shares = np.histogram(values, bins=[1, 2, 4, 8, 16])[0] / len(values)
    np.testing.assert_allclose(shares, 0.25, atol=0.03)


def test_chance_is_a_probability():
    draw = Draw(3, "test")
    assert np.mean([draw.chance(0.3) for _ in range(4000)]) == pytest.approx(0.3, abs=0.03)
    assert not draw.chance(0.0)
    assert draw.chance(1.0)
