"""What the keyframe buffer keeps, forgets and counts."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loc3r_ros import geometry, keyframes
from loc3r_ros.errors import ConfigError
from loc3r_ros.interface import Keyframe
from loc3r_ros.keyframes import CoveragePolicy, KeyframeBuffer, MotionPolicy

SECOND = 1_000_000_000
FRAME = SECOND // 10
POLICIES = {"motion": MotionPolicy, "coverage": CoveragePolicy}


def pose(x=0.0, y=0.0, yaw=0.0, pitch=0.1, z=1.2):
    return geometry.from_position_rpy([x, y, z], 0, pitch, yaw) @ geometry.CAMERA_LINK_T_OPTICAL


def picture(seed, size=(48, 64)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def walk(seed, frames=400, side=10.0):
    """A smooth random walk in a square room that turns away from the walls."""
    rng = np.random.default_rng(seed)
    place, turning, poses = np.array([0.0, 0.0, rng.uniform(-3, 3)]), 0.0, []
    for _ in range(frames):
        turning = 0.9 * turning + 0.04 * rng.normal()
        if np.abs(place[:2]).max() > side / 2 - 0.5:
            turning = 0.3 * np.sign(geometry.angle_difference(np.arctan2(-place[1], -place[0]), place[2]) or 1.0)
        place = geometry.compose2(place, [0.08, 0.0, turning])
        poses.append(pose(*place))
    return poses


def offer_all(buffer, poses, reference="odom"):
    return [buffer.offer(i * FRAME, None, p, reference) for i, p in enumerate(poses)]


def indices(buffer):
    return [keyframe.index for keyframe in buffer.keyframes]


def assert_counts_add_up(buffer):
    counts = buffer.counts
    assert counts.offered == counts.kept + sum(counts.rejected.values())
    assert counts.kept + counts.restored == len(buffer.keyframes) + counts.evicted + counts.cleared


class TestMotion:
    def test_thresholds_are_exact_and_inclusive(self):
        buffer = KeyframeBuffer(10, MotionPolicy(min_translation=0.5, min_rotation=math.radians(20)))
        assert buffer.offer(0, None, pose(), "odom").keyframe.index == 0
        assert buffer.offer(1, None, pose(x=0.499), "odom").reason == keyframes.TOO_LITTLE_MOTION
        assert buffer.offer(2, None, pose(x=0.5), "odom").keyframe
        assert buffer.offer(3, None, pose(x=0.5, yaw=math.radians(19.99)), "odom").reason == keyframes.TOO_LITTLE_MOTION
        assert buffer.offer(4, None, pose(x=0.5, yaw=math.radians(20.01)), "odom").keyframe
        assert buffer.counts.rejected == {keyframes.TOO_LITTLE_MOTION: 2}

    def test_motion_counts_from_the_newest_keyframe_however_slow_it_is(self):
        buffer = KeyframeBuffer(100, MotionPolicy(min_translation=0.5, min_rotation=9.0))
        offer_all(buffer, [pose(x=0.01 * i) for i in range(301)])
        places = [keyframe.reference_t_camera[0, 3] for keyframe in buffer.keyframes]
        np.testing.assert_allclose(np.diff(places), 0.5, atol=0.0101)

    def test_height_and_pitch_are_motion_too(self):
        buffer = KeyframeBuffer(10, MotionPolicy(0.5, math.radians(20)))
        assert all(d.keyframe for d in offer_all(buffer, [pose(z=1.0), pose(z=1.6), pose(z=1.6, pitch=0.6)]))

    def test_the_oldest_goes(self):
        buffer = KeyframeBuffer(3, MotionPolicy(0.5))
        decisions = offer_all(buffer, [pose(x=i) for i in range(5)])
        assert [[k.index for k in d.evicted] for d in decisions] == [[], [], [], [0], [1]]
        assert indices(buffer) == [2, 3, 4]

    def test_two_keyframes_keep_their_interval(self):
        buffer = KeyframeBuffer(10, MotionPolicy(0.1), min_interval=0.5)
        kept = [d.keyframe is not None for d in offer_all(buffer, [pose(x=i) for i in range(11)])]
        assert kept == [i % 5 == 0 for i in range(11)]
        assert buffer.counts.rejected == {keyframes.TOO_SOON: 8}


class TestCoverage:
    def test_what_is_seen_already_is_not_kept(self):
        buffer = KeyframeBuffer(10, CoveragePolicy())
        decisions = offer_all(buffer, [pose(), pose(x=0.1), pose(yaw=math.pi), pose(x=0.1), pose(yaw=math.pi - 0.05)])
        assert [d.keyframe is not None for d in decisions] == [True, False, True, False, False]
        assert buffer.counts.rejected == {keyframes.NOTHING_NEW: 3}

    def test_the_view_is_a_sector_in_front_of_the_camera(self):
        policy = CoveragePolicy(field_of_view=math.radians(60), max_range=4.0, cell=0.25)
        cells = policy.view(Keyframe(0, 0, None, pose(), "odom"))
        area = len(cells) * policy.cell**2
        assert area == pytest.approx(math.radians(60) / 2 * 16, rel=0.2)

    def test_a_look_at_the_floor_sees_less_than_one_ahead(self):
        policy = CoveragePolicy()
        ahead, down = (policy.view(Keyframe(0, 0, None, pose(pitch=pitch), "odom")) for pitch in (0.0, 1.2))
        assert 0 < len(down) < len(ahead) / 3

    def test_the_other_side_of_a_thing_is_something_new(self):
        buffer = KeyframeBuffer(10, CoveragePolicy())
        offer_all(buffer, [pose(x=-2)])
        assert buffer.offer(SECOND, None, pose(x=2, yaw=math.pi), "odom").keyframe
        for sides, has_overlap in ((1, True), (4, False)):
            policy = CoveragePolicy(sides=sides)
            ahead, back = (Keyframe(0, 0, None, p, "odom") for p in (pose(x=-2), pose(x=2, yaw=math.pi)))
            assert bool(policy.view(ahead) & policy.view(back)) == has_overlap

    def test_frames_of_two_references_do_not_cover_each_other(self):
        policy = CoveragePolicy()
        assert not policy.view(Keyframe(0, 0, None, pose(), "odom")) & policy.view(
            Keyframe(0, 0, None, pose(), "anchor")
        )

    def test_the_most_redundant_goes_and_never_the_anchor_or_the_newest(self):
        buffer = KeyframeBuffer(3, CoveragePolicy(min_gain=0.01))
        offer_all(buffer, [pose(), pose(x=0.6), pose(x=20)])
        decision = buffer.offer(SECOND, None, pose(x=40), "odom")
        assert [k.index for k in decision.evicted] == [1]
        assert indices(buffer) == [0, 2, 3]
        assert [k.index for k in buffer.evict(1)] == [2]
        assert [k.index for k in buffer.evict(2)] == [0, 3]

    def test_a_full_buffer_takes_only_frames_that_add_what_they_cost(self):
        buffer = KeyframeBuffer(3, CoveragePolicy())
        offer_all(buffer, [pose(), pose(x=20), pose(x=40)])
        assert buffer.offer(SECOND, None, pose(x=1.5), "odom").reason == keyframes.NOTHING_NEW
        assert indices(buffer) == [0, 1, 2]

    @pytest.mark.parametrize("capacity", [8, 16])
    def test_it_sees_more_than_frames_at_even_intervals(self, capacity):
        """The paper's sampling takes frames at even intervals: coverage must beat it on every walk."""
        gains = []
        for seed in range(6):
            poses = walk(seed)
            policy = CoveragePolicy()
            buffer = KeyframeBuffer(capacity, policy)
            offer_all(buffer, poses)
            even = np.linspace(0, len(poses) - 1, capacity).astype(int)
            baseline = set().union(*(policy.view(Keyframe(0, 0, None, poses[i], "odom")) for i in even))
            gains.append(policy.covered() / len(baseline))
        assert min(gains) >= 1.0
        assert np.mean(gains) > 1.1

    @pytest.mark.parametrize(("capacity", "block"), [(8, 2), (16, 4)])
    def test_evictions_in_blocks_cost_little_of_it(self, capacity, block):
        gains = []
        for seed in range(5):
            poses = walk(seed, frames=600)
            policy = CoveragePolicy()
            buffer, covered = KeyframeBuffer(capacity, policy, eviction_block=block), []
            for i, p in enumerate(poses):
                buffer.offer(i * FRAME, None, p, "odom")
                covered.append(policy.covered())
            even = np.linspace(0, len(poses) - 1, capacity).astype(int)
            baseline = set().union(*(policy.view(Keyframe(0, 0, None, poses[i], "odom")) for i in even))
            gains.append(np.mean(covered[300:]) / len(baseline))
        assert np.mean(gains) > 1.1

    @given(st.integers(0, 10_000))
    def test_coverage_never_shrinks_while_frames_are_swapped_one_by_one(self, seed):
        policy = CoveragePolicy()
        buffer, seen = KeyframeBuffer(6, policy), 0
        for i, p in enumerate(walk(seed, frames=60)):
            buffer.offer(i * FRAME, None, p, "odom")
            assert policy.covered() >= seen
            seen = policy.covered()

    @given(st.integers(0, 10_000))
    def test_what_it_counts_is_what_the_keyframes_see(self, seed):
        """The incremental counts equal a count from scratch, whatever came and went."""
        policy = CoveragePolicy()
        buffer = KeyframeBuffer(5, policy, eviction_block=2)
        offer_all(buffer, walk(seed, frames=60))
        buffer.evict(1)
        assert policy.covered() == len(set().union(*(policy.view(k) for k in buffer.keyframes)))


