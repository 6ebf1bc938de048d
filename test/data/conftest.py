"""Scenes that the tests of data share, made once."""

import pytest

from loc3r_ros.data.scenes import make_scene_video
from loc3r_ros.data.videos import make_video


@pytest.fixture(scope="session")
def video():
    return make_video(3, frames=6, size=128)


@pytest.fixture(scope="session")
def scene():
    """Four situations, two of them without a question."""
    return make_scene_video(7, frames=12, size=64, patches=5, patch_pixels=12.6)
