"""What CUT3R is trained on: metric point maps in two views, with confidence, and camera poses.

Wang et al., "Continuous 3D Perception Model with Persistent State", 2025, section 3.5, on top of the confidence of
Wang et al., "DUSt3R: Geometric 3D Vision Made Easy", 2024, section 3.3. The world is the first camera's frame.
Shapes: B sequences of T frames of H x W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from loc3r_ros.errors import ConfigError
from loc3r_ros.model.cut3r.heads import rotation_matrix
from loc3r_ros.model.cut3r.network import FramePrediction

CONFIDENCE_WEIGHT = 0.2
SPANS = (1, 3)
"""Pictures between two whose motion counts."""
MIN_SCALE = 1e-6


class Targets(NamedTuple):
    """The truth of B sequences.

    Attributes:
        points_self: (B, T, H, W, 3) metres, in each camera's optical axes.
        points_world: (B, T, H, W, 3) metres, in the first camera's frame.
        valid: (B, T, H, W) bool; points elsewhere may hold anything.
        pose: (B, T, 7) camera-to-world translation and unit quaternion (w, x, y, z).
        rgb: (B, T, H, W, 3) in [-1, 1].
    """

    points_self: Tensor
    points_world: Tensor
    valid: Tensor
    pose: Tensor
    rgb: Tensor


class Losses(NamedTuple):
    """The terms of the objective, each a scalar."""

    points_self: Tensor
    points_world: Tensor
    pose: Tensor
    rgb: Tensor

    def total(self) -> Tensor:
        """Return their sum."""
        return torch.stack(self).sum()


def cut3r_loss(predictions: Sequence[FramePrediction], targets: Targets, metric: bool = True) -> Losses:
    """Compare the predictions of T frames with the truth.

    Args:
        predictions: of `Cut3R.forward`; point maps are compared for the frames that have some.
        targets: the truth.
        metric: errors of predicted lengths count; False compares shapes only, each at its own scale.
    """
    maps = {t: one.point_maps for t, one in enumerate(predictions) if one.point_maps is not None}
    if not maps:
        raise ConfigError("CUT3R's losses need the point maps of a frame: build the network with a dense head.")
    points_self, confidence_self, points_world, confidence_world, rgb = (
        torch.stack(parts, dim=1) for parts in zip(*maps.values(), strict=True)
    )
    pose = torch.stack([prediction.pose for prediction in predictions], dim=1)
    seen = Targets(*(part[:, list(maps)] for part in targets))
    scale = mean_distance(seen.points_world, seen.valid)
    predicted_scale = scale if metric else mean_distance(points_world, seen.valid)
    scales = (predicted_scale, scale)
    return Losses(
        points_self=point_loss(points_self, confidence_self, seen.points_self, seen.valid, scales),
        points_world=point_loss(points_world, confidence_world, seen.points_world, seen.valid, scales),
        pose=pose_loss(pose, targets.pose, scales),
        rgb=F.mse_loss(rgb, seen.rgb),
    )


def point_loss(
    points: Tensor, confidence: Tensor, target: Tensor, valid: Tensor, scales: tuple[Tensor, Tensor]
) -> Tensor:
    """Return the mean over valid pixels of c |x / s - x* / s*| - 0.2 log c; zero where no pixel is valid.

    Args:
        points: (B, T, H, W, 3) prediction x.
        confidence: (B, T, H, W) c, at least 1.
        target: (B, T, H, W, 3) truth x*.
        valid: (B, T, H, W) bool.
        scales: (B,) s and s*.
    """
    predicted_scale, scale = (s[:, None, None, None, None] for s in scales)
    target = torch.where(valid[..., None], target, 0.0)
    error = torch.linalg.vector_norm(points / predicted_scale - target / scale, dim=-1)
    loss = confidence * error - CONFIDENCE_WEIGHT * confidence.log()
    return torch.where(valid, loss, 0.0).sum() / valid.sum().clamp(min=1)


def pose_loss(pose: Tensor, target: Tensor, scales: tuple[Tensor, Tensor]) -> Tensor:
    """Return the mean over frames of the error of the translation, over the scale, plus that of the quaternion.

    A quaternion and its negative are the same rotation, so the nearer of the two counts: half-turns have no seam.

    Args:
        pose: (B, T, 7) prediction.
        target: (B, T, 7) truth.
        scales: (B,) of the prediction and of the truth.
    """
    predicted_scale, scale = (s[:, None, None] for s in scales)
    translation = torch.linalg.vector_norm(pose[..., :3] / predicted_scale - target[..., :3] / scale, dim=-1)
    q, q_target = pose[..., 3:], target[..., 3:]
    q_target = torch.where((q * q_target).sum(dim=-1, keepdim=True) < 0, -q_target, q_target)
    return (translation + torch.linalg.vector_norm(q - q_target, dim=-1)).mean()


def motion_loss(pose: Tensor, target: Tensor, scale: Tensor) -> Tensor:
    """Return the mean error of the camera's motion over `SPANS`, as the earlier camera sees it.

    What `pose_loss` says of a frame far into a walk is mostly the drift of those before it; a motion is of its own
    frames alone. Errors count as there: translations over the scale, rotations by the sine of half their angle.

    Args:
        pose: (B, T, 7) prediction, T more than the shortest span.
        target: (B, T, 7) truth.
        scale: (B,) metres.
    """
    spans = [span for span in SPANS if span < pose.shape[1]]
    return torch.stack([_span_loss(motions(pose, span), motions(target, span), scale) for span in spans]).mean()


def motions(pose: Tensor, span: int) -> tuple[Tensor, Tensor]:
    """Return (B, T - span, 3) translations and (B, T - span, 3, 3) rotations earlier_t_later of (B, T, 7) poses."""
    rotation, place = rotation_matrix(pose[..., 3:]), pose[..., :3]
    back = rotation[:, :-span].mT
    return (back @ (place[:, span:] - place[:, :-span])[..., None])[..., 0], back @ rotation[:, span:]


def _span_loss(predicted: tuple[Tensor, Tensor], target: tuple[Tensor, Tensor], scale: Tensor) -> Tensor:
    moved, turned = (one - truth for one, truth in zip(predicted, target, strict=True))
    chord = turned.flatten(2).norm(dim=-1) / math.sqrt(8)
    return (moved.norm(dim=-1) / scale[:, None] + chord).mean()


def mean_distance(points: Tensor, valid: Tensor) -> Tensor:
    """Return the (B,) mean distance of the valid (B, T, H, W, 3) points from the origin."""
    distance = torch.where(valid[..., None], points, 0.0).norm(dim=-1)
    count = valid.sum(dim=(1, 2, 3)).clamp(min=1)
    return (distance.sum(dim=(1, 2, 3)) / count).clamp(min=MIN_SCALE)


def make_targets(images: Tensor, depth: Tensor, intrinsics: Tensor, world_t_camera: Tensor) -> Targets:
    """Return the truth of posed depth images.

    Args:
        images: (B, T, 3, H, W) RGB in [-1, 1].
        depth: (B, T, H, W) metres along the optical axis; 0, negative, infinite or NaN where unknown.
        intrinsics: (B, 3, 3) pinhole matrix for pixel centres at integer coordinates.
        world_t_camera: (B, T, 4, 4) camera poses, optical axes, in any common frame.
    """
    valid = torch.isfinite(depth) & (depth > 0)
    points_self = unproject(torch.where(valid, depth, 0.0), intrinsics)
    first_t_camera = torch.linalg.inv_ex(world_t_camera[:, :1]).inverse @ world_t_camera  # waits for no GPU
    rotation, translation = first_t_camera[..., :3, :3], first_t_camera[..., :3, 3]
    points_world = torch.einsum("btij,bthwj->bthwi", rotation, points_self) + translation[:, :, None, None]
    pose = torch.cat([translation, quaternion(rotation)], dim=-1)
    return Targets(points_self, points_world, valid, pose, images.movedim(2, -1))


def unproject(depth: Tensor, intrinsics: Tensor) -> Tensor:
    """Return the (B, T, H, W, 3) points of (B, T, H, W) depths under (B, 3, 3) pinhole matrices."""
    height, width = depth.shape[-2:]
    v, u = torch.meshgrid(
        torch.arange(height, dtype=depth.dtype, device=depth.device),
        torch.arange(width, dtype=depth.dtype, device=depth.device),
        indexing="ij",
    )
    pixels = torch.stack([u, v, torch.ones_like(u)], dim=-1)
    rays = torch.einsum("bij,hwj->bhwi", torch.linalg.inv_ex(intrinsics).inverse, pixels)
    return depth[..., None] * rays[:, None]


def quaternion(rotation: Tensor) -> Tensor:
    """Return the (..., 4) unit quaternions (w, x, y, z), w >= 0, of (..., 3, 3) rotations.

    Each row of Bar-Itzhack's symmetric matrix (2000), plus the identity, is a multiple of the quaternion; the row with
    the largest diagonal is never short.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = (row.unbind(-1) for row in rotation.unbind(-2))
    rows = [
        [xx + yy + zz, zy - yz, xz - zx, yx - xy],
        [zy - yz, xx - yy - zz, xy + yx, xz + zx],
        [xz - zx, xy + yx, yy - xx - zz, yz + zy],
        [yx - xy, xz + zx, yz + zy, zz - xx - yy],
    ]
    matrix = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    outer = matrix + torch.eye(4, dtype=matrix.dtype, device=matrix.device)
    longest = outer.diagonal(dim1=-2, dim2=-1).argmax(dim=-1)
    q = F.normalize(outer.gather(-2, longest[..., None, None].expand(*longest.shape, 1, 4))[..., 0, :], dim=-1)
    return torch.where(q[..., :1] < 0, -q, q)
