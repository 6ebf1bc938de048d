"""Places in the map: which anchor they refer to, and what is said where the map does not know it."""

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from loc3r_ros import geometry
from loc3r_ros.camera_only import CameraOnly
from loc3r_ros.errors import NotReadyError
from loc3r_ros.interface import HEADING_BINS, Layout, Place, Trajectory
from loc3r_ros.keyframes import KeyframeBuffer, MotionPolicy
from loc3r_ros.ros.correction import Correction
from loc3r_ros.ros.placement import Placement
from loc3r_ros.ros.report import alignment_status

LEVEL = geometry.from_planar((0, 0, 0), 1.0) @ geometry.CAMERA_LINK_T_OPTICAL


class Model(CameraOnly):
    """A pose prior whose trajectory the test sets; the robot drives 0.5 m ahead from keyframe to keyframe."""

    def __init__(self, has_odometry=True):
        super().__init__(KeyframeBuffer(8, MotionPolicy()))
        self.anchor_id, self.has_odometry = 0, has_odometry
        self.cameras = np.array([geometry.from_planar((0.5 * n, 0, 0)) @ LEVEL for n in range(8)])

    def trajectory(self):
        odometry = geometry.from_planar((10.0, 0, 0)) @ self.cameras_driven
        odometry = odometry if self.has_odometry else np.full_like(odometry, np.nan)
        return Trajectory(self.anchor_id, 10**9 * np.arange(8), self.cameras, odometry, self.cameras[-1], 0.1, 0.05)

    @property
    def cameras_driven(self):
        return np.array([geometry.from_planar((0.5 * n, 0, 0)) @ LEVEL for n in range(8)])

    def layout(self):
        return Layout(np.eye(2), np.full((2, 2), 0.1), np.zeros((2, 3), np.uint8), np.zeros(2, np.int64), 0)


def place(anchor_id=0):
    uniform = np.full(HEADING_BINS, 1 / HEADING_BINS)
    return Place("here", np.array([1.0, 0.0, 0.0]), 0.01 * np.eye(3), uniform, 0.5, anchor_id, 0, 8)


def test_a_place_and_the_layout_go_through_odometry_into_the_map():
    correction, model = Correction(), Model()
    placement = Placement(correction, lambda: True)
    correction.seed(geometry.from_planar((0, 0, np.pi / 2)), np.eye(4), np.zeros((6, 6)))
    np.testing.assert_allclose(placement.locate(place(), model).pose, (0.0, 11.0, np.pi / 2), atol=1e-6)
    np.testing.assert_allclose(placement.layout(model).points, [(0.0, 11.0), (-1.0, 10.0)], atol=1e-6)
    assert placement.map_t_camera is None
    model.anchor_id = 1  # rebuilt while the question ran
    assert placement.locate(place(1), model).reason == placement.locate(place(0), model).reason == ""
    with pytest.raises(NotReadyError, match="ask again"):
        placement.locate(place(7), model)
    placement.reset()
    assert placement.alignment is None


def test_a_camera_in_another_place_is_told_and_does_not_move_the_anchor():
    placement, model = Placement(Correction(), lambda: True), Model()
    placement.update(model)
    good = placement.locate(place(), model)
    assert alignment_status(placement).level == DiagnosticStatus.OK
    model.cameras = model.cameras.copy()
    model.cameras[-2:, :2, 3] += 7.0
    placement.update(model)
    doubtful = placement.locate(place(), model)
    np.testing.assert_array_equal(doubtful.pose, good.pose)
    assert "9.90 m" in doubtful.reason and "jumped" in doubtful.reason
    assert np.trace(doubtful.covariance) > 10 * np.trace(good.covariance)
    status = alignment_status(placement)
    assert (status.level, status.message) == (DiagnosticStatus.WARN, doubtful.reason)


