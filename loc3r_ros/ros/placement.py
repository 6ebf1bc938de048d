"""What the model says, in the map: places, the layout, and without odometry the camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from loc3r_ros import geometry
from loc3r_ros.alignment import Aligner, Alignment, Located, locate
from loc3r_ros.errors import NotReadyError
from loc3r_ros.interface import FloatArray, Layout, LocalizerProtocol, Place
from loc3r_ros.ros.correction import Correction


class Placement:
    """Carries places from the anchors to `map`; safe to use from several threads.

    Attributes:
        described: (3,) pose in `map` of the last localized description, where there is one.
        map_t_camera: (4, 4) camera at the newest frame by the pose prior alone; None where odometry tells.
    """

    def __init__(self, correction: Correction, has_odometry: Callable[[], bool]) -> None:
        """Begin without an anchor.

        Args:
            correction: from odometry to `map`.
            has_odometry: whether the robot has odometry, so that it makes the map.
        """
        self.described: FloatArray | None = None
        self.map_t_camera: FloatArray | None = None
        self._correction = correction
        self._has_odometry = has_odometry
        self._aligner = Aligner()

    @property
    def alignment(self) -> Alignment | None:
        """The newest alignment."""
        return self._aligner.latest

    def update(self, localizer: LocalizerProtocol) -> None:
        """Align with the newest frame; does nothing where there is no model."""
        try:
            trajectory = localizer.trajectory()
        except NotReadyError:
            return
        alignment = self._aligner.update(trajectory)
        self.map_t_camera = None if alignment.has_odometry else alignment.camera(trajectory.anchor_t_newest)

    def reset(self) -> None:
        """Forget all anchors and the described place."""
        self._aligner.reset()
        self.described = self.map_t_camera = None

    def locate(self, place: Place, localizer: LocalizerProtocol) -> Located:
        """Return a place in `map`.

        Raises:
            NotReadyError: it is not known where the place's anchor lies.
        """
        alignment = self._alignment(place.anchor_id, localizer)
        located = locate(place, alignment)
        return self._correction.into_map(located) if alignment.has_odometry else located

    def layout(self, localizer: LocalizerProtocol) -> Layout:
        """Return the layout in `map`; its standard deviations stay along the axes of the anchor.

        Raises:
            NotReadyError: there is none, or it is not known where it lies.
        """
        layout = localizer.layout()
        alignment = self._alignment(layout.anchor_id, localizer)
        map_t_anchor = alignment.target_t_anchor
        if alignment.has_odometry:
            map_t_anchor = geometry.compose2(geometry.planar(self._correction.map_t_odom), map_t_anchor)
        points = geometry.transform_points2(map_t_anchor, alignment.scale * layout.points)
        return replace(layout, points=points, sigma=alignment.scale * layout.sigma)

    def _alignment(self, anchor_id: int, localizer: LocalizerProtocol) -> Alignment:
        if self._aligner.get(anchor_id) is None:  # the memory was rebuilt a moment ago
            self.update(localizer)
        alignment = self._aligner.get(anchor_id)
        if alignment is None:
            raise NotReadyError("The memory was renewed while the question ran: ask again.")
        if self._has_odometry() and not alignment.has_odometry:
            raise NotReadyError("The memory has no place in the map: its keyframes came without odometry.")
        return alignment
