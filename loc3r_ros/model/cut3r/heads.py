"""Heads of CUT3R: the camera pose, and point maps in the view of this camera and in the world.

Every output is metric. Raw outputs become lengths through expm1, so that they span all scales.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from loc3r_ros.model.config import PosePriorConfig
from loc3r_ros.model.cut3r.dpt import DptAdapter
from loc3r_ros.model.cut3r.layers import Mlp, ModulatedBlock
from loc3r_ros.model.cut3r.rope import Rope

TINY = 1e-8
FINAL_BLOCKS = 2
POINT_CHANNELS = 4
RGB_CHANNELS = 3
POSE_CHANNELS = 7


class PointMaps(NamedTuple):
    """Dense predictions for one frame.

    Attributes:
        points_self: (B, H, W, 3) metres, in this camera's optical axes.
        confidence_self: (B, H, W), at least 1.
        points_world: (B, H, W, 3) metres, in the first camera's frame.
        confidence_world: (B, H, W), at least 1.
        rgb: (B, H, W, 3) in [-1, 1].
    """

    points_self: Tensor
    confidence_self: Tensor
    points_world: Tensor
    confidence_world: Tensor
    rgb: Tensor


def expand(raw: Tensor) -> Tensor:
    """Give (..., 3) vectors the length expm1 of their own."""
    length = raw.norm(dim=-1, keepdim=True)
    return raw * (torch.expm1(length) / length.clamp(min=TINY))


def widen(raw: Tensor) -> Tensor:
    """Return half-precision values as float32: lengths grow with the exponential of the raw outputs."""
    return raw.to(torch.promote_types(raw.dtype, torch.float32))


def decode_pose(raw: Tensor) -> Tensor:
    """Return (..., 7) translation and unit quaternion (w, x, y, z), w >= 0, of (..., 7) raw outputs."""
    raw = widen(raw)
    quaternion = F.normalize(raw[..., 3:], dim=-1)
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    return torch.cat([expand(raw[..., :3]), quaternion], dim=-1)


def rotation_matrix(quaternion: Tensor) -> Tensor:
    """Return the (..., 3, 3) rotation of (..., 4) unit quaternions (w, x, y, z)."""
    w, x, y, z = quaternion.unbind(dim=-1)
    return torch.stack(
        [
            1 - 2 * (y * y + z * z),
            2 * (x * y - w * z),
            2 * (x * z + w * y),
            2 * (x * y + w * z),
            1 - 2 * (x * x + z * z),
            2 * (y * z - w * x),
            2 * (x * z - w * y),
            2 * (y * z + w * x),
            1 - 2 * (x * x + y * y),
        ],
        dim=-1,
    ).unflatten(-1, (3, 3))


def pose_matrix(pose: Tensor) -> Tensor:
    """Return the (..., 4, 4) transform of (..., 7) translation and unit quaternion (w, x, y, z)."""
    top = torch.cat([rotation_matrix(pose[..., 3:]), pose[..., :3, None]], dim=-1)
    bottom = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=pose.dtype, device=pose.device).expand_as(top[..., :1, :])
    return torch.cat([top, bottom], dim=-2)


def decode_points(raw: Tensor, in_front: bool = False) -> tuple[Tensor, Tensor]:
    """Return (B, H, W, 3) points and (B, H, W) confidences of (B, 4, H, W) raw outputs.

    Args:
        raw: x, y, z and confidence.
        in_front: turn points that lie behind the camera round, so that z >= 0.
    """
    raw = widen(raw.movedim(1, -1))
    points = raw[..., :3]
    if in_front:
        points = points * points[..., 2:].sign()
    return expand(points), 1 + raw[..., 3].exp()


def decode_rgb(raw: Tensor) -> Tensor:
    """Return (B, H, W, 3) colours in (-1, 1) of (B, 3, H, W) raw outputs."""
    return 2 * (widen(raw.movedim(1, -1)).sigmoid() * (1 - 2e-6) + 1e-6 - 0.5)


def sampled(maps: Tensor, stride: int) -> Tensor:
    """Return every stride-th pixel of (..., H, W) maps, from pixel stride // 2 on."""
    return maps[..., stride // 2 :: stride, stride // 2 :: stride]


class PoseHead(nn.Module):
    """Camera token -> camera pose."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mlp = Mlp(dim, POSE_CHANNELS)

    def forward(self, camera_token: Tensor) -> Tensor:
        """(..., dim) -> (..., 7) translation and unit quaternion (w, x, y, z), camera to world."""
        return decode_pose(self.mlp(camera_token))


class Heads(nn.Module):
    """The pose head alone: a network without point maps."""

    def __init__(self, config: PosePriorConfig) -> None:
        super().__init__()
        self.pose_head = PoseHead(config.decoder_dim)


class DenseHeads(Heads):
    """Pose head, and point maps from the patch tokens; world points are conditioned on the camera token."""

    def __init__(self, config: PosePriorConfig) -> None:
        super().__init__(config)
        self.final_transform = nn.ModuleList(
            ModulatedBlock(config.decoder_dim, config.decoder_heads) for _ in range(FINAL_BLOCKS)
        )

    def transform(self, tokens: Tensor, camera_token: Tensor, table: Rope) -> Tensor:
        """Return the (B, N, dim) tokens as the world head reads them; camera_token is (B, 1, dim)."""
        for block in self.final_transform:
            tokens = block(tokens, camera_token, table)
        return tokens

    def point_maps(
        self, hooks: list[Tensor], camera_token: Tensor, table: Rope, rows: int, stride: int = 1
    ) -> PointMaps:
        """Predict point maps.

        Args:
            hooks: four (B, N, dim) stages of the patch tokens: encoder, half-way, three quarters, last.
            camera_token: (B, 1, dim).
            table: rotary embedding of the patches.
            rows: rows of patches; row by row they give the N tokens.
            stride: predict every stride-th pixel only, from pixel stride // 2 on; it divides the patch.
        """
        raise NotImplementedError


class LinearHeads(DenseHeads):
    """An MLP for each patch token gives all its pixels."""

    def __init__(self, config: PosePriorConfig) -> None:
        super().__init__(config)
        self.patch_size = config.patch_size
        pixels = config.patch_size**2
        self.proj = Mlp(config.decoder_dim, POINT_CHANNELS * pixels)
        self.rgb_proj = Mlp(config.decoder_dim, RGB_CHANNELS * pixels)
        self.cross_proj = Mlp(config.decoder_dim, POINT_CHANNELS * pixels)

    def point_maps(
        self, hooks: list[Tensor], camera_token: Tensor, table: Rope, rows: int, stride: int = 1
    ) -> PointMaps:
        """Predict point maps (see `DenseHeads`); points in the camera's own view lie in front of it."""
        tokens = hooks[-1]
        transformed = self.transform(tokens, camera_token, table)
        return PointMaps(
            *decode_points(self._pixels(self.proj, tokens, rows, stride), in_front=True),
            *decode_points(self._pixels(self.cross_proj, transformed, rows, stride)),
            decode_rgb(self._pixels(self.rgb_proj, tokens, rows, stride)),
        )

    def _pixels(self, head: Mlp, tokens: Tensor, rows: int, stride: int) -> Tensor:
        """(B, N, dim) -> (B, channels, H / stride, W / stride); only what is asked for is computed."""
        patch = (-1, self.patch_size, self.patch_size)
        weight = sampled(head.fc2.weight.T.unflatten(1, patch), stride).flatten(1).T
        bias = sampled(head.fc2.bias.unflatten(0, patch), stride)
        values = F.linear(F.gelu(head.fc1(tokens)), weight, bias.flatten())
        return F.pixel_shuffle(values.transpose(1, 2).unflatten(2, (rows, -1)), bias.shape[-1])


class DptHeads(DenseHeads):
    """Convolutional decoders fuse four stages of the tokens."""

    def __init__(self, config: PosePriorConfig) -> None:
        super().__init__(config)
        dims = (config.encoder_dim, config.decoder_dim, config.decoder_dim, config.decoder_dim)
        self.dpt_self = DptAdapter(dims, POINT_CHANNELS)
        self.dpt_cross = DptAdapter(dims, POINT_CHANNELS)
        self.dpt_rgb = DptAdapter(dims, RGB_CHANNELS)

    def point_maps(
        self, hooks: list[Tensor], camera_token: Tensor, table: Rope, rows: int, stride: int = 1
    ) -> PointMaps:
        """Predict point maps (see `DenseHeads`)."""
        maps = [hook.transpose(1, 2).unflatten(2, (rows, -1)) for hook in hooks]
        transformed = self.transform(hooks[-1], camera_token, table).transpose(1, 2).unflatten(2, (rows, -1))
        return PointMaps(
            *decode_points(sampled(self.dpt_self(maps), stride)),
            *decode_points(sampled(self.dpt_cross([*maps[:-1], transformed]), stride)),
            decode_rgb(sampled(self.dpt_rgb(maps), stride)),
        )


HEADS = {"none": Heads, "linear": LinearHeads, "dpt": DptHeads}
