"""The parameters of the node `loc3r`: one table for declaring, checking, documenting and reading them.

A field of `Parameters` is a parameter; its metadata is the row of the table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, ParameterType
from rclpy.node import Node
from rclpy.parameter import Parameter

from loc3r_ros.errors import ConfigError
from loc3r_ros.ros.qos import QOS_NAMES

TYPE_NAMES = {bool: "bool", int: "integer", float: "double", str: "string"}
ROS_TYPES = {
    bool: ParameterType.PARAMETER_BOOL,
    int: ParameterType.PARAMETER_INTEGER,
    float: ParameterType.PARAMETER_DOUBLE,
    str: ParameterType.PARAMETER_STRING,
}


@dataclass(frozen=True)
class Row:
    """What the table says of a parameter besides its name, type and default.

    Attributes:
        text: what it does.
        unit: unit of a number; empty where it has none.
        low: smallest value allowed.
        high: largest value allowed.
        choices: the values allowed, where they are names.
        required: an empty string is refused.
        live: may change while the node is configured; else it is read when the node is configured.
    """

    text: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    required: bool = False
    live: bool = True


def _row(default: Any, text: str, **more: Any) -> Any:
    return field(default=default, metadata={"row": Row(text, **more)})


@dataclass(frozen=True)
class Parameters:
    """Values of all parameters at one moment."""

    autostart: bool = _row(True, "Configure and activate at the start. False: a lifecycle manager does it.", live=False)
    engines: str = _row(
        "",
        "Folder of compiled engines, absolute or as shipped (`engines/nano`). Empty: no model; the node keeps "
        'keyframes and answers "not ready".',
        live=False,
    )
    image_transport: str = _row(
        "raw",
        "`raw`: sensor_msgs/Image on `image`; `compressed`: sensor_msgs/CompressedImage on `image/compressed`.",
        choices=("raw", "compressed"),
    )
    image_qos: str = _row(
        "auto",
        "Reliability of the image subscription; `auto`: reliable if every publisher is, else best effort.",
        choices=QOS_NAMES,
    )
    image_queue: int = _row(
        10, "Images that may wait between DDS and the node; the node itself keeps only the newest.", low=1, high=1000
    )
    image_timeout: float = _row(
        5.0, "Warn, with the cause, after so long without an image.", unit="s", low=0.1, high=3600.0
    )
    map_frame: str = _row("map", "The frame of all results.", required=True, live=False)
    odom_frame: str = _row("odom", "The frame of the odometry in TF. Empty: use no odometry.", live=False)
    base_frame: str = _row("base_link", "The robot's frame.", required=True, live=False)
    camera_frame: str = _row("", "The camera's optical frame. Empty: the `frame_id` of the images.", live=False)
    odometry_timeout: float = _row(
        0.2,
        "Longest wait for the odometry at an image's stamp; a frame without it is used without.",
        unit="s",
        low=0.0,
        high=5.0,
    )
    publish_tf: bool = _row(True, "Broadcast `map_frame` -> `odom_frame`.")
    transform_rate: float = _row(20.0, "Rate of that broadcast.", unit="Hz", low=1.0, high=200.0)
    transform_tolerance: float = _row(
        0.2,
        "The broadcast is stamped so far ahead of now, so that lookups between two of them succeed.",
        unit="s",
        low=0.0,
        high=10.0,
    )
    keyframe_policy: str = _row(
        "motion",
        "`motion`: a sliding window of the last keyframes; `coverage`: the set that has seen most.",
        choices=("motion", "coverage"),
        live=False,
    )
    keyframe_count: int = _row(32, "Most keyframes to remember.", low=2, high=512, live=False)
    keyframe_translation: float = _row(
        0.3, "A frame becomes a keyframe after so much travel,", unit="m", low=0.01, high=100.0, live=False
    )
    keyframe_rotation: float = _row(15.0, "or after so much turning.", unit="deg", low=0.5, high=360.0, live=False)
    keyframe_interval: float = _row(
        1.0, "Time between keyframes where there is no odometry.", unit="s", low=0.01, high=3600.0, live=False
    )
    answer_timeout: float = _row(30.0, "Longest time for an answer.", unit="s", low=0.1, high=3600.0)
    session_directory: str = _row(
        "~/.ros/loc3r", "Where relative paths of `save_session` and `load_session` start.", required=True
    )

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


@dataclass(frozen=True)
class Entry:
    """One parameter: its row, with name, type and default."""

    name: str
    default: Any
    row: Row

    @property
    def kind(self) -> Any:
        """Python type of the value."""
        return type(self.default)

    @property
    def allowed(self) -> str:
        """Return the allowed values in words; empty where every value of the type is allowed."""
        row = self.row
        if row.choices:
            return ", ".join(f"`{choice}`" for choice in row.choices)
        if row.low is not None:
            return f"{row.low:g} to {row.high:g}"
        return "not empty" if row.required else ""

    def check(self, value: Any) -> None:
        """Check a value that a user gave.

        Raises:
            ConfigError: a sentence with the name, the value and what is allowed.
        """
        if not isinstance(value, self.kind) or (self.kind is int and isinstance(value, bool)):
            hint = f": write {float(value)}" if self.kind is float and type(value) is int else ""
            raise ConfigError(
                f"Parameter {self.name} must be a {TYPE_NAMES[self.kind]}, not {value!r} of another type{hint}."
            )
        if self.row.choices and value not in self.row.choices:
            raise ConfigError(f"Parameter {self.name} must be one of {', '.join(self.row.choices)}, not '{value}'.")
        if self.row.required and not value:
            raise ConfigError(f"Parameter {self.name} must not be empty.")
        low, high = self.row.low, self.row.high
        if low is not None and high is not None and not low <= value <= high:  # NaN lies nowhere
            unit = f" {self.row.unit}" if self.row.unit else ""
            raise ConfigError(f"Parameter {self.name} must lie in {low:g} to {high:g}{unit}, not {value:g}.")

    def descriptor(self) -> ParameterDescriptor:
        """Return the descriptor that tools show."""
        unit = f" [{self.row.unit}]" if self.row.unit else ""
        descriptor = ParameterDescriptor(description=self.row.text + unit, type=ROS_TYPES[self.kind])
        descriptor.additional_constraints = "; ".join(filter(None, [self.allowed.replace("`", ""), self._when()]))
        if self.row.low is not None and self.row.high is not None:
            if self.kind is int:
                limits = IntegerRange(from_value=int(self.row.low), to_value=int(self.row.high), step=1)
                descriptor.integer_range = [limits]
            else:
                descriptor.floating_point_range = [FloatingPointRange(from_value=self.row.low, to_value=self.row.high)]
        return descriptor

    def _when(self) -> str:
        return "" if self.row.live else "read when the node is configured"


ENTRIES: Mapping[str, Entry] = {
    item.name: Entry(item.name, item.default, item.metadata["row"]) for item in dataclasses.fields(Parameters)
}


def declare(node: Node) -> Parameters:
    """Declare all parameters and return their values, which command line and parameter files may have set.

    Raises:
        ConfigError: a value that is not allowed.
    """
    # Declared without type and range first, so that a wrong value in a file is refused by our sentence.
    loose = ParameterDescriptor(dynamic_typing=True)
    for entry in ENTRIES.values():
        node.declare_parameter(entry.name, entry.default, loose)
    values = {name: node.get_parameter(name).value for name in ENTRIES}
    parameters = changed(Parameters(), values, configured=False)
    for entry in ENTRIES.values():
        node.set_descriptor(entry.name, entry.descriptor())
    return parameters


def changed(parameters: Parameters, values: Mapping[str, Any], configured: bool) -> Parameters:
    """Return the parameters with some values changed.

    Args:
        parameters: the values so far.
        values: name -> new value; names that are not in the table are left to ROS.
        configured: the node is configured, so that only live parameters may change.

    Raises:
        ConfigError: a sentence that says which value is refused, and why.
    """
    known = {name: value for name, value in values.items() if name in ENTRIES}
    for name, value in known.items():
        ENTRIES[name].check(value)
        if configured and not ENTRIES[name].row.live and value != getattr(parameters, name):
            raise ConfigError(f"Parameter {name} is read when the node is configured: deactivate and clean up first.")
    result = dataclasses.replace(parameters, **known)
    result.check()
    return result


def values_of(parameters: Iterable[Parameter]) -> dict[str, Any]:
    """Return name -> value of ROS parameters."""
    return {parameter.name: parameter.value for parameter in parameters}


def markdown_table() -> str:
    """Return the table for docs/node.md."""
    lines = [
        "| parameter | type | default | unit | allowed | at run time | |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for entry in ENTRIES.values():
        default = f'"{entry.default}"' if entry.kind is str else str(entry.default).lower()
        cells = [
            f"`{entry.name}`",
            TYPE_NAMES[entry.kind],
            f"`{default}`",
            entry.row.unit,
            entry.allowed,
            "yes" if entry.row.live else "no",
            entry.row.text,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