def test_without_odometry_the_map_begins_at_the_anchor():
    model = Model(has_odometry=False)
    placement = Placement(Correction(), lambda: False)
    np.testing.assert_array_equal(placement.locate(place(), model).pose, place().pose)
    np.testing.assert_allclose(placement.map_t_camera, model.cameras[-1])
    with pytest.raises(NotReadyError, match="without odometry"):  # it makes the map, and the memory has none
        Placement(Correction(), lambda: True).locate(place(), model)


def test_without_a_model_nothing_is_aligned():
    placement = Placement(Correction(), lambda: True)
    placement.update(CameraOnly(KeyframeBuffer(8, MotionPolicy())))
    assert placement.alignment is None


def test_a_pose_that_is_told_without_odometry_moves_the_map():
    model = Model(has_odometry=False)
    placement = Placement(Correction(), lambda: False)
    with pytest.raises(NotReadyError):
        placement.pin(np.zeros(3), np.eye(3), np.zeros(3), 0)
    placement.update(model)
    assert not placement.is_localized
    seen = geometry.planar(geometry.world_t_anchor(placement.map_t_camera))
    told = np.array([4.0, 5.0, 1.0])
    placement.pin(told, np.diag([0.04, 0.01, 0.001]), seen, 10**10)
    placement.update(model)
    assert placement.is_localized
    np.testing.assert_allclose(geometry.planar(geometry.world_t_anchor(placement.map_t_camera)), told, atol=1e-9)
    variances = np.diag(placement.camera_covariance)[[0, 1, 5]]
    np.testing.assert_allclose(variances, [0.04 + 2 * 0.1**2, 0.01 + 2 * 0.1**2, 0.001 + 2 * 0.05**2], rtol=0.03)


def test_a_saved_map_is_loose_until_the_odometry_is_tied_to_it():
    correction, model = Correction(), Model()
    before = Placement(correction, lambda: True)
    correction.seed(geometry.from_planar((3.0, 0, 0)), geometry.from_planar((10.0, 0, 0)), np.zeros((6, 6)))
    saved = before.saved(model)
    np.testing.assert_allclose(saved[0].target_t_anchor, (3.0, 0, 0), atol=1e-6)
    assert not saved[0].has_odometry
    correction.reset()  # a new run, whose odometry begins elsewhere
    after = Placement(correction, lambda: True)
    after.restore(saved, 0)
    assert after.is_loose and not after.is_localized
    model.has_odometry = False  # its keyframes are those of the last run
    assert "not tied" in after.locate(place(), model).reason
    np.testing.assert_allclose(after.locate(place(), model).pose, (4.0, 0, 0), atol=1e-6)
    model.has_odometry = True
    located = after.locate(place(), model) if after.update(model) is None else None
    assert not after.is_loose and after.is_localized and located.reason == ""
    np.testing.assert_allclose(located.pose, (4.0, 0, 0), atol=1e-6)
    np.testing.assert_allclose(geometry.planar(correction.map_t_odom)[:2], (-7.0, 0.0), atol=1e-6)


def test_a_doubt_about_the_odometry_is_not_told_again_by_the_next_run():
    placement, model = Placement(Correction(), lambda: True), Model()
    placement.update(model)
    sure = placement.alignment
    model.cameras = geometry.from_planar((0, 0, 1.0)) @ model.cameras  # the pose prior changes its mind
    (saved,) = placement.saved(model)
    assert "changed its mind" in placement.alignment.reason and not sure.reason
    assert saved.reason == "" and not saved.has_odometry
    assert saved.covariance[2, 2] >= placement.alignment.covariance[2, 2]


def test_a_pose_that_is_told_ties_a_saved_map_by_hand():
    correction, model = Correction(), Model(has_odometry=False)
    placement = Placement(correction, lambda: True)
    placement.update(model)
    placement.restore((placement.alignment,), 0)
    placement.update(model)
    correction.seed(geometry.from_planar((2.0, 0, 0)), np.eye(4), np.zeros((6, 6)))
    placement.tell(0)
    assert placement.alignment.has_odometry and not placement.is_loose
    np.testing.assert_allclose(placement.locate(place(), model).pose, (1.0, 0, 0), atol=1e-6)  # where it was saved
