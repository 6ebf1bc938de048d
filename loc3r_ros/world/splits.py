"""Which seeds belong to training, validation and test, so that no scene is ever in two of them."""

from __future__ import annotations

import enum

from loc3r_ros.errors import ConfigError

FIRST_VALIDATION_SEED = 1_000_000
FIRST_TEST_SEED = 1_100_000


class Split(enum.Enum):
    """A set of scene seeds."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


SEED_RANGES: dict[Split, str] = {
    Split.TRAIN: f"from 0 to {FIRST_VALIDATION_SEED - 1}",
    Split.VALIDATION: f"from {FIRST_VALIDATION_SEED} to {FIRST_TEST_SEED - 1}",
    Split.TEST: f"from {FIRST_TEST_SEED} up",
}


def split_of(seed: int) -> Split:
    """Return the split that a seed belongs to.

    Raises:
        ConfigError: if the seed is negative.
    """
    if seed < 0:
        raise ConfigError(f"The scene seed {seed} is negative: seeds are whole numbers from 0 up.")
    if seed < FIRST_VALIDATION_SEED:
        return Split.TRAIN
    return Split.VALIDATION if seed < FIRST_TEST_SEED else Split.TEST


def require_split(seed: int, split: Split | None) -> None:
    """Refuse a seed that is not of the asked split (None allows all).

    Raises:
        ConfigError: if the seed belongs to another split.
    """
    actual = split_of(seed)
    if split is not None and actual is not split:
        raise ConfigError(
            f"Scene {seed} belongs to the {actual.value} split, not to {split.value}: use a seed {SEED_RANGES[split]}."
        )
