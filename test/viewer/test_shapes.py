"""Outlines, meshes, colours and the point of view."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from loc3r_ros.viewer import shapes

angles = st.floats(-math.pi, math.pi)
lengths = st.floats(0.05, 5.0)
sigmas = st.floats(0.01, 3.0)


@st.composite
def covariances(draw):
    turn, first, second = draw(angles), draw(sigmas), draw(sigmas)
    axes = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return axes @ np.diag([first**2, second**2]) @ axes.T


def area(outline):
    """Return the area of a polygon, positive where it runs counter-clockwise."""
    x, y = outline.T
    return 0.5 * float(x @ np.roll(y, -1) - y @ np.roll(x, -1))


def normals(vertices, faces):
    first, second, third = (vertices[faces[:, i]] for i in range(3))
    return 0.5 * np.cross(second - first, third - first)


def volume(vertices, faces):
    first, second, third = (vertices[faces[:, i]] for i in range(3))
    return float(np.einsum("ij,ij->", first, np.cross(second, third))) / 6.0


@given(covariances(), lengths)
def test_an_ellipse_has_the_mahalanobis_distance_asked_for_and_runs_counter_clockwise(covariance, number):
    outline = shapes.ellipse(covariance, number)
    distances = np.einsum("ij,jk,ik->i", outline, np.linalg.inv(covariance), outline)
    np.testing.assert_allclose(distances, number**2, rtol=1e-6)
    assert area(outline) == pytest.approx(math.pi * number**2 * math.sqrt(np.linalg.det(covariance)), rel=0.01)


def test_a_covariance_that_rounding_made_negative_gives_a_line():
    outline = shapes.ellipse(np.array([[1.0, 1.0], [1.0, 1.0 - 1e-15]]), 1.0)
    np.testing.assert_allclose(outline[:, 0], outline[:, 1], atol=1e-6)


@given(arrays(float, 36, elements=st.floats(0.0, 1.0)).filter(lambda p: p.sum() > 0.1), lengths)
def test_the_petals_of_a_rose_have_the_areas_of_the_probabilities(weights, radius):
    probabilities = weights / weights.sum()
    outline = shapes.rose(probabilities, radius)
    petals = np.array([area(np.vstack([np.zeros(2), petal])) for petal in outline.reshape(36, -1, 2)])
    np.testing.assert_allclose(petals / petals.sum(), probabilities, atol=1e-9)
    assert np.linalg.norm(outline, axis=1).max() == pytest.approx(radius)


@pytest.mark.parametrize(
    ("bin_index", "heading"), [(0, -math.pi + math.pi / 36), (18, math.pi / 36), (27, math.pi / 2)]
)
def test_a_petal_points_along_its_bin(bin_index, heading):
    outline = shapes.rose(np.eye(36)[bin_index], 1.0)
    longest = outline[np.linalg.norm(outline, axis=1) > 0.5]
    assert abs(math.remainder(np.arctan2(*longest.mean(axis=0)[::-1]) - heading, math.tau)) <= math.pi / 36 + 1e-9


@given(angles, st.floats(0.01, 10.0), lengths)
def test_a_sector_holds_the_angles_asked_for_and_no_more_than_a_disc(heading, half_angle, radius):
    outline = shapes.sector(heading, half_angle, radius)
    np.testing.assert_array_equal(outline[0], 0.0)
    off = np.array([math.remainder(turn - heading, math.tau) for turn in np.arctan2(outline[1:, 1], outline[1:, 0])])
    assert np.abs(off).max() == pytest.approx(min(half_angle, math.pi), abs=1e-6)
    np.testing.assert_allclose(np.linalg.norm(outline[1:], axis=1), radius)


@given(covariances(), st.floats(-1.0, 1.0))
def test_a_fan_covers_its_outline_once_and_faces_up(covariance, height):
    outline = shapes.ellipse(covariance, 1.0)
    vertices, faces = shapes.fan(outline, height)
    assert (vertices[:, 2] == height).all()
    parts = normals(vertices, faces)
    assert (parts[:, 2] > 0).all()
    assert parts[:, 2].sum() == pytest.approx(area(outline))


@pytest.mark.parametrize("outline", [shapes.arrow(0.3), shapes.ellipse(np.eye(2), 0.2)], ids=["arrow", "disc"])
def test_a_prism_encloses_its_volume_and_faces_outwards(outline):
    assert area(outline) > 0
    assert volume(*shapes.prism(outline, 0.5)) == pytest.approx(0.5 * area(outline))  # its open bottom is at z = 0


def test_lines_join_their_points():
    points = np.arange(12.0).reshape(4, 3)
    np.testing.assert_array_equal(shapes.polyline(points)[:, 1], points[1:])
    ring = shapes.loop(points[:, :2], 0.5)
    np.testing.assert_array_equal(ring[:, 1], np.roll(ring[:, 0], -1, axis=0))
    assert (ring[..., 2] == 0.5).all()


def test_colours_go_over_into_the_background_where_a_point_is_uncertain():
    colour = np.full((3, 3), (200, 100, 0), np.uint8)
    faded = shapes.fade(colour, np.array([0.0, shapes.SHARP, 1e6]), (0, 50, 100))
    np.testing.assert_array_equal(faded, [(200, 100, 0), (100, 75, 50), (0, 50, 100)])


@given(arrays(float, st.integers(0, 40), elements=sigmas), st.integers(1, 50))
def test_the_surest_points_are_kept_in_their_order(sigma, most):
    kept = shapes.surest(sigma, most)
    assert len(kept) == min(most, len(sigma))
    assert (np.diff(kept) > 0).all()
    left_out = np.delete(sigma, kept)
    assert not len(left_out) or sigma[kept].max() <= left_out.min()


@pytest.mark.parametrize("size", [(480, 640), (30, 20), (1, 1000)])
def test_an_image_fits_its_long_side(size):
    image = np.full((*size, 3), 77, np.uint8)
    fitted = shapes.fit(image, 100)
    assert max(fitted.shape[:2]) == 100
    assert min(fitted.shape[:2]) == max(1, round(100 * min(size) / max(size)))
    assert (fitted == 77).all()


@given(
    arrays(float, st.tuples(st.integers(1, 20), st.just(3)), elements=st.floats(-30.0, 30.0)),
    st.floats(0.3, 2.0),
    st.floats(0.4, 3.0),
)
def test_the_overview_shows_every_point(points, field_of_view, aspect):
    position, centre = shapes.overview(points, field_of_view, aspect)
    right, up, forward = shapes.VIEW_AXES
    np.testing.assert_allclose((centre - position) / np.linalg.norm(centre - position), forward, atol=1e-9)
    depth = (points - position) @ forward
    assert (depth > 0).all()
    slope = math.tan(field_of_view / 2.0)
    assert (np.abs((points - position) @ up) <= slope * depth + 1e-6).all()
    assert (np.abs((points - position) @ right) <= slope * aspect * depth + 1e-6).all()


def test_the_axes_of_the_overview_are_a_camera_s():
    right, up, forward = shapes.VIEW_AXES
    np.testing.assert_allclose(shapes.VIEW_AXES @ shapes.VIEW_AXES.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.cross(right, forward), up, atol=1e-12)
    assert forward[2] < 0 < up[2]
