"""The parameters of the node `loc3r_viewer`, which serves the page."""

from __future__ import annotations

from dataclasses import dataclass

from loc3r_ros.ros.parameter_table import Table, row


@dataclass(frozen=True)
class ViewerParameters(Table):
    """Values of all parameters; they are read at the start."""

    address: str = row(
        "0.0.0.0",
        "Network address to listen on. `0.0.0.0`: every machine that reaches this one sees the page and can ask; "
        "`127.0.0.1`: this machine alone.",
        required=True,
        live=False,
    )
    port: int = row(8080, "TCP port of the page; 0: any free one.", low=0, high=65535, live=False)
    image_topic: str = row(
        "",
        "Topic of the pictures to show, raw or compressed. Empty: the one that the node listens to.",
        live=False,
    )
    image_rate: float = row(5.0, "Most pictures per second that are shown.", unit="Hz", low=0.1, high=60.0, live=False)
