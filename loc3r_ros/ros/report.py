"""Watches the camera and the loading, warns with the cause, and fills the diagnostics."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from loc3r_ros.ros.diagnostics import (
    ERROR,
    OK,
    WARN,
    diagnostic_array,
    milliseconds,
    process_memory,
    status,
)
from loc3r_ros.ros.inputs import Inputs
from loc3r_ros.ros.intake import FrameCounts
from loc3r_ros.ros.parameters import Parameters
from loc3r_ros.ros.placement import Placement
from loc3r_ros.ros.session import Session


class Reporter:
    """What the node tells of itself, twice a second to the log and once a second to the diagnostics."""

    def __init__(self, inputs: Inputs, warn: Callable[[str], bool], tell: Callable[[str], object]) -> None:
        """Begin.

        Args:
            inputs: what arrives.
            warn: logs a warning, throttled by its cause, and returns whether it did.
            tell: logs what is good news.
        """
        self._inputs = inputs
        self._warn = warn
        self._tell = tell
        self._received = 0
        self._last_report = time.monotonic(), FrameCounts()
        self._said: set[str] = set()
        self.begin()

    def begin(self) -> None:
        """Count the time without an image from now."""
        self._last_image = self._last_look = time.monotonic()
        self._said.clear()

    def watch(self, state: str, session: Session | None, parameters: Parameters) -> None:
        """Say once for each cause that no image arrives, and once when one does; warn where loading takes long."""
        now = time.monotonic()
        received = session.counts.received if session is not None else 0
        if received != self._received or not self._inputs.is_enabled:
            if received > self._received and self._said:
                self._tell(f"Images arrive on {self._inputs.topic}, after {now - self._last_image:.0f} s without.")
            self._received = received
            self.begin()
        loading = session.loading_time if session is not None else None
        if loading is not None and loading > 5.0:
            self._warn(f"The engines are still loading, for {loading:.0f} s so far.")
        if now - self._last_look < parameters.image_timeout:
            return
        self._last_look = now
        cause = self._inputs.describe_silence() if state == "active" else f"the node is {state}: activate it."
        text = f"0 images in {parameters.image_timeout:g} s on {self._inputs.topic}: {cause}"
        if text not in self._said and self._warn(text):
            self._said.add(text)

    def report(self, state: str, session: Session | None, parameters: Parameters, stamp: int) -> DiagnosticArray:
        """Return the diagnostics of the time since the last call.

        Args:
            state: the lifecycle state.
            session: the session, where there is one.
            parameters: the parameters.
            stamp: now, ns.
        """
        now = time.monotonic()
        counts = session.counts if session is not None else FrameCounts()
        (before, counted), self._last_report = self._last_report, (now, counts)
        rate = max(0, counts.received - counted.received) / max(now - before, 1e-3)
        return diagnostic_array(
            stamp,
            self._camera(state, session, counts, rate),
            self._localizer(state, session, parameters),
            alignment_status(session.placement if session is not None else None),
        )

    def _camera(self, state: str, session: Session | None, counts: FrameCounts, rate: float) -> DiagnosticStatus:
        if state != "active":
            level, message = OK, state
        elif not self._inputs.is_enabled:
            level, message = OK, "paused by the service enable"
        elif rate == 0:
            level, message = WARN, f"no image: {self._inputs.describe_silence()}"
        else:
            level, message = OK, f"{rate:.1f} images/s"
        stages = session.stages.read() if session is not None else {}
        values = {
            "topic": self._inputs.topic,
            "input rate [Hz]": f"{rate:.2f}",
            "received": counts.received,
            "processed": counts.processed,
            "replaced": counts.replaced,
            "failed": counts.failed,
            "pending": counts.pending,
            **milliseconds(stages),
        }
        return status("loc3r: camera", level, message, values)

    def _localizer(self, state: str, session: Session | None, parameters: Parameters) -> DiagnosticStatus:
        values: dict[str, object] = {"state": state, "engines": parameters.engines or "none", **process_memory()}
        level, message = OK, state
        if session is not None:
            is_localized = session.placement.is_localized
            values |= {"keyframes": len(session.keyframes()), "localized": is_localized}
            values["last defect"] = session.defect or "none"
            if session.loading_time is not None:
                level, message = WARN, f"engines loading for {session.loading_time:.0f} s"
            elif session.failure or session.defect:
                level, message = ERROR, session.failure or session.defect
            elif not parameters.engines:
                message = f"{state}, without a model"
        return status("loc3r: localizer", level, message, values)


def alignment_status(placement: Placement | None) -> DiagnosticStatus:
    """Return how the model's anchor lies in the map, and what is or was wrong with the pose prior."""
    alignment = None if placement is None else placement.alignment
    if placement is None or alignment is None:
        return status("loc3r: alignment", OK, "no anchor yet", {})
    x, y, heading, _ = np.sqrt(np.diag(alignment.covariance))
    values = {
        "anchor": alignment.anchor_id,
        "scale": f"{alignment.scale:.3f}",
        "scale sigma": f"{alignment.scale_sigma:.3f}",
        "position sigma [m]": f"{np.hypot(x, y):.3f}",
        "heading sigma [deg]": f"{np.degrees(heading):.2f}",
        "keyframes with odometry": alignment.keyframe_count,
        "outliers": alignment.outlier_count,
        "begun anew": placement.failures,
        "last failure": placement.last_failure or "none",
    }
    source = "fitted to the odometry" if alignment.has_odometry else "by the pose prior alone"
    return status("loc3r: alignment", WARN if alignment.reason else OK, alignment.reason or source, values)
