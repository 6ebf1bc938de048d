"""The catalogue: every category in every colour, well-formed solids, no faces that flicker."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loc3r_ros.world.draw import Draw
from loc3r_ros.world.furniture import CATALOGUE, CATEGORIES, MAX_SCALE, MIN_SCALE, build
from loc3r_ros.world.generate import make_scene
from loc3r_ros.world.materials import BOOKS, COLOURS, WALL_COLOURS
from loc3r_ros.world.render_pack import to_world
from loc3r_ros.world.scene import Mount, Shape
from loc3r_ros.world.solids import bounds

VARIANTS = 12  # of each builder: they draw shapes


def faces(primitive):
    """Yield axis, direction, offset and rectangle (2, 2) of the flat faces along the axes of the parent."""
    centre, half = np.array(primitive.centre), np.array(primitive.half)
    if primitive.shape is Shape.ELLIPSOID or not np.allclose(np.abs(primitive.rotation).max(axis=0), 1.0):
        return
    half = np.abs(primitive.rotation) @ half
    axes = (2,) if primitive.shape is Shape.CONE else (0, 1, 2)
    for axis, side in itertools.product(axes, (-1, 1)):
        across = [other for other in range(3) if other != axis]
        yield (
            axis,
            side,
            centre[axis] + side * half[axis],
            np.array([centre[across] - half[across], centre[across] + half[across]]),
        )


def inside_box(primitive, points):
    """Return which points (N, 3) lie inside a box; other shapes hide nothing for certain."""
    if primitive.shape is not Shape.BOX:
        return np.zeros(len(points), bool)
    local = (points - np.array(primitive.centre)) @ primitive.rotation
    return (np.abs(local) < np.array(primitive.half)).all(axis=1)


def flickering(primitives, is_visible):
    """Return pairs of solids with overlapping faces of one outward normal in one plane, of which something shows.

    `is_visible` says which points (N, 3) one can look at, as far as the solids themselves do not hide them.
    """
    listed = [(index, *face) for index, primitive in enumerate(primitives) for face in faces(primitive)]
    pairs = []
    for (i, axis, side, offset, a), (j, axis2, side2, offset2, b) in itertools.combinations(listed, 2):
        if i == j or (axis, side) != (axis2, side2) or abs(offset - offset2) > 5e-4:
            continue
        low, high = np.maximum(a[0], b[0]), np.minimum(a[1], b[1])
        if (high - low < 1e-6).any():
            continue
        points = np.empty((25, 3))
        points[:, axis] = max(offset * side, offset2 * side) * side + side * 1e-3
        grid = np.linspace(low, high, 7)[1:-1]
        points[:, [k for k in range(3) if k != axis]] = list(itertools.product(grid[:, 0], grid[:, 1]))
        shown = is_visible(points)
        for primitive in primitives:
            shown &= ~inside_box(primitive, points)
        if shown.any():
            pairs.append((i, j, axis, side))
    return pairs


def above_floor_and_before_wall(piece):
    back = -piece.size[0] / 2 if piece.mount in (Mount.AGAINST_WALL, Mount.ON_WALL) else -np.inf
    return lambda points: (points[:, 2] > 0) & (points[:, 0] > back)


def in_rooms(scene):
    lows = [np.array([r.x0, r.y0, 0.0]) for r in scene.rooms]
    highs = [np.array([r.x1, r.y1, scene.height]) for r in scene.rooms]
    if (door := scene.doorway) is not None:
        lows.append(np.array([door.x - 0.1, door.y - door.width / 2, 0.0]))
        highs.append(np.array([door.x + 0.1, door.y + door.width / 2, door.height]))
    pairs = list(zip(lows, highs, strict=True))
    return lambda p: np.any([((p > low) & (p < high)).all(axis=1) for low, high in pairs], axis=0)


@pytest.mark.parametrize("category", CATEGORIES)
def test_no_faces_share_a_plane(category):
    for seed in range(VARIANTS):
        piece = build(Draw(seed, "test"), category, "red", 1.0)
        assert not flickering(piece.primitives, above_floor_and_before_wall(piece)), seed


@pytest.mark.parametrize("seed", range(6))
def test_no_faces_of_the_rooms_share_a_plane_with_anything(seed):
    scene = make_scene(seed)
    solids = [primitive for primitive, _ in scene.shell]
    for item in scene.furniture:
        solids += [to_world(item, primitive) for primitive in item.primitives]
    assert not flickering(solids, in_rooms(scene))


def test_the_check_finds_a_flicker():
    solid = build(Draw(0, "test"), "box", "red", 1.0).primitives[0]
    assert flickering(
        [solid, replace(solid, half=(*solid.half[:2], 0.5 * solid.half[2]))], lambda points: points[:, 2] > 0
    )


@pytest.mark.parametrize("category", CATEGORIES)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(MIN_SCALE, MAX_SCALE))
def test_size_is_the_bounding_box(category, seed, scale):
    piece = build(Draw(seed, "test"), category, "blue", scale)
    low, high = bounds(piece.primitives)
    half = np.array(piece.size) / 2
    np.testing.assert_allclose(low, [-half[0], -half[1], 0.0], atol=1e-9)
    np.testing.assert_allclose(high, [half[0], half[1], piece.size[2]], atol=1e-9)
    assert piece.scale == scale
    assert piece.size[2] <= 2.5, "fits under the lowest ceiling"
    assert piece.name == f"blue {category}"


@pytest.mark.parametrize("category", CATEGORIES)
def test_scale_scales_everything(category):
    small, large = (build(Draw(3, "test"), category, "red", scale) for scale in (0.7, 1.4))
    np.testing.assert_allclose(np.array(large.size), 2 * np.array(small.size))
    for a, b in zip(small.primitives, large.primitives, strict=True):
        np.testing.assert_allclose(2 * np.array(a.half), b.half)
        assert a.material.scale == pytest.approx(2 * b.material.scale)


@pytest.mark.parametrize("category", CATEGORIES)
def test_shape_does_not_depend_on_colour(category):
    shapes = {
        tuple((p.shape, p.centre, p.half, p.taper) for p in build(Draw(1, "test"), category, colour, 1.0).primitives)
        for colour in COLOURS
    }
    assert len(shapes) == 1


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_category_shows_its_colour(category):
    """A good part of the surface has the colour or a shade of it, and only that part changes with the colour."""
    pieces = {colour: build(Draw(1, "test"), category, colour, 1.0).primitives for colour in COLOURS}
    for parts in zip(*pieces.values(), strict=True):
        assert len({part.material.colour for part in parts}) in (1, len(COLOURS))
    for colour, primitives in pieces.items():
        rival = pieces["red" if colour != "red" else "blue"]
        coloured = [a for a, b in zip(primitives, rival, strict=True) if a.material.colour != b.material.colour]
        assert sum(surface(p) for p in coloured) > 0.3 * sum(surface(p) for p in primitives)


def surface(primitive):
    a, b, c = primitive.half
    return a * b + b * c + c * a


def test_colours_are_far_apart_and_far_from_walls():
    """In display values (gamma 2), where equal steps look about equal."""
    shown = {name: np.sqrt(colour) for name, colour in COLOURS.items()}
    for (name, a), (other, b) in itertools.combinations(shown.items(), 2):
        assert np.linalg.norm(a - b) > 0.24, (name, other)
    for wall, (name, a) in itertools.product(WALL_COLOURS, shown.items()):
        assert np.linalg.norm(np.sqrt(wall) - a) > 0.24, (wall, name)


def test_neutral_parts_are_no_bright_colours():
    assert all(max(book) - min(book) < 0.25 for book in BOOKS)


def test_the_catalogue_has_twenty_categories():
    assert len(CATALOGUE) == 20
