"""The layout as a grid: how likely the model saw something in each cell."""

from __future__ import annotations

import array
import math

import numpy as np
from nav_msgs.msg import OccupancyGrid

from loc3r_ros.interface import FloatArray, Layout
from loc3r_ros.ros.conversions import time_message

MOST_CELLS = 512
"""Cells of a side; what lies further from the middle is left out."""
MARGIN = 0.5
"""Metres around the points."""
LEAST = 0.01
"""A probability below which a cell counts as not seen."""
UNSEEN = -1


def layout_grid(layout: Layout, resolution: float, frame: str, stamp: int) -> OccupancyGrid:
    """Return the message of a layout whose points lie in `frame`.

    The points are those of the floor, too: the grid says what was seen where, not where a robot may drive.

    Args:
        layout: in `frame`.
        resolution: side of a cell, metres.
        frame: name of the frame.
        stamp: ns.
    """
    sigma = np.sqrt((layout.sigma**2).mean(axis=1))
    (left, columns), (bottom, rows) = (_extent(layout.points[:, axis], resolution) for axis in (0, 1))
    by_column = _shares(layout.points[:, 0] - left, sigma, columns, resolution)
    by_row = _shares(layout.points[:, 1] - bottom, sigma, rows, resolution)
    seen = 1.0 - np.exp(-(by_row.T @ by_column))  # of independent points, as many as their shares add up to
    cells = np.where(seen < LEAST, UNSEEN, np.rint(100.0 * seen)).astype(np.int8)
    message = OccupancyGrid(data=array.array("b", cells.tobytes()))
    message.header.frame_id, message.header.stamp = frame, time_message(stamp)
    message.info.map_load_time = time_message(stamp)
    message.info.resolution, message.info.width, message.info.height = resolution, columns, rows
    message.info.origin.position.x, message.info.origin.position.y = left, bottom
    return message


def _extent(values: FloatArray, resolution: float) -> tuple[float, int]:
    """Return where the cells along an axis begin, a whole number of them from 0, and how many there are."""
    middle, reach = float(np.median(values)), MOST_CELLS * resolution / 2.0
    low, high = max(float(values.min()) - MARGIN, middle - reach), min(float(values.max()) + MARGIN, middle + reach)
    first = math.floor(low / resolution)
    return first * resolution, min(math.ceil(high / resolution) - first, MOST_CELLS)


def _shares(values: FloatArray, sigma: FloatArray, count: int, resolution: float) -> FloatArray:
    """Return (N, count), the share of each normal distribution that lies in each cell along an axis."""
    centres = (np.arange(count) + 0.5) * resolution
    width = np.maximum(sigma, resolution / 2.0)[:, None]  # a narrower one would fall between two centres
    density = np.exp(-0.5 * ((centres - values[:, None]) / width) ** 2)
    return density * (resolution / (width * math.sqrt(2.0 * math.pi)))
