from dataclasses import replace

import pytest

from loc3r_ros.errors import ConfigError
from loc3r_ros.train.config import OptimiserConfig, Phase
from loc3r_ros.train.plan import learning_rate, micro_batches, micro_count, tasks_at

PHASES = (Phase(3, 4, 8), Phase(2, 2, 16))


def test_positions_go_on_through_the_phases(recipe):
    config = recipe(phases=PHASES)
    tasks = [task for step in range(5) for task in tasks_at(config, step)]
    assert [task.position for task in tasks] == list(range(3 * 4 + 2 * 2))
    assert [task.frames for task in tasks] == [8] * 12 + [16] * 4
    stream = config.data.stream(config.seed)
    assert [task.seed for task in tasks] == [stream.at(position) for position in range(16)]


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("micro", [0, 1, 3])
@pytest.mark.parametrize("start", [0, 2, 4])
def test_devices_and_micro_batches_share_the_same_scenes(recipe, ranks, micro, start):
    config = replace(recipe(phases=PHASES), micro_batch=micro)
    streams = [micro_batches(config, start, rank, ranks) for rank in range(ranks)]
    for step in range(start, 5):
        count = micro_count(config, step, ranks)
        shared = [task for stream in streams for _ in range(count) for task in next(stream)]
        assert shared == tasks_at(config, step)
    assert [list(stream) for stream in streams] == [[]] * ranks


def test_a_batch_that_cannot_be_shared_is_refused(recipe):
    with pytest.raises(ConfigError, match="cannot be shared by 3 devices"):
        tasks_at(recipe(phases=PHASES), 0, 0, 3)


def test_the_rate_rises_and_falls():
    optimiser = OptimiserConfig(rate=1.0, warmup=10, final=0.1)
    rates = [learning_rate(optimiser, step, 110) for step in range(110)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == rates[9] == rates[10] == 1.0
    assert rates[60] == pytest.approx(0.55) and rates[109] == pytest.approx(0.1, abs=1e-3)
    assert rates[:10] == sorted(rates[:10]) and rates[10:] == sorted(rates[10:], reverse=True)
