import numpy as np
import pytest

from loc3r_ros.engines import EngineSet
from loc3r_ros.keyframes import KeyframeBuffer, MotionPolicy
from loc3r_ros.memory import Frame, Memory

SECOND = 1_000_000_000


class Film:
    """Frames of noise for one set of engines; the same number gives the same frame."""

    def __init__(self, engines):
        self.engines = engines
        self.size = engines.manifest.video.image_size

    def picture(self, number):
        return np.random.default_rng(number).integers(0, 256, (self.size, self.size, 3), dtype=np.uint8)

    def frame(self, number, odometry=None):
        patches = self.engines.manifest.video.rows * self.engines.manifest.video.columns
        colour = np.zeros((patches, 3), np.uint8)
        picture = self.picture(number)
        return Frame(number * SECOND, picture, picture, colour, odometry)

    def memory(self, capacity=4, block=2, eviction="rebuild"):
        """Return an empty memory that keeps every frame."""
        buffer = KeyframeBuffer(capacity, MotionPolicy(0.0, 0.0), eviction_block=block)
        return Memory(self.engines, buffer, eviction)


@pytest.fixture(scope="session")
def film(engine_folder):
    return Film(EngineSet.load(engine_folder("tiny"), threads=1))


@pytest.fixture(scope="session")
def film_of(engine_folder):
    return lambda size: Film(EngineSet.load(engine_folder(size), threads=1))
