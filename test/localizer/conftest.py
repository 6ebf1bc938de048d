import dataclasses

import numpy as np
import pytest

from loc3r_ros.engines import EngineSet
from loc3r_ros.keyframes import KeyframeBuffer, MotionPolicy
from loc3r_ros.localizer import Localizer
from loc3r_ros.prompt.template import PromptTemplate

SECOND = 1_000_000_000


def image(number, height=48, width=64):
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def engines(engine_folder):
    return EngineSet.load(engine_folder("tiny"), threads=1)


@pytest.fixture
def make(engines):
    """Return a function that makes a localizer of the tiny model which keeps every frame."""

    def make(capacity=4, block=2, answer_tokens=8):
        buffer = KeyframeBuffer(capacity, MotionPolicy(0.0, 0.0), eviction_block=block)
        own = dataclasses.replace(engines)  # a test may change it
        return Localizer(own, PromptTemplate.load(engines.folder), buffer, answer_tokens=answer_tokens)

    return make


@pytest.fixture
def seen(make):
    """A localizer that has seen three frames."""
    localizer = make()
    for number in range(3):
        localizer.observe(image(number), number * SECOND)
    return localizer
