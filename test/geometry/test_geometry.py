"""Properties of poses, angles and covariances, and agreement with scipy and transforms3d."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp
from transforms3d import euler

from loc3r_ros import geometry as g
from loc3r_ros.errors import Loc3RError, PoseError

ANY_ANGLE = st.floats(-1e3, 1e3)
METRES = st.floats(-50, 50)
SMALL = st.floats(-3, 3)
UNIT = st.floats(0, 1)
POINTS = st.lists(st.tuples(METRES, METRES, METRES), min_size=1, max_size=5).map(np.array)


@st.composite
def poses2(draw):
    return np.array([draw(METRES), draw(METRES), draw(st.floats(-math.pi, math.pi, exclude_max=True))])


@st.composite
def poses(draw):
    quaternion = np.array([draw(st.floats(-1, 1)) for _ in range(4)])
    if np.linalg.norm(quaternion) < 1e-3:
        quaternion = np.array([0.0, 0, 0, 1])
    position = [draw(METRES) for _ in range(3)]
    return g.make_pose(Rotation.from_quat(quaternion).as_matrix(), position)


@st.composite
def covariances(draw, size):
    """Positive semi-definite, of any rank."""
    root = np.array([[draw(SMALL) for _ in range(size)] for _ in range(size)])
    return root @ root.T


def close(a, b, tolerance=1e-9):
    np.testing.assert_allclose(a, b, atol=tolerance, rtol=0)


def close2(a, b):
    close(a[:2], b[:2], 1e-7)
    close(g.angle_difference(a[2], b[2]), 0.0, 1e-9)


class TestAngles:
    @given(ANY_ANGLE)
    def test_wraps_into_the_half_open_interval_without_changing_the_direction(self, angle):
        wrapped = g.wrap_angle(angle)
        assert -math.pi <= wrapped < math.pi
        close([math.cos(wrapped), math.sin(wrapped)], [math.cos(angle), math.sin(angle)])

    @pytest.mark.parametrize(
        ("angle", "expected"),
        [(math.pi, -math.pi), (-math.pi, -math.pi), (3 * math.pi, -math.pi), (0.0, 0.0), (2 * math.pi, 0.0)],
    )
    def test_wraps_the_borders(self, angle, expected):
        assert g.wrap_angle(angle) == pytest.approx(expected, abs=1e-12)

    def test_stays_below_pi_where_rounding_reaches_it(self):
        assert g.wrap_angle(np.nextafter(-math.pi, -4)) < math.pi
        assert g.wrap_angle(-math.pi - 1e-17) < math.pi

    def test_wraps_arrays(self):
        close(g.wrap_angle([[4.0, -4.0]]), [[4 - 2 * math.pi, 2 * math.pi - 4]])

    @given(ANY_ANGLE, ANY_ANGLE)
    def test_difference_is_the_short_way(self, a, b):
        difference = g.angle_difference(a, b)
        close(g.wrap_angle(b + difference - a), 0.0)
        assert abs(difference) <= math.pi

    @given(ANY_ANGLE, st.floats(0, 1.5))
    def test_mean_of_two_is_between_them_across_the_border(self, middle, half):
        mean = g.circular_mean([middle - half, middle + half])
        close(g.angle_difference(mean, middle), 0.0, 1e-7)

    def test_mean_counts_weights(self):
        assert g.circular_mean([0.0, math.pi / 2], weights=[1, 0]) == pytest.approx(0.0)
        assert g.circular_mean([3.0, -3.0], weights=[1, 1]) == pytest.approx(-math.pi)

    @given(ANY_ANGLE, st.integers(1, 5))
    def test_deviation_of_equal_angles_is_zero(self, angle, count):
        assert g.circular_std([angle] * count) == pytest.approx(0.0, abs=1e-6)

    def test_deviation_of_a_narrow_distribution_is_the_ordinary_one_wherever_it_lies(self):
        sample = np.random.default_rng(0).normal(0.0, 0.05, 4000)
        for centre in (0.0, math.pi, -2.0):
            assert g.circular_std(sample + centre) == pytest.approx(sample.std(), rel=0.01)

    def test_deviation_of_opposite_angles_is_unbounded(self):
        assert g.circular_std([0.0, math.pi]) > 5.0


class TestGroups:
    @given(poses2(), poses2(), poses2())
    def test_the_plane_composes_associatively(self, a, b, c):
        close2(g.compose2(g.compose2(a, b), c), g.compose2(a, g.compose2(b, c)))

    @given(poses2())
    def test_the_plane_has_inverses(self, pose):
        close2(g.compose2(pose, g.invert2(pose)), np.zeros(3))
        close2(g.compose2(g.invert2(pose), pose), np.zeros(3))
        close2(g.compose2(pose, np.zeros(3)), pose)

    @given(poses2(), poses2(), POINTS)
    def test_points_of_the_plane_follow_the_composition(self, a, b, points):
        there = g.transform_points2(a, g.transform_points2(b, points[:, :2]))
        close(g.transform_points2(g.compose2(a, b), points[:, :2]), there, 1e-7)

    @given(poses(), poses())
    def test_space_has_inverses_and_relative_poses(self, a, b):
        close(a @ g.invert(a), np.eye(4), 1e-9)
        close(a @ g.relative(a, b), b, 1e-9)
        assert g.is_valid_pose(g.relative(a, b))

    @given(poses(), poses(), POINTS)
    def test_points_of_space_follow_the_composition(self, a, b, points):
        close(g.transform_points(a @ b, points), g.transform_points(a, g.transform_points(b, points)), 1e-7)
        close(g.transform_points(g.invert(a), g.transform_points(a, points)), points, 1e-7)

    @given(poses2(), poses2())
    def test_the_plane_lies_in_space(self, a, b):
        """from_planar is a homomorphism, and planar its left inverse."""
        close(g.from_planar(a) @ g.from_planar(b), g.from_planar(g.compose2(a, b)), 1e-7)
        close(g.invert(g.from_planar(a)), g.from_planar(g.invert2(a)), 1e-7)
        close2(g.planar(g.from_planar(a, 1.5)), a)

    @given(poses())
    def test_rotation_angle_is_that_of_scipy(self, pose):
        assert g.rotation_angle(pose) == pytest.approx(Rotation.from_matrix(pose[:3, :3]).magnitude(), abs=1e-7)

    @pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-5, 1.0, math.pi - 1e-7])
    def test_rotation_angle_is_exact_at_the_ends(self, angle):
        pose = g.make_pose(Rotation.from_rotvec([0, angle, 0]).as_matrix(), np.zeros(3))
        assert g.rotation_angle(pose) == pytest.approx(angle, rel=1e-6, abs=1e-12)


class TestConversions:
    @given(poses())
    def test_quaternions_return(self, pose):
        position, quaternion = g.to_position_quaternion(pose)
        assert quaternion[3] >= 0
        assert np.linalg.norm(quaternion) == pytest.approx(1.0, abs=1e-12)
        close(g.from_position_quaternion(position, quaternion), pose, 1e-7)

    @given(poses())
    def test_quaternions_are_in_the_order_of_scipy_and_ros(self, pose):
        ours = Rotation.from_quat(g.to_position_quaternion(pose)[1])
        assert (ours.inv() * Rotation.from_matrix(pose[:3, :3])).magnitude() < 1e-7

    def test_a_quarter_turn_has_the_quaternion_that_ros_writes(self):
        pose = g.from_position_quaternion([1, 2, 3], [0, 0, math.sqrt(0.5), math.sqrt(0.5)])
        close(g.transform_points(pose, [1, 0, 0]), [1, 3, 3])

    @given(SMALL, st.floats(-1.5, 1.5), SMALL)
    def test_euler_angles_return_and_agree_with_both_libraries(self, roll, pitch, yaw):
        pose = g.from_position_rpy([1, 2, 3], roll, pitch, yaw)
        close(pose[:3, :3], Rotation.from_euler("xyz", [roll, pitch, yaw]).as_matrix())
        close(pose[:3, :3], euler.euler2mat(roll, pitch, yaw))
        close(g.roll_pitch_yaw(pose), [roll, pitch, yaw], 1e-6)

    @pytest.mark.parametrize("pitch", [math.pi / 2, -math.pi / 2])
    def test_euler_angles_at_the_pole_still_make_the_rotation(self, pitch):
        pose = g.from_position_rpy([0, 0, 0], 0.3, pitch, 0.8)
        angles = g.roll_pitch_yaw(pose)
        assert angles[2] == 0.0
        close(g.from_position_rpy([0, 0, 0], *angles), pose, 1e-6)


class TestValidation:
    @given(poses())
    def test_poses_pass(self, pose):
        assert g.check_pose(pose.tolist()).dtype == np.float64

    @pytest.mark.parametrize(
        ("pose", "says"),
        [
            (np.full((4, 4), np.nan), "not finite"),
            (np.eye(3), "4 x 4"),
            (np.diag([1.0, 1, -1, 1]), "rotation"),
            (np.diag([2.0, 2, 2, 1]), "rotation"),
            (np.vstack([np.eye(4)[:3], [0, 0, 1, 1]]), "0 0 0 1"),
            (g.make_pose(np.eye(3), [0, np.inf, 0]), "not finite"),
        ],
    )
    def test_others_are_refused_with_the_reason(self, pose, says):
        assert not g.is_valid_pose(pose)
        with pytest.raises(PoseError, match=says) as error:
            g.check_pose(pose, "The odometry")
        assert str(error.value).startswith("The odometry")

    @pytest.mark.parametrize(
        ("position", "quaternion", "says"),
        [
            ([0, 0, np.nan], [0, 0, 0, 1], "not finite"),
            ([0, 0, 0], [0, 0, 0, 0], "length 0"),
            ([0, 0, 0], [0, 0, 0, 2], "length 2"),
            ([0, 0], [0, 0, 0, 1], "3 position"),
        ],
    )
    def test_quaternions_must_be_normalised(self, position, quaternion, says):
        with pytest.raises(Loc3RError, match=says):
            g.from_position_quaternion(position, quaternion)

    @given(poses(), st.floats(0.991, 1.009))
    def test_a_slightly_long_quaternion_still_makes_a_rotation(self, pose, length):
        position, quaternion = g.to_position_quaternion(pose)
        close(g.from_position_quaternion(position, length * quaternion), pose, 1e-7)


def camera(x, y, z, yaw, pitch=0.0, roll=0.0):
    """A camera whose body has REP-103 angles: positive pitch looks down."""
    return g.from_position_rpy([x, y, z], roll, pitch, yaw) @ g.CAMERA_LINK_T_OPTICAL


class TestCameras:
    def test_optical_axes_are_those_of_rep_103(self):
        right, down, forward = np.eye(3)
        close(g.transform_points(g.CAMERA_LINK_T_OPTICAL, [right, down, forward]), [[0, -1, 0], [0, 0, -1], [1, 0, 0]])
        assert g.is_valid_pose(g.CAMERA_LINK_T_OPTICAL)
        with pytest.raises(ValueError, match="read-only"):
            g.CAMERA_LINK_T_OPTICAL[0, 0] = 1.0

    @given(METRES, METRES, st.floats(0, 3), SMALL, st.floats(-1.5, 1.5), st.floats(-0.5, 0.5))
    def test_the_anchor_stands_upright_on_the_floor_and_faces_as_the_camera(self, x, y, z, yaw, pitch, roll):
        world_t_camera = camera(x, y, z, yaw, pitch, roll)
        anchor = g.world_t_anchor(world_t_camera, floor_height=0.25)
        close(anchor[:3, 3], [x, y, 0.25])
        close(anchor[:3, 2], [0, 0, 1])
        assert g.is_valid_pose(anchor)
        close(g.angle_difference(g.camera_heading(world_t_camera), yaw), 0.0, 1e-6 if roll == 0 else 0.6)
        looks_at = g.transform_points(g.invert(anchor), g.transform_points(world_t_camera, [0, 0, 5]))
        if abs(pitch) < 1.4:
            assert looks_at[0] > 0
            assert looks_at[1] == pytest.approx(0.0, abs=1e-6)

    @given(METRES, st.floats(0, 3), SMALL, st.floats(-1.5, 1.5))
    def test_the_anchor_does_not_depend_on_the_world_frame(self, x, z, yaw, pitch):
        """Moving the world about its vertical moves the anchor with it."""
        world_t_camera = camera(x, 1.0, z, yaw, pitch)
        moved = g.from_planar([3.0, -2.0, 1.1])
        close(g.world_t_anchor(moved @ world_t_camera), moved @ g.world_t_anchor(world_t_camera), 1e-7)

    @pytest.mark.parametrize("pitch", [math.pi / 2, -math.pi / 2])
    @pytest.mark.parametrize("yaw", [0.0, 1.0, -2.5])
    def test_a_vertical_view_keeps_the_heading_that_it_was_pitched_with(self, yaw, pitch):
        for nearly in (0.0, 1e-9, 1e-3, 0.03, 0.2):
            heading = g.camera_heading(camera(0, 0, 1, yaw, math.copysign(abs(pitch) - nearly, pitch)))
            close(g.angle_difference(heading, yaw), 0.0, 1e-6)

    @pytest.mark.parametrize("tilt", [-0.01, 0.01])
    def test_a_view_straight_down_is_not_led_by_its_noise(self, tilt):
        """A tilt of half a degree to the side must not turn the heading by a quarter."""
        leaning = camera(0, 0, 1, yaw=1.0, pitch=math.pi / 2) @ g.from_position_rpy([0, 0, 0], 0, tilt, 0)
        assert abs(g.angle_difference(g.camera_heading(leaning), 1.0)) < 0.02

    @given(st.floats(-2, 2), st.floats(-1.5, 1.5), st.floats(0.2, 20))
    def test_projection_agrees_with_the_pinhole_formula(self, x, y, z):
        k = np.array([[500.0, 0, 320], [0, 480, 240], [0, 0, 1]])
        pixels, in_front = g.project(k, [[x, y, z], [x, y, -z], [x, y, 0.0]])
        assert in_front.tolist() == [True, False, False]
        close(pixels[0], [500 * x / z + 320, 480 * y / z + 240], 1e-6)
        assert np.isnan(pixels[1:]).all()


def is_positive_semidefinite(matrix):
    return np.allclose(matrix, matrix.T) and np.linalg.eigvalsh(matrix).min() > -1e-9 * max(np.abs(matrix).max(), 1.0)


class TestCovariances:
    @given(covariances(3), covariances(6), poses())
    def test_rotation_keeps_them_positive_and_their_size(self, planar, full, pose):
        heading = g.planar(pose)[2]
        for covariance, rotation in ((planar, g.rotation2(heading)), (full, pose[:3, :3])):
            rotated = g.rotate_covariance(covariance, rotation)
            assert is_positive_semidefinite(rotated)
            close(np.trace(rotated), np.trace(covariance), 1e-6)
            close(g.rotate_covariance(rotated, rotation.T), covariance, 1e-6)

    def test_rotation_by_a_quarter_turn_swaps_the_axes(self):
        close(np.diag(g.rotate_covariance(np.diag([4.0, 1, 9]), g.rotation2(math.pi / 2))), [1, 4, 9])
        quarter = g.from_planar([5, 6, math.pi / 2])[:3, :3]
        close(np.diag(g.rotate_covariance(np.diag([4.0, 1, 9, 2, 3, 7]), quarter)), [1, 4, 9, 3, 2, 7])

    @given(covariances(3), covariances(6), poses2(), poses())
    def test_transport_keeps_them_positive_and_returns(self, planar, full, pose2, pose):
        there = g.transport_covariance(planar, g.adjoint2(pose2))
        assert is_positive_semidefinite(there)
        close(g.transport_covariance(there, g.adjoint2(g.invert2(pose2))), planar, 1e-4)
        there = g.transport_covariance(full, g.adjoint(pose))
        assert is_positive_semidefinite(there)
        close(g.transport_covariance(there, g.adjoint(g.invert(pose))), full, 1e-3)

    @given(poses(), poses(), poses2(), poses2())
    def test_adjoints_multiply_as_poses_do(self, a, b, a2, b2):
        close(g.adjoint(a @ b), g.adjoint(a) @ g.adjoint(b), 1e-6)
        close(g.adjoint2(g.compose2(a2, b2)), g.adjoint2(a2) @ g.adjoint2(b2), 1e-6)

    @given(poses2())
    def test_the_adjoint_of_the_plane_is_that_of_space(self, pose2):
        planar_rows = np.ix_([0, 1, 5], [0, 1, 5])
        close(g.adjoint2(pose2), g.adjoint(g.from_planar(pose2))[planar_rows], 1e-9)

    @given(poses())
    def test_the_adjoint_moves_velocities(self, pose):
        """The derivative of T exp(twist) T^-1 at 0 is the twist that the adjoint gives."""
        twist, step = np.array([0.3, -0.2, 0.5, 0.1, 0.4, -0.3]), 1e-6
        small = g.make_pose(Rotation.from_rotvec(step * twist[3:]).as_matrix(), step * twist[:3])
        moved = pose @ small @ g.invert(pose)
        turned = Rotation.from_matrix(moved[:3, :3]).as_rotvec()
        close(np.r_[moved[:3, 3], turned] / step, g.adjoint(pose) @ twist, 1e-3)

    @given(poses2(), poses2(), covariances(3), covariances(3))
    @settings(max_examples=20)
    def test_composition_is_the_first_order_of_the_composed_numbers(self, a, b, first, second):
        step = 1e-6
        jacobians = []
        for which in (0, 1):
            columns = []
            for axis in np.eye(3):
                moved = [a, b]
                moved[which] = moved[which] + step * axis
                change = g.compose2(*moved) - g.compose2(a, b)
                columns.append(np.r_[change[:2], g.wrap_angle(change[2])] / step)
            jacobians.append(np.array(columns).T)
        expected = jacobians[0] @ first @ jacobians[0].T + jacobians[1] @ second @ jacobians[1].T
        composed = g.compose2_covariance(a, first, b, second)
        assert is_positive_semidefinite(composed)
        np.testing.assert_allclose(composed, expected, rtol=1e-3, atol=1e-2)


class TestInterpolation:
    @given(poses(), poses())
    def test_ends_are_the_poses(self, a, b):
        close(g.interpolate(a, b, 0.0), a)
        close(g.interpolate(a, b, 1.0), b, 1e-7)

    @given(poses(), poses(), UNIT)
    def test_agrees_with_scipy_and_stays_a_pose(self, a, b, fraction):
        between = g.interpolate(a, b, fraction)
        assert g.is_valid_pose(between)
        if g.rotation_angle(g.relative(a, b)) < math.pi - 1e-3:  # at a half turn both ways round are as short
            slerp = Slerp([0, 1], Rotation.from_matrix([a[:3, :3], b[:3, :3]]))
            close(between[:3, :3], slerp(fraction).as_matrix(), 1e-6)
        close(between[:3, 3], (1 - fraction) * a[:3, 3] + fraction * b[:3, 3])

    def test_small_turns_are_not_lost(self):
        b = g.from_position_rpy([0, 0, 0], 0, 0, 2e-9)
        assert g.planar(g.interpolate(np.eye(4), b, 0.5))[2] == pytest.approx(1e-9, rel=1e-6)

    def test_pose_at_a_stamp(self):
        stamps = [10, 20, 40]
        track = [g.from_planar([x, 0, yaw]) for x, yaw in ((0, 0.0), (1, 0.2), (2, 0.4))]
        close(g.planar(g.pose_at(15, stamps, track)), [0.5, 0, 0.1])
        close(g.planar(g.pose_at(35, stamps, np.array(track))), [1.75, 0, 0.35])
        for stamp, pose in zip(stamps, track, strict=True):
            assert np.array_equal(g.pose_at(stamp, stamps, track), pose)

    @pytest.mark.parametrize(("stamp", "stamps"), [(9, [10, 20]), (21, [10, 20]), (5, [])])
    def test_pose_outside_the_stamps_is_none(self, stamp, stamps):
        assert g.pose_at(stamp, stamps, [np.eye(4)] * len(stamps)) is None

    def test_nanosecond_stamps_of_this_century_keep_their_precision(self):
        begin = 1_700_000_000_000_000_000
        track = [np.eye(4), g.make_pose(np.eye(3), [1, 0, 0])]
        assert g.pose_at(begin + 25_000_001, [begin, begin + 100_000_000], track)[0, 3] == pytest.approx(0.25000001)
