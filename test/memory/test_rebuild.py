"""What happens when the memory is full, and what can go wrong meanwhile."""

import dataclasses
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

from loc3r_ros import geometry
from loc3r_ros.engines import EngineSet
from loc3r_ros.errors import ConfigError, EngineError, NotReadyError
from loc3r_ros.export.source import random_source
from loc3r_ros.localizer.question import Question
from loc3r_ros.memory import Memory
from loc3r_ros.model.config import preset
from loc3r_ros.prompt.template import PromptTemplate

SECOND = 1_000_000_000
PROMPT = PromptTemplate(random_source(preset("tiny")).tokenizer).locate("I am standing here.")


def ask(engines, snapshot):
    question = Question(engines, snapshot, PROMPT, 0)
    return np.concatenate([question.position, question.orientation])


def numbers(snapshot):
    return [entry.record.index for entry in snapshot.entries]


def assert_same_state(memory, fresh):
    ours, theirs = memory.capture(), fresh.capture()
    assert [entry.record.stamp for entry in ours.entries] == [entry.record.stamp for entry in theirs.entries]
    assert (ours.next_position, ours.prior_count) == (theirs.next_position, theirs.prior_count)
    for name in theirs.cache:
        np.testing.assert_array_equal(ours.cache[name], theirs.cache[name])
    for name in theirs.prior_state:
        np.testing.assert_array_equal(ours.prior_state[name], theirs.prior_state[name])
    for mine, other in zip(ours.entries, theirs.entries, strict=True):
        np.testing.assert_array_equal(mine.layout, other.layout)


class Gate:
    """Lets the language engine of a rebuild wait until it is opened."""

    def __init__(self, engine):
        self.engine, self.spec = engine, engine.spec
        self.open, self.waiting = threading.Event(), threading.Event()

    def run(self, inputs, into=None):
        if threading.current_thread().name == "loc3r-rebuild":
            self.waiting.set()
            assert self.open.wait(60)
        return self.engine.run(inputs, into)


@pytest.fixture
def gated(film):
    """A full memory whose rebuild has begun and waits, and the gate."""
    gate = Gate(film.engines.language)
    engines = EngineSet(**(vars(film.engines) | {"language": gate}))
    memory = Memory(engines, film.memory()._buffer)
    for number in range(5):
        memory.observe(film.frame(number))
    assert gate.waiting.wait(60) and memory.is_rebuilding
    yield memory, gate
    gate.open.set()
    assert memory.settle(60)


