"""Clips: pieces of walks."""

import numpy as np
import pytest

from loc3r_ros.data.clips import cut
from loc3r_ros.world.draw import Draw


@pytest.mark.parametrize("frames", [2, 3, 8])
def test_a_clip_is_a_piece_of_the_walk(frames):
    clips = [cut(8, frames, 3, Draw(0, f"clip {number}")) for number in range(40)]
    for clip in clips:
        steps = np.diff(clip.frames)
        assert len(clip.frames) == frames and (steps == steps[0]).all() and 1 <= abs(steps[0]) <= 3
        assert clip.frames.min() >= 0 and clip.frames.max() < 8
    assert len({(clip.frames[0], clip.frames[1]) for clip in clips}) > 1
    assert {clip.mirrored for clip in clips} == {False, True}
    assert {bool(clip.frames[1] > clip.frames[0]) for clip in clips} == {False, True}


def test_clips_may_all_go_forwards():
    clips = [cut(8, 3, 2, Draw(0, f"clip {number}"), backwards=False) for number in range(40)]
    assert all(clip.frames[1] > clip.frames[0] for clip in clips)
    assert {clip.mirrored for clip in clips} == {False, True}
