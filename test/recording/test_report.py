"""Keyframes of a report lie in the anchor frame, whoever gave their poses."""

import dataclasses

import numpy as np
import pytest

from loc3r_ros import geometry
from loc3r_ros.errors import NotReadyError
from loc3r_ros.interface import Keyframe
from loc3r_ros.memory.snapshot import Anchor
from loc3r_ros.recording.report import Watched, keyframe_poses, make_report


def camera(x, y, heading, pitch=0.0):
    """Return the pose of a camera 1.2 m above the floor; a positive pitch looks down."""
    return geometry.from_position_rpy([x, y, 1.2], 0, pitch, heading) @ geometry.CAMERA_LINK_T_OPTICAL


ANCHOR = Anchor(
    id=2,
    stamp=0,
    anchor_t_first=camera(0, 0, 0, pitch=0.5),  # the pose prior believes that the camera is tilted
    reference_t_first=camera(3.0, 1.0, np.pi / 2, pitch=0.1),
    reference="odom",
)


def test_odometry_moves_to_the_anchor_without_a_change_of_distances():
    poses = [camera(3.0, 1.0, np.pi / 2, 0.1), camera(3.0, 4.0, np.pi / 2, 0.1), camera(1.0, 1.0, np.pi, 0.1)]
    keyframes = [Keyframe(i, i, None, pose, "odom") for i, pose in enumerate(poses)]
    expected = [(0, 0, 0), (3, 0, 0), (0, 2, np.pi / 2)]
    np.testing.assert_allclose(keyframe_poses(keyframes, ANCHOR), expected, atol=1e-9)


def test_the_pose_prior_speaks_of_the_anchor_already_and_the_unknown_stays_unknown():
    keyframes = [Keyframe(0, 0, None, camera(1.0, 2.0, 0.3), "anchor"), Keyframe(1, 1, None, None)]
    poses = keyframe_poses(keyframes, ANCHOR)
    np.testing.assert_allclose(poses[0], (1.0, 2.0, 0.3), atol=1e-9)
    assert np.isnan(poses[1]).all()
    lost = dataclasses.replace(ANCHOR, reference_t_first=None, reference="")
    assert np.isnan(keyframe_poses([Keyframe(0, 0, None, camera(1, 2, 0), "odom")], lost)).all()


def test_a_recording_without_frames_has_no_report():
    with pytest.raises(NotReadyError, match="no frame"):
        make_report(None, Watched(0, 0, 0.0), ["I am here."], [])
