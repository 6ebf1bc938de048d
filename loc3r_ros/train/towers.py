"""The frozen networks of the joint stage: pictures to vision features and camera tokens, computed once for a scene."""

from __future__ import annotations

import hashlib

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from loc3r_ros.errors import ConfigError
from loc3r_ros.export.source import hash_weights
from loc3r_ros.model.config import Loc3RConfig
from loc3r_ros.model.cut3r import Cut3R
from loc3r_ros.model.vision import VisionTower
from loc3r_ros.train.stage import scaled_pixels
from loc3r_ros.world.generate import GENERATOR_VERSION

FRAMES_AT_ONCE = {"cpu": 8, "cuda": 2048}
FORMAT = 2
"""Of the cached files; raise it when what they hold changes."""


class FrozenTowers:
    """Vision tower and pose prior, as the robot runs them."""

    def __init__(self, vision: VisionTower, prior: Cut3R, config: Loc3RConfig) -> None:
        check_route(config)
        self.vision = vision.eval().requires_grad_(False)
        self.prior = prior.eval().requires_grad_(False)
        self.size = config.pose_prior.image_size
        self.dtype = torch.float32

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move the networks; the vision tower also computes in a type, the pose prior stays in float32."""
        self.vision.to(device=device)
        self.prior.to(device=device)
        self.dtype = dtype

    def key(self, frames: int) -> str:
        """Return a name for the features of walks of a length: equal only where they are."""
        text = f"{hash_weights(self.vision, self.prior)} {self.dtype} {self.size} {frames} {GENERATOR_VERSION} {FORMAT}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @torch.no_grad()
    def see(self, rgb: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of B scenes' walks.

        Args:
            rgb: (B, N, S, S, 3) uint8 pictures, on the networks' device.

        Returns:
            (B, N, grid * grid, width) features of the vision tower and (B, N, camera_dim) camera tokens, in float16.
        """
        parts = rgb.flatten(0, 1).split(FRAMES_AT_ONCE[rgb.device.type])
        with torch.autocast(rgb.device.type, self.dtype, enabled=self.dtype != torch.float32):
            vision = [self.vision(scaled_pixels(part)) for part in parts]
        small = torch.cat([self._resized(scaled_pixels(part)) for part in parts])
        predictions = self.prior(small.unflatten(0, rgb.shape[:2]), dense=False)
        camera = torch.stack([prediction.camera_token for prediction in predictions], dim=1)
        return torch.cat([part.half() for part in vision]).unflatten(0, rgb.shape[:2]), camera.half()

    def _resized(self, pixels: Tensor) -> Tensor:
        if pixels.shape[-2:] == self.size:
            return pixels
        return F.interpolate(pixels, self.size, mode="bilinear", align_corners=False)


def check_route(config: Loc3RConfig) -> None:
    """Raise ConfigError unless the pose prior sees the vision tower's picture, which is what training feeds it."""
    if config.pose_prior.route != "vlm3r":
        raise ConfigError(
            f'Training feeds the pose prior by the route "vlm3r", but the model has {config.pose_prior.route!r}: '
            "change pose_prior.route in its config.json."
        )
