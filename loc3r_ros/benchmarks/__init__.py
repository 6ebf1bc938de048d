"""What is measured, one module each: `measure()` returns a list of Measurement."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measurement:
    """One measured number.

    Attributes:
        name: what was measured.
        value: the number.
        unit: its unit.
        note: under which conditions.
    """

    name: str
    value: float
    unit: str
    note: str = ""
