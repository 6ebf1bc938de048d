"""Seeds belong to one split each."""

import pytest

from loc3r_ros.errors import ConfigError
from loc3r_ros.world.generate import make_scene
from loc3r_ros.world.splits import Split, split_of


@pytest.mark.parametrize(
    ("seed", "split"),
    [
        (0, Split.TRAIN),
        (999_999, Split.TRAIN),
        (1_000_000, Split.VALIDATION),
        (1_099_999, Split.VALIDATION),
        (1_100_000, Split.TEST),
        (10**12, Split.TEST),
    ],
)
def test_a_seed_belongs_to_one_split(seed, split):
    assert split_of(seed) is split
    assert make_scene(seed, split).seed == seed


@pytest.mark.parametrize(("seed", "asked"), [(5, Split.TEST), (1_000_000, Split.TRAIN), (1_100_000, Split.VALIDATION)])
def test_a_scene_of_another_split_is_refused(seed, asked):
    with pytest.raises(ConfigError, match=rf"Scene {seed} belongs to the \w+ split, not to {asked.value}: use a seed"):
        make_scene(seed, asked)


def test_a_negative_seed_is_refused():
    with pytest.raises(ConfigError, match="negative"):
        make_scene(-1)
