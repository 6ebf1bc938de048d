"""Frames of videos: their number, colours and times."""

import cv2
import numpy as np
import pytest

from loc3r_ros.recording.sources import VideoError, open_recording


def video(path, colours, rate=5.0):
    """Write a video of plain RGB colours."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate, (64, 48))
    for colour in colours:
        writer.write(np.full((48, 64, 3), colour[::-1], np.uint8))
    writer.release()
    return path


def test_frames_have_rgb_colours_and_rising_times(tmp_path):
    colours = [(200, 30, 40), (30, 200, 40), (30, 40, 200)]
    with open_recording(video(tmp_path / "plain.avi", colours)) as recording:
        views = list(recording.views)
    assert recording.count == 3
    assert [view.stamp for view in views] == [0, 200_000_000, 400_000_000]
    assert all(view.odom_t_camera is None for view in views)
    for view, colour in zip(views, colours, strict=True):
        assert view.image.shape == (48, 64, 3)
        assert view.image.dtype == np.uint8
        np.testing.assert_allclose(view.image.mean(axis=(0, 1)), colour, atol=12)  # the codec is lossy


def test_times_rise_where_the_video_does_not_know_them(tmp_path, monkeypatch):
    path = video(tmp_path / "plain.avi", [(0, 0, 0)] * 4)
    capture = cv2.VideoCapture(str(path))

    class Timeless:
        isOpened, read, release = capture.isOpened, capture.read, capture.release  # noqa: N815

        def get(self, what):
            return 0.0

    monkeypatch.setattr(cv2, "VideoCapture", lambda _: Timeless())
    with open_recording(path) as recording:
        assert recording.count is None
        stamps = [view.stamp for view in recording.views]
    assert len(stamps) == 4
    assert all(np.diff(stamps) > 0)


def test_a_video_that_was_cut_off_gives_the_frames_that_it_has(tmp_path):
    path = video(tmp_path / "whole.avi", [(i, 100, 50) for i in range(40)])
    content = path.read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) // 2])
    with open_recording(tmp_path / "cut.avi") as recording:
        assert 5 < len(list(recording.views)) < 40


def test_a_video_without_frames_says_so(tmp_path):
    path = video(tmp_path / "whole.avi", [(1, 2, 3)] * 3)
    (tmp_path / "empty.avi").write_bytes(path.read_bytes()[:300])
    with pytest.raises(VideoError, match="decode"), open_recording(tmp_path / "empty.avi") as recording:
        list(recording.views)
