"""The layout as a point cloud."""

from __future__ import annotations

import array

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField

from loc3r_ros.interface import Layout
from loc3r_ros.ros.conversions import time_message

POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<u4"), ("sigma", "<f4"), ("keyframe", "<u4")])
"""One point: metres, 0x00RRGGBB, standard deviation in metres, index of the keyframe."""
FIELD_TYPES = {"<f4": PointField.FLOAT32, "<u4": PointField.UINT32}


def layout_cloud(layout: Layout, frame: str, stamp: int) -> PointCloud2:
    """Return the message of a layout whose points lie in `frame`."""
    points = np.zeros(len(layout.points), POINT)
    points["x"], points["y"] = layout.points.T
    red, green, blue = layout.colour.astype(np.uint32).T
    points["rgb"] = red << 16 | green << 8 | blue
    points["sigma"], points["keyframe"] = np.sqrt((layout.sigma**2).mean(axis=1)), layout.keyframe_index
    message = PointCloud2(height=1, width=len(points), point_step=POINT.itemsize, row_step=points.nbytes, is_dense=True)
    message.header.frame_id, message.header.stamp = frame, time_message(stamp)
    message.fields = [_field(name) for name in POINT.names or ()]
    message.data = array.array("B", points.tobytes())
    return message


def _field(name: str) -> PointField:
    """Return the description of a field; RViz and PCL want the colour declared as a float."""
    assert POINT.fields is not None
    kind, offset = POINT.fields[name][:2]
    datatype = PointField.FLOAT32 if name == "rgb" else FIELD_TYPES[kind.str]
    return PointField(name=name, offset=offset, datatype=datatype, count=1)
