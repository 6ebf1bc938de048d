"""A few samples of the world, made once."""

import pytest

SEEDS = (*range(1, 9), 1_000_003, 1_100_003)


@pytest.fixture(scope="session")
def samples():
    """Ten samples: eight of training, one of validation, one of test."""
    from loc3r_ros.world.sample import make_sample

    return tuple(make_sample(seed, grid=(16, 16)) for seed in SEEDS)
