"""Map and labels beside a saved memory: there and back, and refused where they are damaged."""

import json

import numpy as np
import pytest

from loc3r_ros import geometry
from loc3r_ros.alignment import Alignment
from loc3r_ros.errors import SessionError
from loc3r_ros.ros import session_notes
from loc3r_ros.ros.session_notes import RobotPose

ALIGNMENT = Alignment(3, np.array([1.0, 2.0, 0.5]), 1.25, np.diag([0.1, 0.2, 0.03, 0.04]), False, "a doubt")
LABELS = {"dock": RobotPose(geometry.from_planar((4.0, 5.0, 1.0)), 7), "Küche": RobotPose(np.eye(4), 8)}


def test_there_and_back():
    notes = session_notes.from_text(session_notes.to_text([ALIGNMENT], LABELS))
    (alignment,) = notes.alignments
    assert (alignment.anchor_id, alignment.scale, alignment.reason) == (3, 1.25, "a doubt")
    assert not alignment.has_odometry
    np.testing.assert_array_equal(alignment.target_t_anchor, ALIGNMENT.target_t_anchor)
    np.testing.assert_array_equal(alignment.covariance, ALIGNMENT.covariance)
    assert list(notes.labels) == ["dock", "Küche"] and notes.labels["dock"].stamp == 7
    np.testing.assert_array_equal(notes.labels["dock"].map_t_base, LABELS["dock"].map_t_base)


def test_a_memory_without_notes_has_none():
    assert session_notes.from_text("") == session_notes.Notes()


def damaged(change):
    values = json.loads(session_notes.to_text([ALIGNMENT], LABELS))
    change(values)
    return json.dumps(values)


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "[]",
        damaged(lambda v: v.pop("labels")),
        damaged(lambda v: v.update(format=99)),
        damaged(lambda v: v["anchors"][0].update(scale=-1.0)),
        damaged(lambda v: v["anchors"][0].update(covariance=[1.0])),
        damaged(lambda v: v["anchors"][0]["map_t_anchor"].__setitem__(0, float("nan"))),
        damaged(lambda v: v["labels"]["dock"].update(map_t_base=[[0.0] * 4] * 4)),
    ],
)
def test_what_is_damaged_is_refused(text):
    with pytest.raises(SessionError, match="session"):
        session_notes.from_text(text)
