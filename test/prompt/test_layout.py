import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loc3r_ros.prompt.layout import VideoLayout

LAYOUTS = st.builds(
    VideoLayout,
    rows=st.integers(1, 15),
    columns=st.integers(1, 15),
    newline=st.sampled_from(["grid", "frame", "one_token", "no_token"]),
    has_camera=st.booleans(),
)


@pytest.mark.parametrize(
    ("newline", "side", "tokens"),
    [
        ("grid", 14, 210),
        ("frame", 14, 197),
        ("one_token", 14, 196),
        ("no_token", 14, 196),
        ("grid", 13, 182),
        ("frame", 13, 170),
        ("one_token", 13, 169),
    ],
)
def test_counts_of_llava_video(newline, side, tokens):
    layout = VideoLayout(side, side, newline, has_camera=False)
    assert layout.tokens_per_frame == tokens
    assert layout.video_tokens(32) == 32 * tokens + (newline == "one_token")


def test_index_arithmetic_of_the_7b():
    plain, paper = VideoLayout(14, 14, has_camera=False), VideoLayout(14, 14)
    prefix, frame, row, column = 14, 5, 3, 7
    assert plain.patch_indices(32, prefix)[frame, 14 * row + column] == prefix + 210 * frame + 15 * row + column
    assert paper.patch_indices(32, prefix)[frame, 14 * row + column] == prefix + 211 * frame + 1 + 15 * row + column
    assert paper.camera_indices(32, prefix)[frame] == prefix + 211 * frame
    assert paper.video_tokens(32) == 6752
    assert plain.camera_indices(32).size == 0


@given(LAYOUTS, st.integers(1, 4))
def test_every_token_is_one_thing(layout, frames):
    offsets = np.concatenate([np.arange(int(layout.has_camera)), layout.patch_offsets(), layout.newline_offsets()])
    assert sorted(offsets) == list(range(layout.tokens_per_frame))
    assert len(layout.newline_offsets()) == layout.newlines_per_frame
    indices = np.concatenate([layout.camera_indices(frames), layout.patch_indices(frames).reshape(-1)])
    assert len(np.unique(indices)) == len(indices)
    assert indices.max() < layout.video_tokens(frames)


def test_patch_centres_of_the_7b():
    centres = VideoLayout(14, 14).patch_centres(27)
    assert centres.shape == (196, 2)
    assert centres[3 * 14 + 5].tolist() == [27 * 5.5, 27 * 3.5]  # x from the column, y from the row
    assert centres.max() < 378
