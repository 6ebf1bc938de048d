"""Where an anchor lies in a frame of the robot, and places carried from the one to the other."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from loc3r_ros import geometry
from loc3r_ros.alignment.similarity import LARGEST_SCALE, placement_jacobian
from loc3r_ros.alignment.uncertainty import carried
from loc3r_ros.interface import FloatArray, Place


@dataclass(frozen=True)
class Alignment:
    """Where an anchor lies.

    Attributes:
        anchor_id: of the anchor.
        target_t_anchor: (3,) pose of the anchor in the odometry, or in the map where there is none.
        scale: metres in the target per metre of the model.
        covariance: (4, 4) of x, y, heading and log scale.
        has_odometry: whether the target is the odometry.
        reason: what is wrong, as a sentence; empty where nothing is.
        since: stamp (ns) of the first keyframe or frame that the pose prior may be right about again, where it went
            wrong in this anchor; else None.
        keyframe_count: keyframes with odometry.
        outlier_count: those of them that do not agree.
    """

    anchor_id: int
    target_t_anchor: FloatArray
    scale: float
    covariance: FloatArray
    has_odometry: bool
    reason: str = ""
    since: int | None = None
    keyframe_count: int = 0
    outlier_count: int = 0

    @property
    def scale_sigma(self) -> float:
        """Standard deviation of `scale`."""
        return float(self.scale * np.sqrt(self.covariance[3, 3]))

    @property
    def turned(self) -> FloatArray:
        """(2, 2) rotation times scale, from the anchor to the target."""
        return np.asarray(self.scale * geometry.rotation2(self.target_t_anchor[2]))

    def apply(self, pose: FloatArray, covariance: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return a (3,) pose of the anchor frame in the target, and its (3, 3) mean squared error there."""
        lever = self.turned @ pose[:2]
        heading = geometry.wrap_angle(self.target_t_anchor[2] + pose[2])
        placed = np.append(self.target_t_anchor[:2] + lever, heading)
        return placed, carried(lever, self.turned, self.covariance, covariance)

    def find(self, pose: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return a known (3,) pose of the target in the anchor frame, and its (3, 3) covariance to first order."""
        back = np.linalg.inv(self.turned)
        found = np.append(
            back @ (pose[:2] - self.target_t_anchor[:2]), geometry.wrap_angle(pose[2] - self.target_t_anchor[2])
        )
        by_fit = placement_jacobian(self.turned, found[None, :2])[0]
        by_fit[:2] = back @ by_fit[:2]
        return found, by_fit @ self.covariance @ by_fit.T

    def camera(self, anchor_t_camera: FloatArray) -> FloatArray:
        """Return the (4, 4) pose of a camera in the target frame."""
        scaled = anchor_t_camera.copy()
        scaled[:3, 3] *= self.scale
        return geometry.from_planar(self.target_t_anchor) @ scaled

    def moved(self, frame_t_target: FloatArray, has_odometry: bool) -> Alignment:
        """Return it with another target, in which the present one has a known (3,) pose."""
        turn = np.eye(4)
        turn[:2, :2] = geometry.rotation2(frame_t_target[2])
        return replace(
            self,
            target_t_anchor=geometry.compose2(frame_t_target, self.target_t_anchor),
            covariance=turn @ self.covariance @ turn.T,
            has_odometry=has_odometry,
        )

    def behind(self, step: FloatArray, covariance: FloatArray) -> Alignment:
        """Return where the next anchor lies.

        Args:
            step: (4,) x, y, heading and log scale of the next anchor in this one.
            covariance: (4, 4) of it.
        """
        lever = self.turned @ step[:2]
        pose, moved = self.apply(step[:3], covariance[:3, :3])
        together = np.zeros((4, 4))
        together[:3, :3], together[3, 3] = moved, self.covariance[3, 3] + covariance[3, 3]
        shared = self.covariance[:3, 3] + np.append(self.turned @ covariance[:2, 3], covariance[2, 3])
        shared[:2] += lever * self.covariance[3, 3]
        together[:3, 3] = together[3, :3] = shared
        scale = float(np.clip(self.scale * np.exp(step[3]), 1.0 / LARGEST_SCALE, LARGEST_SCALE))
        return replace(self, target_t_anchor=pose, scale=scale, covariance=together)

    def pinned(self, anchor_t_body: FloatArray, target_t_body: FloatArray, covariance: FloatArray) -> Alignment:
        """Return it moved so that a body is where somebody says.

        Args:
            anchor_t_body: (3,) where the body is in the anchor frame.
            target_t_body: (3,) where it is in the target.
            covariance: (3, 3) of that.
        """
        heading = float(geometry.wrap_angle(target_t_body[2] - anchor_t_body[2]))
        lever = -self.scale * geometry.rotation2(heading) @ anchor_t_body[:2]
        pinned, jacobian = np.append(target_t_body[:2] + lever, heading), np.eye(4)
        jacobian[:2, 2], jacobian[:2, 3] = (-lever[1], lever[0]), lever
        told = np.zeros((4, 4))
        told[:3, :3], told[3, 3] = covariance, self.covariance[3, 3]
        return replace(self, target_t_anchor=pinned, covariance=jacobian @ told @ jacobian.T, reason="", since=None)


@dataclass(frozen=True)
class Located:
    """A place in a frame of the robot.

    Attributes:
        pose: (3,) x, y, heading.
        covariance: (3, 3) of it.
        reason: why the place is doubtful, as a sentence; empty where it is not.
    """

    pose: FloatArray
    covariance: FloatArray
    reason: str = ""

    @property
    def confidence(self) -> float:
        """Probability, 0..1, that the position is off by at most 1 m."""
        variances = np.linalg.eigvalsh(self.covariance[:2, :2])
        return geometry.probability_within(1.0, *np.sqrt(np.maximum(variances, 1e-12)))

    def moved(self, target_t_frame: FloatArray) -> Located:
        """Return the place in a frame in which the present one has a known (3,) pose."""
        turn = geometry.rotation2(target_t_frame[2])
        pose = geometry.compose2(target_t_frame, self.pose)
        return replace(self, pose=pose, covariance=geometry.rotate_covariance(self.covariance, turn))

    def blurred(self, robot: FloatArray, covariance: FloatArray) -> Located:
        """Return the place with the error of a robot's (3,) pose added, which turns the place about the robot."""
        error = np.zeros((4, 4))
        error[:3, :3] = covariance
        blurred = carried(self.pose[:2] - robot[:2], np.eye(2), error, self.covariance)
        return replace(self, covariance=blurred)


def locate(place: Place, alignment: Alignment) -> Located:
    """Return a place in the target frame of the alignment of its anchor."""
    return Located(*alignment.apply(place.pose, place.covariance), alignment.reason)
