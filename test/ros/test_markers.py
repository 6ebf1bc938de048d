"""What RViz draws."""

import math

import numpy as np
import pytest

from loc3r_ros.ros import markers

NOW = 10**18


def test_a_frustum_has_the_field_of_view():
    corners = markers.frustum_corners(math.pi / 2, 2.0)
    assert corners[1] == pytest.approx((-0.25, -0.125, 0.25))
    marker = markers.frustums([np.eye(4), np.eye(4)], corners, "map", NOW)
    assert len(marker.points) == len(marker.colors) == 2 * 2 * len(markers.EDGES)
    assert marker.colors[0].a == 1.0
    assert marker.colors[-1].a == 0.5
