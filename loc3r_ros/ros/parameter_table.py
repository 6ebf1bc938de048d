"""A node's parameters as one table: for declaring, checking, documenting and reading them.

A field of a `Table` is a parameter; its metadata is its row.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, ParameterType
from rclpy.node import Node
from rclpy.parameter import Parameter

from loc3r_ros.errors import ConfigError

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


def row(default: Any, text: str, **more: Any) -> Any:
    """Return a field of a `Table`: its default, what it does and the other attributes of its `Row`."""
    return field(default=default, metadata={"row": Row(text, **more)})


@dataclass(frozen=True)
class Table:
    """Values of a node's parameters at one moment."""

    def check(self) -> None:
        """Check what one parameter alone cannot tell.

        Raises:
            ConfigError: a sentence that says which values contradict each other.
        """


T = TypeVar("T", bound=Table)


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


def entries(table: type[Table]) -> Mapping[str, Entry]:
    """Return name -> parameter of a table."""
    return {item.name: Entry(item.name, item.default, item.metadata["row"]) for item in dataclasses.fields(table)}


def declare(node: Node, table: type[T]) -> T:
    """Declare all parameters and return their values, which command line and parameter files may have set.

    Raises:
        ConfigError: a value that is not allowed.
    """
    # Declared without type and range first, so that a wrong value in a file is refused by our sentence.
    known = entries(table)
    loose = ParameterDescriptor(dynamic_typing=True)
    for entry in known.values():
        node.declare_parameter(entry.name, entry.default, loose)
    values = {name: node.get_parameter(name).value for name in known}
    parameters = changed(table(), values, configured=False)
    for entry in known.values():
        node.set_descriptor(entry.name, entry.descriptor())
    return parameters


def changed(parameters: T, values: Mapping[str, Any], configured: bool) -> T:
    """Return the parameters with some values changed.

    Args:
        parameters: the values so far.
        values: name -> new value; names that are not in the table are left to ROS.
        configured: the node is configured, so that only live parameters may change.

    Raises:
        ConfigError: a sentence that says which value is refused, and why.
    """
    table = entries(type(parameters))
    known = {name: value for name, value in values.items() if name in table}
    for name, value in known.items():
        table[name].check(value)
        if configured and not table[name].row.live and value != getattr(parameters, name):
            raise ConfigError(f"Parameter {name} is read when the node is configured: deactivate and clean up first.")
    result = dataclasses.replace(parameters, **known)
    result.check()
    return result


def values_of(parameters: Iterable[Parameter]) -> dict[str, Any]:
    """Return name -> value of ROS parameters."""
    return {parameter.name: parameter.value for parameter in parameters}


def markdown_table(table: type[Table]) -> str:
    """Return the table for the page of the node."""
    lines = [
        "| parameter | type | default | unit | allowed | at run time | |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for entry in entries(table).values():
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
