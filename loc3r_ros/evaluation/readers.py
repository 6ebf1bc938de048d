"""A perfect reader of situations, on the true map and on the model's: each puts the truth in the place of one part.

The model's map is a warp of the true one: where the truth has a patch, the model has it elsewhere. A reader who knows
the scene stands where the words say, and is carried along when the things that they name lie elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from loc3r_ros.geometry import Array, compose2, invert2, rotation2, transform_points2, wrap_angle

READERS = ("model_map", "prior_map", "posed_map", "true_map")
"""Whose map is read: the model's; the same with each keyframe moved by what the pose prior was off, or to where it fits
the truth best; the true one."""


@dataclass(frozen=True, eq=False)
class Landmark:
    """A thing that a situation names.

    Attributes:
        place: (2,) its true middle in the anchor frame, metres.
        shown: (N, P) share of each patch of each frame that shows it.
    """

    place: Array
    shown: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Reading:
    """What a perfect reader makes of a situation.

    Attributes:
        pose: (3,) the mean of the poses that the words allow, in the anchor frame.
        beside: what the words say that the observer is beside or in front of.
        faced: what the observer faces.
    """

    pose: Array
    beside: Landmark
    faced: Landmark


@dataclass(frozen=True, eq=False)
class PerceivedMap:
    """A bird's-eye-view map, and what is true of its patches.

    Attributes:
        frames: (K,) frame of the video of each keyframe.
        points: (K, P, 2) where the map has the patches, metres in the anchor frame.
        true: (K, P, 2) where they are.
        known: (K, P) whether a patch lies in one place.
        cameras: (K, 3) the pose prior's camera poses x, y, heading in the anchor frame.
        true_cameras: (K, 3) the true ones.
    """

    frames: npt.NDArray[np.int64]
    points: Array
    true: Array
    known: npt.NDArray[np.bool_]
    cameras: Array
    true_cameras: Array

    def with_true_cameras(self) -> PerceivedMap:
        """Return the map with each keyframe's patches moved with its camera, from the prior's pose to the true one.

        That is right as far as the model believes its pose prior.
        """
        poses = zip(self.true_cameras, self.cameras, self.points, strict=True)
        moved = [transform_points2(compose2(true, invert2(camera)), points) for true, camera, points in poses]
        return replace(self, points=np.array(moved), cameras=self.true_cameras)

    def posed(self) -> PerceivedMap:
        """Return the map with each keyframe's patches moved, as one, to where they fit the truth best.

        That is what a wrong belief about the camera can do to them. The fit also takes away what of other errors
        looks like a motion.
        """
        moved = [_fit(*parts) for parts in zip(self.points, self.true, self.known, strict=True)]
        return replace(self, points=np.array(moved))

    def place_of(self, landmark: Landmark) -> Array:
        """Return the (2,) place where the map has a thing: its true one, moved as the patches are that show it most.

        Patches that lie in one place come first; a small thing may be shown by others alone.
        """
        shown = landmark.shown[self.frames]
        whole = shown * self.known
        share = next((one for one in (whole, shown) if one.any()), np.ones(shown.shape))
        weight = np.where(share >= 0.5 * share.max(), share, 0.0)
        moved = (self.points - self.true)[weight > 0]
        return landmark.place + [_median(moved[:, axis], weight[weight > 0]) for axis in (0, 1)]


def read(reading: Reading, perceived: PerceivedMap) -> Array:
    """Return the (3,) pose that a perfect reader finds on a map.

    The reader is as far from the thing beside it as in truth, and sees the thing that it faces in the same direction.
    """
    true = [landmark.place for landmark in (reading.beside, reading.faced)]
    here = [perceived.place_of(landmark) for landmark in (reading.beside, reading.faced)]
    turn = float(wrap_angle(_direction(here) - _direction(true)))
    place = here[0] + rotation2(turn) @ (reading.pose[:2] - true[0])
    return np.array([*place, wrap_angle(reading.pose[2] + turn)])


def read_all(reading: Reading, perceived: PerceivedMap, posed: PerceivedMap) -> dict[str, Array]:
    """Return the pose of each of READERS."""
    maps = (perceived, perceived.with_true_cameras(), posed)
    return dict(zip(READERS, (*(read(reading, one) for one in maps), reading.pose), strict=True))


def shares_of(segmentation: npt.NDArray[np.int16], thing: int, grid: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Return (N, rows * columns) the share of each patch of pictures (N, H, W) of ids that shows a thing."""
    rows, columns = (np.arange(count) * size // count for count, size in zip(grid, segmentation.shape[1:], strict=True))
    sums = np.add.reduceat(np.add.reduceat(segmentation == thing, rows, axis=1, dtype=np.int32), columns, axis=2)
    height, width = segmentation.shape[1:]
    areas = np.outer(np.diff([*rows, height]), np.diff([*columns, width]))
    return (sums / areas).astype(np.float32).reshape(len(segmentation), -1)


def _fit(points: Array, true: Array, known: npt.NDArray[np.bool_]) -> Array:
    """Return (P, 2) points after the rotation and translation that bring those that are known closest to the truth."""
    if known.sum() < 2:
        return points
    mean, true_mean = points[known].mean(axis=0), true[known].mean(axis=0)
    (a, b), (c, d) = (points[known] - mean).T @ (true[known] - true_mean)
    return (points - mean) @ rotation2(float(np.arctan2(b - c, a + d))).T + true_mean


def _direction(pair: list[Array]) -> float:
    """Return the direction from the first of two points to the second."""
    x, y = pair[1] - pair[0]
    return float(np.arctan2(y, x))


def _median(values: Array, weight: Array) -> float:
    """Return the weighted median of (N,) values."""
    order = np.argsort(values)
    passed = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(passed, passed[-1] / 2)])
