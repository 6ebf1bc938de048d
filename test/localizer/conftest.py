import numpy as np
import pytest

from loc3r_ros.keyframes import KeyframeBuffer, MotionPolicy
from loc3r_ros.localizer import Localizer

SECOND = 1_000_000_000


def image(number, height=48, width=64):
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def make(engine_folder):
    """Return a function that makes a localizer of the tiny model which keeps every frame."""

    def make(capacity=4, block=2, **options):
        buffer = KeyframeBuffer(capacity, MotionPolicy(0.0, 0.0), eviction_block=block)
        return Localizer.load(engine_folder("tiny"), threads=1, keyframes=buffer, **{"answer_tokens": 8, **options})

    return make


@pytest.fixture
def seen(make):
    """A localizer that has seen three frames."""
    localizer = make()
    for number in range(3):
        localizer.observe(image(number), number * SECOND)
    return localizer
