"""Scenes that the tests of data share, made once."""

import pytest

from loc3r_ros.data.scenes import make_truth
from loc3r_ros.data.store import SceneForm
from loc3r_ros.world.sample import make_sample


@pytest.fixture(scope="session")
def sample():
    return make_sample(3, frames=6, width=128, height=128)


@pytest.fixture(scope="session")
def truth():
    """Four situations, two of them without a question."""
    return make_truth(make_sample(7, frames=12, width=64, height=64, grid=(5, 5)))


@pytest.fixture(scope="session")
def form():
    return SceneForm(frames=4, size=32, patches=3, patch_pixels=10.0, cells=10, cell_pixels=3.0, situations=4)
