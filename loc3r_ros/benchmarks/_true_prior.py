"""A pose prior that knows the truth and errs by a stated amount: what the way to the map makes of one that is trained.

The camera writes its true pose into the first rows of its picture (`sign`); the prior reads it there, so that it works
wherever the picture goes: through a rebuild, a saved memory, another process. It stands in for the engine of a model
whose picture has the camera's size.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from loc3r_ros import geometry
from loc3r_ros.engines import EngineSet
from loc3r_ros.engines.manifest import GraphSpec
from loc3r_ros.engines.protocol import Array, Buffer, Engine, Value
from loc3r_ros.errors import ImageError
from loc3r_ros.interface import FloatArray, ImageArray

NUMBERS = 15
"""A (3, 4) pose and a (3,) jump, as float64."""
REMEMBERED = 22
"""Of the state: first pose (12) and jump (3), last position (3), drift (3), scale."""


@dataclass(frozen=True)
class PriorNoise:
    """What the prior gets wrong, as standard deviations.

    Attributes:
        position: of each look, metres per axis.
        heading: of each look, radians.
        position_walk: drift along the keyframes, metres per axis after 1 m; grows with the square root.
        heading_walk: the same of the heading, radians.
        scale: of the log of its scale, anew in every anchor.
    """

    position: float = 0.05
    heading: float = math.radians(1.5)
    position_walk: float = 0.03
    heading_walk: float = math.radians(0.7)
    scale: float = 0.05

    @property
    def position_sigma(self) -> float:
        """What a calibration would say of a position within a memory of some metres."""
        return math.hypot(self.position, 2.5 * self.position_walk)

    @property
    def heading_sigma(self) -> float:
        """The same of a heading."""
        return math.hypot(self.heading, 2.5 * self.heading_walk)


def sign(picture: ImageArray, world_t_camera: FloatArray, jump: FloatArray | None = None) -> ImageArray:
    """Return a picture in which the pose of its camera is written.

    Args:
        picture: (H, W, 3) with room for 120 bytes.
        world_t_camera: (4, 4) true pose.
        jump: (3,) all that the prior has gone wrong by until now, beside its noise; one that begins here is right.
    """
    numbers = np.concatenate([world_t_camera[:3].ravel(), np.zeros(3) if jump is None else jump])
    signed = picture.copy()
    signed.reshape(-1)[: 8 * NUMBERS] = np.frombuffer(numbers.astype("<f8").tobytes(), np.uint8)
    return signed


def read(picture: ImageArray) -> tuple[FloatArray, FloatArray]:
    """Return the (4, 4) pose and the (3,) jump that `sign` wrote.

    Raises:
        ImageError: there is none.
    """
    numbers = np.frombuffer(picture.reshape(-1)[: 8 * NUMBERS].tobytes(), "<f8")
    pose = np.eye(4)
    pose[:3] = numbers[:12].reshape(3, 4)
    if not geometry.is_valid_pose(pose):
        raise ImageError("The picture does not say where its camera is: it was resized, or nobody signed it.")
    return pose, numbers[12:]


@dataclass
class TruePrior:
    """Stands in for the engine of the pose prior."""

    engine: Engine
    state: str
    noise: PriorNoise = field(default_factory=PriorNoise)

    @property
    def spec(self) -> GraphSpec:
        """That of the engine."""
        return self.engine.spec

    def run(self, inputs: Mapping[str, Value], into: Mapping[str, Buffer] | None = None) -> dict[str, Array]:
        """Return the noisy pose in the frame of the first camera, and a camera token of zeros."""
        picture, before = inputs["image"], inputs[self.state]
        assert isinstance(picture, np.ndarray) and into is not None
        memory = (before if isinstance(before, np.ndarray) else before.read()).astype(np.float64)
        pose, jump = read(picture)
        draw = np.random.default_rng(zlib.crc32(picture.tobytes()))
        numbers: FloatArray = memory.ravel()[:REMEMBERED]
        if bool(np.asarray(inputs["is_first"]).any()):
            scale = math.exp(draw.normal(0.0, self.noise.scale))
            numbers = np.concatenate([pose[:3].ravel(), jump, pose[:3, 3], np.zeros(3), [scale]])
        numbers, seen = self._look(pose, jump, numbers, draw)
        memory.ravel()[:REMEMBERED] = numbers
        buffer = into[f"new_{self.state}"]
        buffer.write(memory.astype(self.spec.inputs[self.state].dtype))
        tokens = self.spec.outputs["camera_token"].shape
        return {"camera_token": np.zeros([int(size) for size in tokens], np.float32), "world_t_camera": seen}

    def _look(
        self, pose: FloatArray, jump: FloatArray, numbers: FloatArray, draw: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        """Return the state behind this frame, and the pose that the prior gives of it."""
        first = np.eye(4)
        first[:3] = numbers[:12].reshape(3, 4)
        way = math.sqrt(float(np.linalg.norm(pose[:3, 3] - numbers[15:18])))
        walk = way * np.array([self.noise.position_walk, self.noise.position_walk, self.noise.heading_walk])
        drift, scale = numbers[18:21] + walk * draw.standard_normal(3), numbers[21]
        white = np.array([self.noise.position, self.noise.position, self.noise.heading]) * draw.standard_normal(3)
        x, y, heading = drift + white + jump - numbers[12:15]
        off = pose.copy()
        off[:3, :3] = geometry.from_planar((0.0, 0.0, heading))[:3, :3] @ pose[:3, :3]
        off[:2, 3] += x, y
        seen = geometry.invert(first) @ off
        seen[:3, 3] /= scale
        return np.concatenate([numbers[:15], pose[:3, 3], drift, [scale]]), seen


def with_true_prior(engines: EngineSet, noise: PriorNoise) -> EngineSet:
    """Return engines whose pose prior knows the truth, with the calibration that belongs to its noise."""
    shapes = engines.manifest.pose_prior.state
    state = next(name for name, shape in shapes.items() if math.prod(shape) >= REMEMBERED)
    calibration = replace(
        engines.manifest.calibration, own_position_sigma=noise.position_sigma, own_heading_sigma=noise.heading_sigma
    )
    return replace(
        engines,
        manifest=replace(engines.manifest, calibration=calibration),
        pose_prior=TruePrior(engines.pose_prior, state, noise),
    )
