"""The parameters of the node `loc3r`: one table for declaring, checking, documenting and reading them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rclpy.node import Node

from loc3r_ros.errors import ConfigError
from loc3r_ros.ros import parameter_table
from loc3r_ros.ros.parameter_table import Entry, Table, changed, row, values_of
from loc3r_ros.ros.qos import QOS_NAMES

__all__ = ["ENTRIES", "Entry", "Parameters", "changed", "declare", "markdown_table", "values_of"]


@dataclass(frozen=True)
class Parameters(Table):
    """Values of all parameters at one moment."""

    autostart: bool = row(True, "Configure and activate at the start. False: a lifecycle manager does it.", live=False)
    engines: str = row(
        "",
        "Folder of compiled engines, absolute or as shipped (`engines/nano`). Empty: no model; the node keeps "
        'keyframes and answers "not ready".',
        live=False,
    )
    image_transport: str = row(
        "raw",
        "`raw`: sensor_msgs/Image on `image`; `compressed`: sensor_msgs/CompressedImage on `image/compressed`.",
        choices=("raw", "compressed"),
    )
    image_qos: str = row(
        "auto",
        "Reliability of the image subscription; `auto`: reliable if every publisher is, else best effort.",
        choices=QOS_NAMES,
    )
    image_queue: int = row(
        10, "Images that may wait between DDS and the node; the node itself keeps only the newest.", low=1, high=1000
    )
    image_timeout: float = row(
        5.0, "Warn, with the cause, after so long without an image.", unit="s", low=0.1, high=3600.0
    )
    map_frame: str = row("map", "The frame of all results.", required=True, live=False)
    odom_frame: str = row("odom", "The frame of the odometry in TF. Empty: use no odometry.", live=False)
    base_frame: str = row("base_link", "The robot's frame.", required=True, live=False)
    camera_frame: str = row("", "The camera's optical frame. Empty: the `frame_id` of the images.", live=False)
    odometry_timeout: float = row(
        0.2,
        "Longest wait for the odometry at an image's stamp; a frame without it is used without.",
        unit="s",
        low=0.0,
        high=5.0,
    )
    odometry_scale_error: float = row(
        2.0,
        "What the odometry gets wrong of every distance, one standard deviation.",
        unit="%",
        low=0.0,
        high=50.0,
        live=False,
    )
    odometry_heading_drift: float = row(
        5.0, "Drift of its heading while the robot moves.", unit="deg/min", low=0.0, high=360.0, live=False
    )
    odometry_position_noise: float = row(
        0.01,
        "Its random error after 1 m; grows with the square root of the distance.",
        unit="m",
        low=0.0,
        high=1.0,
        live=False,
    )
    odometry_heading_noise: float = row(
        0.6, "The same of its heading after a turn of 1 rad.", unit="deg", low=0.0, high=45.0, live=False
    )
    publish_tf: bool = row(True, "Broadcast the transforms from `map_frame`.")
    transform_rate: float = row(20.0, "Rate of that broadcast.", unit="Hz", low=1.0, high=200.0)
    transform_tolerance: float = row(
        0.2,
        "The broadcast is stamped so far ahead of now, so that lookups between two of them succeed.",
        unit="s",
        low=0.0,
        high=10.0,
    )
    keyframe_policy: str = row(
        "motion",
        "`motion`: a sliding window of the last keyframes; `coverage`: the set that has seen most.",
        choices=("motion", "coverage"),
        live=False,
    )
    keyframe_count: int = row(32, "Most keyframes to remember.", low=2, high=512, live=False)
    keyframe_translation: float = row(
        0.3,
        "A frame becomes a keyframe after so much travel (0: every frame),",
        unit="m",
        low=0.0,
        high=100.0,
        live=False,
    )
    keyframe_rotation: float = row(15.0, "or after so much turning.", unit="deg", low=0.5, high=360.0, live=False)
    keyframe_interval: float = row(
        1.0, "Time between keyframes where there is no odometry.", unit="s", low=0.01, high=3600.0, live=False
    )
    answer_tokens: int = row(256, "Longest answer.", unit="tokens", low=1, high=1024, live=False)
    answer_timeout: float = row(30.0, "Longest time for an answer.", unit="s", low=0.1, high=3600.0)
    question_queue: int = row(
        4,
        "Questions that may wait while one runs; a further one is refused at once. 0: no second question.",
        low=0,
        high=16,
    )
    layout_resolution: float = row(0.1, "Side of a cell of `layout_grid`.", unit="m", low=0.02, high=1.0)
    session_directory: str = row(
        "~/.ros/loc3r", "Where relative paths of `save_session` and `load_session` start.", required=True
    )

    session: str = row(
        "",
        "File of the session that lives on: restored at the start where it exists, saved every `session_interval` and "
        "at the end. Empty: none; the services save and load.",
        live=False,
    )
    session_interval: float = row(60.0, "Time from one save to the next.", unit="s", low=1.0, high=86400.0)

    def check(self) -> None:
        """Check what one parameter alone cannot tell.

        Raises:
            ConfigError: two frames have one name.
        """
        frames = [self.map_frame, self.base_frame, self.odom_frame]
        if len(set(frames)) < len(frames):
            raise ConfigError(
                f"map_frame, odom_frame and base_frame must differ; they are '{self.map_frame}', '{self.odom_frame}' "
                f"and '{self.base_frame}'."
            )


ENTRIES: Mapping[str, Entry] = parameter_table.entries(Parameters)


def declare(node: Node) -> Parameters:
    """Declare all parameters and return their values; see `parameter_table.declare`."""
    return parameter_table.declare(node, Parameters)


def markdown_table() -> str:
    """Return the table for docs/node.md."""
    return parameter_table.markdown_table(Parameters)
