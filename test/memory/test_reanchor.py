"""A memory that begins anew after a pose prior went wrong: what stays, under which anchor, and that nothing waits."""

import threading

import numpy as np
import pytest

from loc3r_ros.engines import EngineSet
from loc3r_ros.errors import NotReadyError
from loc3r_ros.memory import Memory

SECOND = 1_000_000_000


def numbers(memory):
    return [entry.record.index for entry in memory.snapshot.entries]


@pytest.fixture
def memory(film):
    """Four keyframes, at 0 to 3 s."""
    memory = film.memory(capacity=6, block=2)
    for number in range(4):
        memory.observe(film.frame(number))
    return memory


def test_the_newest_keyframes_are_run_anew_under_an_anchor_of_their_own(film, memory):
    memory.reanchor(2 * SECOND)
    assert memory.settle(60)
    assert numbers(memory) == [keyframe.index for keyframe in memory.keyframes] == [2, 3]
    assert memory.snapshot.anchor_id == memory.whereabouts.anchor_id == 1
    anchor = memory.anchor(1)
    assert anchor.previous_t_anchor is None and not anchor.previous_t_cameras and anchor.stamp == 2 * SECOND
    fresh = film.memory(capacity=6, block=2)
    for number in (2, 3):
        fresh.observe(film.frame(number))
    for mine, theirs in zip(memory.snapshot.entries, fresh.snapshot.entries, strict=True):
        np.testing.assert_array_equal(mine.layout, theirs.layout)
    assert memory.observe(film.frame(4)).index == 4


def test_where_nothing_is_left_the_next_frame_is_the_first(film, memory):
    memory.reanchor(9 * SECOND)
    assert memory.keyframes == () and not memory.is_rebuilding
    assert numbers(memory) == [0, 1, 2, 3] and memory.whereabouts.anchor_id == 0  # they answer until then
    with pytest.raises(NotReadyError, match="no keyframe to save"):
        memory.capture()
    assert memory.observe(film.frame(4)).index == 4  # an index names one keyframe for ever
    assert numbers(memory) == [4] and memory.anchor(1).previous_t_anchor is None
    assert memory.snapshot.anchor_id == memory.whereabouts.anchor_id == 1
    memory.reset()
    with pytest.raises(NotReadyError, match="No keyframe yet"):
        memory.snapshot  # noqa: B018


def test_the_camera_and_questions_do_not_wait_for_it(film):
    gate, waiting = threading.Event(), threading.Event()
    engine = film.engines.language

    class Gate:
        spec = engine.spec

        def run(self, inputs, into=None):
            if threading.current_thread().name == "loc3r-rebuild":
                waiting.set()
                assert gate.wait(60)
            return engine.run(inputs, into)

    memory = Memory(EngineSet(**(vars(film.engines) | {"language": Gate()})), film.memory(6, 2)._buffer)
    for number in range(4):
        memory.observe(film.frame(number))
    memory.reanchor(2 * SECOND)
    assert waiting.wait(60)
    assert numbers(memory) == [0, 1, 2, 3]  # questions are answered from the old ones meanwhile
    assert memory.observe(film.frame(4)) is not None
    memory.reanchor(4 * SECOND)  # a second one: the first gives up
    gate.set()
    assert memory.settle(60)
    assert numbers(memory) == [4] and memory.anchor(memory.snapshot.anchor_id).stamp == 4 * SECOND


def test_after_an_eviction_the_cameras_are_known_from_both_anchors(film):
    memory = film.memory(capacity=4, block=2)
    for number in range(4):
        memory.observe(film.frame(number))
    old = {entry.record.index: entry.anchor_t_camera for entry in memory.snapshot.entries}
    memory.observe(film.frame(4))
    assert memory.settle(60)
    anchor = memory.anchor(1)
    assert sorted(anchor.previous_t_cameras) == numbers(memory) == [2, 3, 4]
    np.testing.assert_array_equal(anchor.previous_t_cameras[3], old[3])
    first = memory.snapshot.entries[0]
    np.testing.assert_allclose(
        anchor.previous_t_anchor @ first.anchor_t_camera, anchor.previous_t_cameras[2], atol=1e-6
    )