class TestWithoutPose:
    def test_time_and_change_decide(self):
        buffer = KeyframeBuffer(10, MotionPolicy(), blind_interval=1.0, min_change=8.0)
        assert buffer.offer(0, picture(0)).keyframe
        assert buffer.offer(SECOND // 2, picture(1)).reason == keyframes.TOO_SOON
        assert buffer.offer(SECOND, picture(0)).reason == keyframes.SAME_PICTURE
        assert buffer.offer(2 * SECOND, picture(1)).keyframe
        assert buffer.keyframes[-1].reference == ""

    def test_noise_and_exposure_are_no_change(self):
        room = np.repeat(np.repeat(picture(3, (6, 8)) // 2 + 40, 8, 0), 8, 1)
        noise = np.random.default_rng(0).normal(0, 3, room.shape)
        brighter = np.clip(room + noise + 20, 0, 255).astype(np.uint8)
        assert keyframes.picture_change(room, brighter) < 5
        assert keyframes.picture_change(room, np.roll(room, 16, axis=1)) > 15

    def test_a_lost_pose_falls_back_to_time(self):
        buffer = KeyframeBuffer(10, MotionPolicy(0.5))
        buffer.offer(0, picture(0), pose(), "odom")
        assert buffer.offer(FRAME, picture(1)).reason == keyframes.TOO_SOON
        assert buffer.offer(SECOND, picture(1)).keyframe
        assert buffer.offer(SECOND + FRAME, picture(2), pose(x=5), "odom").reason == keyframes.TOO_SOON
        assert buffer.offer(2 * SECOND, picture(2), pose(x=5), "odom").keyframe
        assert buffer.offer(2 * SECOND + FRAME, picture(2), pose(x=6), "odom").keyframe

    @pytest.mark.parametrize("broken", [np.full((4, 4), np.nan), np.zeros((4, 4)), np.eye(3)])
    def test_a_broken_pose_counts_as_none(self, broken):
        buffer = KeyframeBuffer(10, CoveragePolicy())
        keyframe = buffer.offer(0, picture(0), broken, "odom").keyframe
        assert keyframe.reference_t_camera is None
        assert keyframe.reference == ""
        assert buffer.counts.invalid_poses == 1

    def test_coverage_thins_them_evenly(self):
        buffer = KeyframeBuffer(5, CoveragePolicy())
        for i in range(41):
            buffer.offer(i * SECOND, picture(i))
        gaps = np.diff([keyframe.stamp for keyframe in buffer.keyframes])
        assert indices(buffer)[0] == 0
        assert indices(buffer)[-1] == 40
        assert gaps.max() <= 40 / 4 * 2.1 * SECOND

    def test_pictures_that_were_dropped_count_as_changed(self):
        assert keyframes.picture_change(None, picture(0)) == math.inf


@pytest.mark.parametrize("name", POLICIES)
class TestEveryPolicy:
    @given(
        capacity=st.integers(1, 6),
        block=st.integers(1, 6),
        frames=st.lists(st.tuples(st.integers(-8, 8), st.sampled_from(["odom", "anchor", ""])), max_size=40),
        seed=st.integers(0, 99),
    )
    def test_invariants(self, name, capacity, block, frames, seed):
        buffer = KeyframeBuffer(capacity, POLICIES[name](), eviction_block=min(block, capacity), blind_interval=0.1)
        poses, stamp = walk(seed, frames=len(frames)), 0
        for i, ((step, reference), p) in enumerate(zip(frames, poses, strict=True)):
            stamp = max(stamp + step * FRAME, 0)
            before = buffer.keyframes
            decision = buffer.offer(stamp, picture(i, (8, 8)), p if reference else None, reference)
            stamps = [keyframe.stamp for keyframe in buffer.keyframes]
            assert len(stamps) <= capacity
            assert stamps == sorted(set(stamps))
            assert indices(buffer) == sorted(set(indices(buffer)))
            assert (decision.keyframe is None) == bool(decision.reason)
            assert decision.keyframe is None or decision.keyframe is buffer.keyframes[-1]
            if not decision.was_reset:
                assert set(map(id, before)) - set(map(id, buffer.keyframes)) == set(map(id, decision.evicted))
            assert_counts_add_up(buffer)

    def test_the_same_frames_give_the_same_keyframes(self, name):
        runs = []
        for _ in range(2):
            buffer = KeyframeBuffer(8, POLICIES[name](), eviction_block=2)
            offer_all(buffer, walk(5))
            runs.append((indices(buffer), [k.stamp for k in buffer.keyframes], buffer.counts))
        assert runs[0] == runs[1]

    def test_room_is_made_in_blocks(self, name):
        buffer = KeyframeBuffer(8, POLICIES[name](), eviction_block=4)
        blocks = [len(d.evicted) for d in offer_all(buffer, [pose(x=10 * i) for i in range(20)])]
        assert blocks == [4 * (i >= 8 and i % 4 == 0) for i in range(20)]

    def test_a_robot_that_explores_finds_its_surroundings_in_memory(self, name):
        buffer = KeyframeBuffer(4, POLICIES[name]())
        assert all(d.keyframe for d in offer_all(buffer, [pose(x=10 * i) for i in range(20)]))

    def test_a_jump_back_in_time_forgets_everything(self, name):
        buffer = KeyframeBuffer(8, POLICIES[name]())
        offer_all(buffer, [pose(x=2 * i) for i in range(5)])
        decision = buffer.offer(-10 * SECOND, None, pose(), "odom")
        assert decision.was_reset
        assert indices(buffer) == [0]
        assert (buffer.counts.resets, buffer.counts.cleared) == (1, 5)
        assert_counts_add_up(buffer)
        assert buffer.offer(-9 * SECOND, None, pose(x=6, yaw=2.0), "odom").keyframe

    def test_a_late_frame_is_left_out(self, name):
        buffer = KeyframeBuffer(8, POLICIES[name]())
        buffer.offer(SECOND, None, pose(), "odom")
        for late in (SECOND, SECOND - 1, SECOND // 2):
            decision = buffer.offer(late, None, pose(x=9), "odom")
            assert (decision.reason, decision.was_reset) == (keyframes.OUT_OF_ORDER, False)
        assert buffer.offer(SECOND // 2 - 1, None, pose(x=9), "odom").was_reset

    def test_a_saved_buffer_goes_on_as_the_original(self, name):
        poses = walk(7, frames=300)
        original = KeyframeBuffer(8, POLICIES[name]())
        offer_all(original, poses[:150])
        copy = KeyframeBuffer(8, POLICIES[name]())
        copy.restore(original.keyframes)
        for i, p in enumerate(poses[150:], 150):
            kept = [b.offer(i * FRAME, None, p, "odom").keyframe for b in (original, copy)]
            assert (kept[0] is None) == (kept[1] is None)
        assert indices(original) == indices(copy)
        assert_counts_add_up(copy)

    def test_poses_in_a_new_frame_change_neither_counts_nor_decisions(self, name):
        """A rebuilt memory has a new anchor: the poses move together, and the buffer goes on as before."""
        new_t_old = geometry.from_planar([3.0, -1.0, 0.0])  # by whole cells, so that coverage sees the same
        poses, decisions = walk(9, frames=200), []
        for is_moved in (False, True):
            buffer = KeyframeBuffer(8, POLICIES[name]())
            offer_all(buffer, poses[:100])
            counts = buffer.counts
            if is_moved:
                buffer.restore(
                    replace(keyframe, reference_t_camera=new_t_old @ keyframe.reference_t_camera)
                    for keyframe in buffer.keyframes
                )
                assert buffer.counts == counts
            rest = [new_t_old @ p if is_moved else p for p in poses[100:]]
            decisions.append([buffer.offer((100 + i) * FRAME, None, p, "odom").reason for i, p in enumerate(rest)])
            assert_counts_add_up(buffer)
        assert decisions[0] == decisions[1]

    def test_a_snapshot_stays_as_it_was(self, name):
        buffer = KeyframeBuffer(3, POLICIES[name]())
        offer_all(buffer, [pose()])
        snapshot, counts = buffer.keyframes, buffer.counts
        offer_all(buffer, walk(1))
        assert [k.index for k in snapshot] == [0]
        assert counts.offered == 1


def test_images_are_held_and_not_copied():
    image = picture(0)
    assert KeyframeBuffer(2, MotionPolicy()).offer(0, image).keyframe.image is image


@pytest.mark.parametrize(("capacity", "block"), [(0, 1), (4, 0), (4, 5)])
def test_impossible_sizes_are_refused(capacity, block):
    with pytest.raises(ConfigError, match="capacity"):
        KeyframeBuffer(capacity, MotionPolicy(), eviction_block=block)


def test_restoring_what_does_not_fit_is_refused():
    frames = [Keyframe(i, i, None, None) for i in range(3)]
    with pytest.raises(ConfigError, match="capacity of 2"):
        KeyframeBuffer(2, MotionPolicy()).restore(frames)
    with pytest.raises(ConfigError, match="rise"):
        KeyframeBuffer(3, MotionPolicy()).restore(frames[::-1])
