import pytest

from loc3r_ros.data.seeds import TRIES, SeedStream, with_room
from loc3r_ros.errors import ConfigError
from loc3r_ros.world.splits import FIRST_TEST_SEED, FIRST_VALIDATION_SEED, Split
from loc3r_ros.world.walk import WalkError


@pytest.mark.parametrize("scenes", [1, 2, 12, 97])
def test_each_epoch_has_every_scene_once(scenes):
    stream = SeedStream(Split.TRAIN, 1000, scenes, seed=5)
    for epoch in range(3):
        seeds = [stream.at(epoch * scenes + place) for place in range(scenes)]
        assert sorted(seeds) == list(range(1000, 1000 + scenes))


def test_orders_differ_between_epochs_and_runs():
    def order(stream, epoch):
        return [stream.at(epoch * 97 + place) for place in range(97)]

    stream = SeedStream(Split.TRAIN, 0, 97, seed=5)
    assert order(stream, 0) != order(stream, 1)
    assert order(stream, 0) != order(SeedStream(Split.TRAIN, 0, 97, seed=6), 0)
    assert order(stream, 0) == order(SeedStream(Split.TRAIN, 0, 97, seed=5), 0)


@pytest.mark.parametrize("first", [FIRST_VALIDATION_SEED - 50, FIRST_VALIDATION_SEED, FIRST_TEST_SEED])
def test_training_never_touches_other_splits(first):
    with pytest.raises(ConfigError, match="split, not to train"):
        SeedStream(Split.TRAIN, first, 50)


def test_an_empty_stream_is_refused():
    with pytest.raises(ConfigError, match="is empty"):
        SeedStream(Split.TRAIN, 0, 0)


def test_a_scene_without_room_is_replaced_by_the_next():
    def make(seed):
        if seed < 8:
            raise WalkError("no room")
        return seed

    assert with_room(7, make) == 8
    assert with_room(9, make) == 9
    with pytest.raises(WalkError):
        with_room(7 - TRIES, make)
