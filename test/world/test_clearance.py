import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loc3r_ros.world.clearance import clearance, free_space, pull_taut, solids
from loc3r_ros.world.generate import make_scene
from loc3r_ros.world.scene import Mount

metres = st.floats(-3, 3)


@settings(max_examples=60, deadline=None)
@given(metres, metres, st.floats(-math.pi, math.pi), st.floats(0.1, 2), st.floats(0.1, 2), metres, metres)
def test_distance_to_a_rectangle_is_that_to_its_outline(x, y, yaw, half_x, half_y, px, py):
    solid = np.array([[x, y, math.cos(yaw), math.sin(yaw), half_x, half_y]])
    along = np.linspace(-1, 1, 801)
    edge = [(along, np.full(801, side)) for side in (-1, 1)] + [(np.full(801, side), along) for side in (-1, 1)]
    u, v = np.concatenate(edge, axis=1) * [[half_x], [half_y]]
    outline = np.stack([x + u * math.cos(yaw) - v * math.sin(yaw), y + u * math.sin(yaw) + v * math.cos(yaw)])
    expected = np.hypot(*(outline - [[px], [py]])).min()
    local = np.array([[math.cos(yaw), math.sin(yaw)], [-math.sin(yaw), math.cos(yaw)]]) @ [px - x, py - y]
    inside = (np.abs(local) < [half_x, half_y]).all()
    assert clearance(solid, np.array([[px, py]]))[0] == pytest.approx(-expected if inside else expected, abs=4e-3)


def two_rooms():
    return next(scene for scene in map(make_scene, range(50)) if scene.doorway is not None)


def test_outside_of_the_rooms_all_is_solid():
    scene = two_rooms()
    low = min(room.y0 for room in scene.rooms)
    outside = [[scene.rooms[0].x0 - 0.1, 1.0], [scene.rooms[1].x1 + 0.1, 1.0], [1.0, low - 0.1]]
    assert (clearance(solids(scene), np.array(outside)) < 0).all()


def test_the_doorway_is_the_only_way_through_the_wall():
    scene = two_rooms()
    door = scene.doorway
    y = np.linspace(scene.rooms[0].y0, scene.rooms[0].y1, 200)
    open_ = clearance(solids(scene), np.column_stack([np.full(200, door.x), y])) > 0
    assert open_.any()
    assert (np.abs(y[open_] - door.y) < door.width / 2).all()


def test_furniture_is_solid_but_what_lies_flat():
    for scene in map(make_scene, range(12)):
        bare = solids(scene)[: -sum(item.mount is not Mount.FLAT for item in scene.furniture) or None]
        for item in scene.furniture:
            at = clearance(solids(scene), np.array([item.position]))[0]
            assert at < 0 if item.mount is not Mount.FLAT else clearance(bare, np.array([item.position]))[0] > 0


def test_routes_lead_through_free_neighbouring_cells():
    space = free_space(two_rooms(), 0.3, 0.1)
    start, goal = int(space.points[:, 0].argmin()), int(space.points[:, 0].argmax())
    route = space.route(start, goal)
    np.testing.assert_array_equal(route[[0, -1]], space.points[[start, goal]])
    assert np.hypot(*np.diff(route, axis=0).T).max() <= 0.1 * math.sqrt(2) + 1e-9
    assert {tuple(point) for point in route} <= {tuple(point) for point in space.points}
    assert space.clearance.min() > 0.3


def test_a_taut_path_is_shorter_and_keeps_its_distance():
    solid = np.array([[0.0, 0.0, 1.0, 0.0, 0.5, 0.5]])
    x = np.linspace(-2, 2, 80)
    path = np.column_stack([x, 1.5 + 0.3 * np.sin(8 * x)])
    path[[0, -1], 1] = 0.0
    taut = pull_taut(path, solid, 0.3)
    length = [np.hypot(*np.diff(line, axis=0).T).sum() for line in (path, taut)]
    assert length[1] < 0.8 * length[0]
    assert clearance(solid, taut).min() >= 0.3
    np.testing.assert_array_equal(taut[[0, -1]], path[[0, -1]])
