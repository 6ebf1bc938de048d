"""The frozen networks of the joint stage: pictures to vision features and camera tokens, computed once for a scene."""

from __future__ import annotations

import hashlib

import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from loc3r_ros.data.cache import SceneFeatures
from loc3r_ros.data.scenes import SceneVideo
from loc3r_ros.errors import ConfigError
from loc3r_ros.export.source import hash_weights
from loc3r_ros.model.config import Loc3RConfig
from loc3r_ros.model.cut3r import Cut3R
from loc3r_ros.model.vision import VisionTower
from loc3r_ros.train.stage import scaled_pixels
from loc3r_ros.world.generate import GENERATOR_VERSION

FRAMES_AT_ONCE = 8
FORMAT = 1
"""Of the cached files; raise it when what they hold changes."""


class FrozenTowers:
    """Vision tower and pose prior, as the robot runs them."""

    def __init__(self, vision: VisionTower, prior: Cut3R, config: Loc3RConfig) -> None:
        check_route(config)
        self.vision = vision.eval().requires_grad_(False)
        self.prior = prior.eval().requires_grad_(False)
        self.size = config.pose_prior.image_size

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move the networks; the vision tower also takes a type, the pose prior stays in float32."""
        self.vision.to(device=device, dtype=dtype)
        self.prior.to(device=device)

    def key(self, frames: int) -> str:
        """Return a name for the features of walks of a length: equal only where they are."""
        dtype = next(self.vision.parameters()).dtype
        text = f"{hash_weights(self.vision, self.prior)} {dtype} {self.size} {frames} {GENERATOR_VERSION} {FORMAT}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @torch.no_grad()
    def see(self, scene: SceneVideo) -> SceneFeatures:
        """Return the features of a scene."""
        rgb = torch.from_numpy(scene.rgb).to(self.prior.pose_token.device)
        pixels = scaled_pixels(rgb)
        vision = torch.cat([self.vision(part) for part in pixels.split(FRAMES_AT_ONCE)])
        return SceneFeatures(scene.truth, _half(vision), _half(self.camera_tokens(pixels)))

    def camera_tokens(self, pixels: Tensor) -> Tensor:
        """Return the (N, camera_dim) camera tokens of a walk's frames (N, 3, S, S) in [-1, 1]."""
        if pixels.shape[-2:] != self.size:
            pixels = F.interpolate(pixels, self.size, mode="bilinear", align_corners=False)
        predictions = self.prior(pixels[None], dense=False)
        return torch.cat([prediction.camera_token for prediction in predictions])


def check_route(config: Loc3RConfig) -> None:
    """Raise ConfigError unless the pose prior sees the vision tower's picture, which is what training feeds it."""
    if config.pose_prior.route != "vlm3r":
        raise ConfigError(
            f'Training feeds the pose prior by the route "vlm3r", but the model has {config.pose_prior.route!r}: '
            "change pose_prior.route in its config.json."
        )


def _half(features: Tensor) -> NDArray:
    return features.half().cpu().numpy()
