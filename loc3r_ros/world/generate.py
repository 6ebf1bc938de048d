"""From a seed to a scene."""

from __future__ import annotations

from loc3r_ros.world.scene import Scene
from loc3r_ros.world.splits import Split, require_split


def make_scene(seed: int, split: Split | None = None) -> Scene:
    """Make the scene of a seed: the same one on every machine.

    Args:
        seed: whole number; see `splits` for the ranges.
        split: the split that the seed must belong to, None for any.

    Raises:
        ConfigError: if the seed does not belong to `split`.
    """
    require_split(seed, split)
    raise NotImplementedError
