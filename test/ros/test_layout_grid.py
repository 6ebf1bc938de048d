"""The layout as an occupancy grid."""

import numpy as np
import pytest

from loc3r_ros.interface import Layout
from loc3r_ros.ros.layout_grid import MOST_CELLS, layout_grid

NOW = 1_700_000_000_123_456_789


def grid_of(points, sigma, resolution=0.1):
    points = np.asarray(points, np.float64)
    layout = Layout(
        points, np.full((len(points), 2), sigma), np.zeros((len(points), 3), np.uint8), np.zeros(len(points), int), 0
    )
    message = layout_grid(layout, resolution, "map", NOW)
    info = message.info
    return info, np.array(message.data).reshape(info.height, info.width)


def cell(info, x, y):
    """Return row and column of the cell that holds a point."""
    origin = info.origin.position
    return int((y - origin.y) / info.resolution), int((x - origin.x) / info.resolution)


def test_many_points_in_one_place_make_it_certain_and_the_rest_stays_unseen():
    info, cells = grid_of([(1.05, -2.05)] * 100 + [(3.05, 4.05)], sigma=0.02)
    assert cells[cell(info, 1.05, -2.05)] == 100
    assert 40 < cells[cell(info, 3.05, 4.05)] < 64  # of one point, that hits or misses: at most 1 - 1 / e
    assert cells[cell(info, 2.05, 1.05)] == -1
    assert info.origin.position.x == pytest.approx(0.5)
    assert info.origin.position.y == pytest.approx(-2.6)


def test_a_point_is_spread_by_its_uncertainty():
    info, cells = grid_of([(0.05, 0.05)] * 50, sigma=0.3)
    row, column = cell(info, 0.05, 0.05)
    line = cells[row]
    assert (np.diff(line[column:].astype(int)) <= 0).all()
    np.testing.assert_array_equal(line, cells[:, column])
    counts = -np.log(1 - line[[column, column + 3]] / 100)  # expected points in a cell
    assert counts[1] / counts[0] == pytest.approx(np.exp(-0.5), abs=0.05)


def test_a_point_far_away_costs_no_memory():
    info, cells = grid_of([(0.0, 0.0)] * 9 + [(1e6, -1e6)], sigma=0.1)
    assert max(cells.shape) <= MOST_CELLS
    assert cells[cell(info, 0.01, 0.01)] > 0


def test_cells_lie_on_a_raster_that_does_not_move_with_the_points():
    origins = [grid_of([(x, 0.0)], 0.1)[0].origin.position.x for x in (0.0, 0.03, 7.77)]
    assert np.array(origins) / 0.1 == pytest.approx(np.rint(np.array(origins) / 0.1))