def test_after_a_rebuild_the_state_is_that_of_a_fresh_start(film):
    memory = film.memory(capacity=4, block=2)
    for number in range(9):
        memory.observe(film.frame(number))
        assert memory.settle(60)
    kept = [keyframe.stamp // SECOND for keyframe in memory.keyframes]
    assert numbers(memory.snapshot) == kept == [6, 7, 8]
    assert memory.snapshot.anchor_id == 3
    fresh = film.memory()
    for number in kept:
        fresh.observe(film.frame(number))
    assert_same_state(memory, fresh)


def test_the_new_anchor_lies_under_its_first_camera_and_is_known_in_the_old_frame(film):
    memory = film.memory(capacity=4, block=2)
    for number in range(4):
        memory.observe(film.frame(number))
    old = {entry.record.index: entry.anchor_t_camera for entry in memory.snapshot.entries}
    assert np.allclose(old[0][:2, 3], 0) and abs(geometry.camera_heading(old[0])) < 1e-6
    memory.observe(film.frame(4))
    assert memory.settle(60)
    new = memory.snapshot.entries[0].anchor_t_camera
    assert np.allclose(new[:2, 3], 0, atol=1e-6) and abs(geometry.camera_heading(new)) < 1e-6
    old_t_new = geometry.world_t_anchor(old[memory.snapshot.entries[0].record.index])
    np.testing.assert_allclose(old_t_new @ new, old[numbers(memory.snapshot)[0]], atol=1e-6)
    for keyframe, entry in zip(memory.keyframes, memory.snapshot.entries, strict=True):
        assert keyframe.reference == "anchor"
        np.testing.assert_array_equal(keyframe.reference_t_camera, entry.anchor_t_camera)
    assert memory.whereabouts.anchor_id == memory.snapshot.anchor_id


def test_every_place_can_be_carried_to_odometry_through_its_anchor(film):
    """Also during a rebuild, when the anchor's first keyframe has been evicted already."""
    memory = film.memory(capacity=4, block=2)

    def odometry(number):
        return geometry.from_planar((0.5 * number, 1.0, 0.2 * number), 1.0) @ geometry.CAMERA_LINK_T_OPTICAL

    for number in range(9):
        memory.observe(film.frame(number, odometry(number)))
        anchor = memory.anchor(memory.whereabouts.anchor_id)
        first = anchor.stamp // SECOND
        np.testing.assert_allclose(anchor.reference_t_first, odometry(first), atol=1e-12)
        assert anchor.reference == "odom" and np.allclose(anchor.anchor_t_first[:2, 3], 0, atol=1e-9)
        assert memory.settle(60)
    newest = memory.anchor(memory.snapshot.anchor_id)
    assert newest.stamp == memory.snapshot.entries[0].record.stamp and newest.previous_t_anchor is not None
    restored = film.memory(capacity=4, block=2)
    restored.restore(memory.capture())
    np.testing.assert_array_equal(restored.anchor(newest.id).reference_t_first, newest.reference_t_first)
    for gone in (-1, newest.id + 1):
        with pytest.raises(NotReadyError, match="not known"):
            memory.anchor(gone)


def test_an_anchor_without_odometry_is_known_from_the_one_before(film):
    memory = film.memory(capacity=4, block=2)
    for number in range(5):
        memory.observe(film.frame(number))
        assert memory.settle(60)
    old, new = memory.anchor(0), memory.anchor(1)
    assert old.previous_t_anchor is None and old.reference_t_first is None and new.reference == ""
    carried = new.previous_t_anchor @ new.anchor_t_first
    fresh = film.memory(capacity=4, block=2)
    for number in range(4):
        fresh.observe(film.frame(number))
    np.testing.assert_allclose(carried, fresh.snapshot.entries[2].anchor_t_camera, atol=1e-6)


def test_odometry_tells_how_the_first_camera_is_tilted(film):
    tilted = geometry.from_position_rpy((3.0, 2.0, 1.2), 0.0, 0.3, 1.0) @ geometry.CAMERA_LINK_T_OPTICAL
    memory = film.memory()
    memory.observe(film.frame(0, tilted))
    pose = memory.snapshot.entries[0].anchor_t_camera
    assert pose[2, 3] == pytest.approx(1.2) and np.allclose(pose[:2, 3], 0)
    assert np.arcsin(-pose[2, 2]) == pytest.approx(0.3)
    assert memory.keyframes[0].reference == "odom"


def test_without_odometry_the_robot_tells_how_its_camera_is_tilted(film):
    base_t_camera = geometry.from_position_rpy((0.2, 0.1, 0.7), 0.0, 0.3, 0.0) @ geometry.CAMERA_LINK_T_OPTICAL
    memory = film.memory()
    memory.observe(dataclasses.replace(film.frame(0), base_t_camera=base_t_camera))
    pose = memory.snapshot.entries[0].anchor_t_camera
    assert pose[2, 3] == pytest.approx(0.7) and np.allclose(pose[:2, 3], 0)
    assert np.arcsin(-pose[2, 2]) == pytest.approx(0.3)
    assert memory.keyframes[0].reference == "anchor"


def test_questions_and_frames_go_on_during_a_rebuild(film, gated):
    memory, gate = gated
    before = memory.snapshot
    assert len(before.entries) == 5 and before.anchor_id == 0
    answer = ask(film.engines, before)
    memory.observe(film.frame(5))  # there is room for it in the old sequence
    assert numbers(memory.snapshot) == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(ask(film.engines, before), answer)
    gate.open.set()
    assert memory.settle(60)
    assert numbers(memory.snapshot) == [2, 3, 4, 5] and memory.snapshot.anchor_id == 1
    np.testing.assert_array_equal(ask(film.engines, before), answer)
    fresh = film.memory()
    for number in (2, 3, 4, 5):
        fresh.observe(film.frame(number))
    assert_same_state(memory, fresh)


def test_frames_that_come_faster_than_the_rebuild_are_not_lost(film, gated):
    memory, gate = gated
    for number in range(5, 12):
        memory.observe(film.frame(number))
    assert len(memory.snapshot.entries) == 6  # the old sequence is full
    gate.open.set()
    assert memory.settle(60)
    kept = [keyframe.index for keyframe in memory.keyframes]
    assert numbers(memory.snapshot) == kept and kept[-1] == 11
    fresh = film.memory()
    for number in kept:
        fresh.observe(film.frame(number))
    assert_same_state(memory, fresh)


def test_a_reset_stops_a_rebuild(film, gated):
    memory, gate = gated
    memory.reset()
    memory.observe(film.frame(20))
    gate.open.set()
    assert memory.settle(60)
    assert len(memory.snapshot.entries) == len(memory.keyframes) == 1
    fresh = film.memory()
    fresh.observe(film.frame(20))
    assert_same_state(memory, fresh)


def test_a_rebuild_that_fails_leaves_the_old_sequence(film, gated, caplog):
    memory, gate = gated
    gate.engine = None
    gate.open.set()
    assert memory.settle(60)
    gate.engine = film.engines.language
    assert "could not be rebuilt" in caplog.text
    assert memory.snapshot.anchor_id == 0
    memory.observe(film.frame(5))
    memory.observe(film.frame(6))  # evicts again, and then it works
    assert memory.settle(60)
    assert numbers(memory.snapshot) == [keyframe.index for keyframe in memory.keyframes]


def test_dropping_is_an_approximation_of_measured_size(film):
    exact, approximate = film.memory(), film.memory(eviction="drop")
    for number in range(9):
        for memory in (exact, approximate):
            memory.observe(film.frame(number))
            assert memory.settle(60)
    assert numbers(exact.snapshot) == numbers(approximate.snapshot)
    assert approximate.snapshot.anchor_id == 0 and exact.snapshot.anchor_id == 3
    error = np.abs(ask(film.engines, exact.snapshot) - ask(film.engines, approximate.snapshot)).max()
    assert 0 < error < 0.5
    assert approximate.snapshot.next_position > exact.snapshot.next_position
    assert approximate.snapshot.cache.length == exact.snapshot.cache.length


def test_dropping_ends_where_the_positions_do(film):
    memory = film.memory(eviction="drop")
    memory._last_position = film.engines.manifest.language.head_tokens + 8 * film.engines.manifest.video.tokens
    for number in range(30):
        memory.observe(film.frame(number))
        assert memory.settle(60)
        assert memory.snapshot.next_position <= memory._last_position + film.engines.manifest.video.tokens
    assert memory.snapshot.anchor_id > 0


def test_a_jump_back_in_time_begins_anew(film):
    memory = film.memory()
    for number in (50, 51, 52):
        memory.observe(film.frame(number))
    memory.observe(film.frame(7))
    assert numbers(memory.snapshot) == [0] and memory.snapshot.stamp == 7 * SECOND
    assert memory.snapshot.anchor_id == 1
    fresh = film.memory()
    fresh.observe(film.frame(7))
    assert_same_state(memory, fresh)


def test_a_late_frame_is_counted_and_nothing_else(film):
    memory = film.memory()
    for number in (3, 4):
        memory.observe(film.frame(number))
    before = memory.capture()
    late = film.frame(9)
    for stamp in (4 * SECOND, 4 * SECOND - 1, 4 * SECOND - SECOND // 4):
        assert memory.observe(type(late)(**(vars(late) | {"stamp": stamp}))) is None
    assert memory.whereabouts == before.whereabouts
    assert memory._buffer.counts.offered == 5 and memory._buffer.counts.kept == 2
    assert memory.capture().prior_count == before.prior_count


class Failing:
    """An engine that fails when it is told to."""

    def __init__(self, engine):
        self.engine, self.spec, self.fails = engine, engine.spec, False

    def run(self, inputs, into=None):
        if self.fails:
            raise EngineError("out of memory")
        return self.engine.run(inputs, into)


@pytest.mark.parametrize("name", ["pose_prior", "vision", "language"])
def test_an_engine_that_fails_costs_its_frame_and_no_more(film, name):
    failing = Failing(getattr(film.engines, name))
    memory = Memory(EngineSet(**(vars(film.engines) | {name: failing})), film.memory()._buffer)
    for number in range(3):
        memory.observe(film.frame(number))
    before = memory.capture()
    failing.fails = True
    with pytest.raises(EngineError, match="out of memory"):
        memory.observe(film.frame(3))
    failing.fails = False
    assert memory.capture().prior_count == before.prior_count == 3
    np.testing.assert_array_equal(memory.capture().cache["key.0"], before.cache["key.0"])
    for number in range(4, 9):
        memory.observe(film.frame(number))
        assert memory.settle(60)
    assert numbers(memory.snapshot) == [keyframe.index for keyframe in memory.keyframes]
    fresh = film.memory()
    for entry in memory.snapshot.entries:
        fresh.observe(film.frame(entry.record.stamp // SECOND))
    assert_same_state(memory, fresh)


def test_a_program_that_ends_does_not_wait_for_a_rebuild(engine_folder):
    program = """
        import atexit, sys, threading, time
        import numpy as np
        from loc3r_ros.keyframes import KeyframeBuffer, MotionPolicy
        from loc3r_ros.localizer import Localizer
        keyframes = KeyframeBuffer(30, MotionPolicy(0.0, 0.0), eviction_block=2)
        localizer = Localizer.load(sys.argv[1], threads=1, keyframes=keyframes)
        language, late = localizer.engines.language, []
        class Slow:
            spec = language.spec
            def run(self, inputs, into=None):
                while localizer.is_rebuilding and threading.main_thread().is_alive():
                    time.sleep(0.01)
                late.append(not threading.main_thread().is_alive())
                return language.run(inputs, into)
        object.__setattr__(localizer.engines, "language", Slow())
        atexit.register(lambda: print(sum(late)))
        for number in range(31):
            localizer.observe(np.full((8, 8, 3), number, np.uint8), number * 10**9)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(engine_folder("tiny"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= 1  # the frame that was being run, of the 29 that are kept


def test_poses_stay_rigid_after_many_rebuilds(film):
    memory = film.memory(capacity=2, block=1)
    for number in range(40):
        memory.observe(film.frame(number))
        assert memory.settle(60)
    rotation = memory.snapshot.entries[0].anchor_t_camera[:3, :3]
    assert memory.snapshot.anchor_id == 38
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-12)


def test_a_prior_that_gives_no_number_is_not_learned_from(film):
    class Broken:
        spec = film.engines.pose_prior.spec

        def run(self, inputs, into=None):
            outputs = film.engines.pose_prior.run(inputs, into)
            return outputs | {"world_t_camera": np.full((4, 4), np.nan, np.float32)}

    memory = film.memory()
    memory.observe(film.frame(0))
    working, memory._sequence.tracker._engine = memory._sequence.tracker._engine, Broken()
    with pytest.raises(EngineError, match="not finite"):
        memory.observe(film.frame(1))
    memory._sequence.tracker._engine = working
    memory.observe(film.frame(2))
    fresh = film.memory()
    for number in (0, 2):
        fresh.observe(film.frame(number))
    assert memory.capture().prior_count == 2
    np.testing.assert_array_equal(memory.capture().prior_state["state"], fresh.capture().prior_state["state"])


def test_nothing_to_remember_yet(film):
    memory = film.memory()
    for ask_for in (lambda: memory.snapshot, lambda: memory.whereabouts, memory.capture):
        with pytest.raises(NotReadyError, match="camera"):
            ask_for()


def test_more_keyframes_than_positions(film):
    with pytest.raises(ConfigError, match="too many"):
        film.memory(capacity=5000)
