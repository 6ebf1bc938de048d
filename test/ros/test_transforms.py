"""The transform buffer against matrices, and against tf2 where that is installed."""

import threading

import numpy as np
import pytest
from harness import time_message, transform
from hypothesis import given, settings
from hypothesis import strategies as st

from loc3r_ros import geometry
from loc3r_ros.ros.transforms import (
    HISTORY,
    OwnBuffer,
    Tf2Buffer,
    TransformError,
    TransformListener,
    transform_message,
)

SECOND = 10**9
ANGLES = st.floats(-3.0, 3.0)
METRES = st.floats(-50.0, 50.0)
POSES = st.builds(
    lambda x, y, z, roll, pitch, yaw: geometry.from_position_rpy((x, y, z), roll, pitch, yaw),
    METRES, METRES, METRES, ANGLES, st.floats(-1.4, 1.4), ANGLES,
)  # fmt: skip


def has_tf2():
    try:
        Tf2Buffer()
    except ImportError:
        return False
    return True


needs_tf2 = pytest.mark.skipif(not has_tf2(), reason="tf2_ros is not installed here")
BUFFERS = [OwnBuffer, pytest.param(Tf2Buffer, marks=needs_tf2)]


def fill(buffer, transforms, is_static=False):
    for item in transforms:
        buffer.insert(item, is_static)
    return buffer


@settings(max_examples=40, deadline=None)
@given(POSES, POSES, POSES, POSES, st.floats(0, 1))
def test_a_tree_is_what_its_matrices_are(map_t_odom, odom_t_base, moved, base_t_camera, fraction):
    """Between two branches, interpolated in time, through static and moving transforms."""
    buffer = OwnBuffer()
    fill(buffer, [transform_message("base", "camera", base_t_camera, 0)], is_static=True)
    fill(buffer, [transform_message("map", "odom", map_t_odom, 0)], is_static=True)
    fill(buffer, [transform_message("odom", "base", odom_t_base, SECOND)])
    fill(buffer, [transform_message("odom", "base", moved, 2 * SECOND)])
    stamp = SECOND + round(fraction * SECOND)
    between = geometry.interpolate(odom_t_base, moved, (stamp - SECOND) / SECOND)
    expected = map_t_odom @ between @ base_t_camera
    np.testing.assert_allclose(buffer.lookup("map", "camera", stamp), expected, atol=1e-9)
    np.testing.assert_allclose(buffer.lookup("camera", "map", stamp), geometry.invert(expected), atol=1e-8)


@needs_tf2
@settings(max_examples=40, deadline=None)
@given(POSES, POSES, POSES, st.floats(0, 1))
def test_both_buffers_agree(first, second, static, fraction):
    found = []
    for kind in (OwnBuffer, Tf2Buffer):
        buffer = fill(kind(), [transform_message("base", "camera", static, 0)], is_static=True)
        fill(buffer, [transform_message("odom", "base", first, SECOND)])
        fill(buffer, [transform_message("odom", "base", second, 2 * SECOND)])
        found.append(buffer.lookup("odom", "camera", SECOND + round(fraction * SECOND)))
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


@pytest.mark.parametrize("kind", BUFFERS)
def test_a_stamp_outside_is_refused_and_says_whether_waiting_helps(kind):
    buffer = fill(kind(), [transform("odom", "base", SECOND), transform("odom", "base", 2 * SECOND)])
    for stamp, is_early in ((SECOND - 1, False), (2 * SECOND + 1, True)):
        with pytest.raises(TransformError) as caught:
            buffer.lookup("odom", "base", stamp)
        assert caught.value.is_early == is_early
    for target in ("nowhere", "unconnected"):
        buffer.insert(transform("island", "unconnected", SECOND), False)
        with pytest.raises(TransformError) as caught:
            buffer.lookup(target, "base", SECOND)
        assert not caught.value.is_early


@pytest.mark.parametrize("kind", BUFFERS)
def test_clearing_keeps_what_is_static(kind):
    buffer = fill(kind(), [transform("base", "camera")], is_static=True)
    fill(buffer, [transform("odom", "base", SECOND)])
    buffer.clear()
    np.testing.assert_allclose(buffer.lookup("base", "camera", 7 * SECOND), np.eye(4))
    with pytest.raises(TransformError):
        buffer.lookup("odom", "base", SECOND)


def test_messages_may_come_late_and_twice():
    buffer = OwnBuffer()
    for second in (1, 3, 2, 2, 1):
        buffer.insert(transform("odom", "base", second * SECOND, x=second), False)
    assert buffer.lookup("odom", "base", round(1.5 * SECOND))[0, 3] == pytest.approx(1.5)
    assert buffer.lookup("odom", "base", round(2.5 * SECOND))[0, 3] == pytest.approx(2.5)


def test_the_history_is_bounded():
    buffer = OwnBuffer()
    for tick in range(3000):
        buffer.insert(transform("odom", "base", SECOND + tick * SECOND // 50), False)
    track = buffer._tracks["base"]
    assert len(track.stamps) == len(track.transforms) < HISTORY // (SECOND // 50) + 130


def test_a_loop_of_frames_is_an_error_and_no_hang():
    buffer = fill(OwnBuffer(), [transform("a", "b", SECOND), transform("b", "a", SECOND)])
    with pytest.raises(TransformError):
        buffer.lookup("elsewhere", "a", SECOND)


def test_waiting_ends_with_the_data():
    listener = TransformListener(OwnBuffer())
    listener.receive([transform("odom", "base", SECOND)])
    late = threading.Timer(0.1, lambda: listener.receive([transform("odom", "base", 2 * SECOND, x=2.0)]))
    late.start()
    assert listener.lookup("odom", "base", round(1.5 * SECOND), timeout=30.0)[0, 3] == pytest.approx(1.0)
    with pytest.raises(TransformError, match="after the newest transform"):
        listener.lookup("odom", "base", 3 * SECOND, timeout=0.05)


def test_time_that_jumps_back_forgets_the_old_time():
    listener = TransformListener(OwnBuffer())
    listener.receive([transform("base", "camera")], is_static=True)
    listener.receive([transform("odom", "base", 100 * SECOND)])
    listener.receive([transform("odom", "base", 50 * SECOND, x=1.0)])
    assert listener.lookup("odom", "camera", 50 * SECOND)[0, 3] == pytest.approx(1.0)
    with pytest.raises(TransformError):
        listener.lookup("odom", "base", 100 * SECOND)


def test_a_damaged_quaternion_is_named():
    listener = TransformListener(OwnBuffer())
    damaged = transform("odom", "base", SECOND)
    damaged.transform.rotation.w = 0.0
    listener.receive([damaged])
    with pytest.raises(TransformError, match="between 'base' and 'odom' is damaged"):
        listener.lookup("odom", "base", SECOND)


def test_stamps_survive_the_message():
    message = transform_message("odom", "base", np.eye(4), 1_700_000_000_123_456_789)
    assert message.header.stamp == time_message(1_700_000_000_123_456_789)
