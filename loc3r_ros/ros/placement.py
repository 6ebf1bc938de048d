"""What the model says, in the map: places, the layout, and without odometry the camera."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from loc3r_ros import geometry
from loc3r_ros.alignment import Aligner, Alignment, Link, Located, OdometryNoise, locate
from loc3r_ros.errors import NotReadyError
from loc3r_ros.interface import FloatArray, Layout, LocalizerProtocol, Place, Trajectory
from loc3r_ros.ros.correction import Correction, in_space


class Placement:
    """Carries places from the anchors to `map`; safe to use from several threads.

    Attributes:
        described: (3,) pose in `map` of the last localized description, where there is one.
        map_t_camera: (4, 4) camera at the newest frame by the pose prior alone; None where odometry tells.
        camera_covariance: (6, 6) of that.
    """

    def __init__(
        self,
        correction: Correction,
        has_odometry: Callable[[], bool],
        noise: OdometryNoise | None = None,
        warn: Callable[[str], object] = lambda _: None,
    ) -> None:
        """Begin without an anchor.

        Args:
            correction: from odometry to `map`.
            has_odometry: whether the robot has odometry, so that it makes the map.
            noise: of the odometry; None is that of an ordinary robot.
            warn: hears of a pose prior that went wrong.
        """
        self._correction = correction
        self._has_odometry = has_odometry
        self._warn = warn
        self._aligner = Aligner(noise)
        self.reset()

    @property
    def alignment(self) -> Alignment | None:
        """The newest alignment."""
        return self._aligner.latest

    @property
    def failures(self) -> int:
        """How often the memory had to begin anew because the pose prior went wrong."""
        return self._aligner.failures

    @property
    def last_failure(self) -> str:
        """The last reason for that; empty where there was none."""
        return self._aligner.last_failure

    @property
    def is_localized(self) -> bool:
        """Whether somebody said where the robot is in the map, or a saved map did."""
        return self._correction.covariance is not None or (self._is_told and not self._has_odometry())

    @property
    def is_loose(self) -> bool:
        """Whether a saved map waits for the odometry to be tied to it."""
        latest = self._aligner.latest
        return self._is_told and self._has_odometry() and (latest is None or not latest.has_odometry)

    def update(self, localizer: LocalizerProtocol) -> None:
        """Align with the newest frame; does nothing where there is no model.

        Where the pose prior went wrong, the memory is told to begin anew.
        """
        try:
            trajectory = localizer.trajectory()
        except NotReadyError:
            return
        alignment = self._aligner.update(trajectory)
        link, demand = self._aligner.take_link(), self._aligner.take_demand()
        if link is not None:
            self._tie(link, trajectory)
        if demand is not None:
            self._warn(f"{alignment.reason} The memory begins anew with what came since.")
            localizer.reanchor(demand)
        self._place_camera(trajectory, alignment)

    def reset(self) -> None:
        """Forget all anchors and the described place."""
        self._aligner.reset()
        self._is_told = False
        self.described: FloatArray | None = None
        self.map_t_camera: FloatArray | None = None
        self.camera_covariance: FloatArray = np.zeros((6, 6))
        self._sigma: FloatArray = np.zeros(3)

    # --- what was saved, or is told -----------------------------------------------------------------------------------

    def saved(self, localizer: LocalizerProtocol) -> tuple[Alignment, ...]:
        """Return where the last few anchors lie in the map, oldest first.

        A doubt about this run's odometry stays in their covariance; its sentence is left out, as it is not the next's.
        """
        self.update(localizer)
        return tuple(
            replace(self._correction.anchor_into_map(item), reason="") if item.has_odometry else item
            for item in self._aligner.known()
        )

    def restore(self, alignments: Sequence[Alignment], now: int) -> None:
        """Take anchors of a restored memory for where they were in the map; with odometry, they wait to be tied.

        Args:
            alignments: in the map, oldest first.
            now: stamp (ns) that parts the memory's past from what is seen from now on.
        """
        self.reset()
        self._aligner.adopt(*(replace(item, since=None) for item in alignments), since=now)
        self._is_told = bool(alignments)

    def pin(self, map_t_body: FloatArray, covariance: FloatArray, seen: FloatArray, stamp: int) -> None:
        """Move the newest anchor, without odometry, so that a body is where somebody says.

        Args:
            map_t_body: (3,) where it is said to be.
            covariance: (3, 3) of that.
            seen: (3,) where the pose prior had it.
            stamp: when, ns.

        Raises:
            NotReadyError: there is no anchor yet.
        """
        alignment = self._aligner.latest
        if alignment is None:
            raise NotReadyError("Nothing has been seen yet.")
        noise = np.diag(self._sigma**2)  # of where the pose prior had it
        pinned = alignment.pinned(alignment.find(seen)[0], map_t_body, covariance + noise)
        self._aligner.adopt(pinned, since=stamp)
        self._is_told, self.described = True, None

    def tell(self, stamp: int) -> None:
        """Hear that the correction was set by hand; an anchor that lay in the map lies in the odometry from now on.

        Args:
            stamp: when, ns.
        """
        self.described = None  # it was told in another map
        self._aligner.trust()
        latest = self._aligner.latest
        if latest is not None and not latest.has_odometry:
            odom_t_map = geometry.invert2(geometry.planar(self._correction.map_t_odom))
            self._aligner.adopt(latest.moved(odom_t_map, has_odometry=True), since=stamp)

    def _tie(self, link: Link, trajectory: Trajectory) -> None:
        """Let the place of an anchor that both know say where the odometry lies in the map."""
        if trajectory.odom_t_newest is None:
            newest = trajectory.odom_t_cameras[np.isfinite(trajectory.odom_t_cameras[:, 0, 0])][-1]
        else:
            newest = trajectory.odom_t_newest
        odom_t_camera = geometry.planar(geometry.world_t_anchor(newest))
        map_t_camera, covariance = link.in_map.apply(*link.in_odometry.find(odom_t_camera))
        self._correction.seed(
            geometry.from_planar(map_t_camera), geometry.from_planar(odom_t_camera), in_space(covariance), self._is_told
        )

    # --- places -------------------------------------------------------------------------------------------------------

    def locate(self, place: Place, localizer: LocalizerProtocol) -> Located:
        """Return a place in `map`.

        Raises:
            NotReadyError: it is not known where the place's anchor lies.
        """
        alignment = self._alignment(place.anchor_id, localizer)
        located = locate(place, alignment)
        if alignment.has_odometry:
            return self._correction.into_map(located)
        if self.is_loose and not located.reason:
            return replace(located, reason="The saved map is not tied to the odometry yet: drive a little.")
        return located

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
        if self._has_odometry() and not alignment.has_odometry and not self._is_told:
            raise NotReadyError("The memory has no place in the map: its keyframes came without odometry.")
        return alignment

    def _place_camera(self, trajectory: Trajectory, alignment: Alignment) -> None:
        """Note where the camera is by the pose prior alone."""
        if alignment.has_odometry:
            self.map_t_camera = None
            return
        camera = trajectory.anchor_t_newest
        self._sigma = np.array([trajectory.position_sigma, trajectory.position_sigma, trajectory.heading_sigma])
        seen = np.array([*camera[:2, 3], geometry.camera_heading(camera)])
        self.camera_covariance = in_space(alignment.apply(seen, np.diag(self._sigma**2))[1])
        self.map_t_camera = alignment.camera(camera)
