"""Where surfaces lie, and which way they face: of a thing both tell on which side of it one can stand."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from loc3r_ros.data.dense import cell_middles
from loc3r_ros.train.grounding import cells_within
from loc3r_ros.world.sample import camera_matrix


def cell_rays(size: int, cells: int, cell_pixels: float) -> Tensor:
    """Return (R, R, 3) the optical rays, 1 deep, through the middles of a square picture's cells.

    Args:
        size: side of a picture, pixels.
        cells: R, along a side.
        cell_pixels: side of a cell.
    """
    at = cell_middles(cells, cell_pixels)
    pixels = np.stack((*np.meshgrid(at, at), np.ones((cells, cells))), axis=-1)
    return torch.from_numpy(pixels @ np.linalg.inv(camera_matrix(size, size)).T).float()


def lying(depth: Tensor, pose: Tensor, rays: Tensor) -> Tensor:
    """Return (B, F, R, R, 2) x, y in the anchor frame, metres, of what the middles of cells show.

    A patch has one place, which is not that of a small thing before a far wall; a cell has.

    Args:
        depth: (B, F, R, R) metres along the optical axis.
        pose: (B, F, 4, 4) world_t_camera; the first camera of a walk is its anchor.
        rays: (R, R, 3) optical rays through the middles, 1 deep.
    """
    anchor_r_world = _anchor_r_world(pose)
    rotation = (anchor_r_world[:, None] @ pose[..., :2, :3]).float()
    origin = torch.einsum("bij,bfj->bfi", anchor_r_world, pose[..., :2, 3] - pose[:, :1, :2, 3]).float()
    return torch.einsum("bfij,rcj,bfrc->bfrci", rotation, rays, depth.float()) + origin[:, :, None, None]


def facing(normal: Tensor, pose: Tensor) -> Tensor:
    """Return (B, F, R, R, 2) the parts of normals along the floor, in the anchor frame; 0 where unknown.

    Args:
        normal: (B, F, R, R, 3) of the pictures' cells, towards the camera, in its optical axes; 0 where unknown.
        pose: (B, F, 4, 4) world_t_camera; the first camera of a walk is its anchor.
    """
    rotation = (_anchor_r_world(pose)[:, None] @ pose[..., :2, :3]).float()
    return torch.einsum("bfij,bfrcj->bfrci", rotation, normal.float())


def _anchor_r_world(pose: Tensor) -> Tensor:
    """Return (B, 2, 2) the turn along the floor to the anchor frame, of cameras (B, F, 4, 4)."""
    ahead = F.normalize(pose[:, 0, :2, 2], dim=-1)
    return torch.stack((ahead, torch.stack((-ahead[:, 1], ahead[:, 0]), dim=-1)), dim=1)


def facing_of_patches(facing: Tensor, patches: int, pixels: float) -> Tensor:
    """Return (B, F, patches * patches, 2) the means over the cells of each patch.

    Cells of a floor, and those that are unknown, count as 0: the shorter the mean, the less of a patch faces one way.

    Args:
        facing: (B, F, R, R, 2) of cells.
        patches: along a side.
        pixels: side of a patch, in cells.
    """
    within = cells_within(facing.shape[2], patches, pixels, facing.device)
    within = within / within.sum(dim=1, keepdim=True).clamp_min(1.0)
    return torch.einsum("pr,bfrcx,qc->bfpqx", within, facing, within).flatten(2, 3)


def things_in_patches(thing: Tensor, lying: Tensor, patches: int, pixels: float) -> tuple[Tensor, Tensor]:
    """Return (B, F, patches * patches, 2) where the thing lies that most cells of a patch show, and if any shows one.

    Args:
        thing: (B, F, R, R) numbers of what cells show, the same for things that look alike; negative for no thing.
        lying: (B, F, R, R, 2) of the cells, metres.
        patches: along a side.
        pixels: side of a patch, in cells.
    """
    within = cells_within(thing.shape[2], patches, pixels, thing.device)
    real, cells = within.topk(int(within.sum(dim=1).max()), dim=1)
    row, column = cells[:, None, :, None], cells[None, :, None, :]
    outside = (real[:, None, :, None] * real[None, :, None, :] == 0).flatten(2)
    things = thing[:, :, row, column].flatten(4).masked_fill(outside, -1)
    same = (things[..., None] == things[..., None, :]) & (things >= 0)[..., None]
    most = things.gather(-1, same.sum(dim=-1).argmax(dim=-1, keepdim=True))
    shows = ((things == most) & (things >= 0)).to(lying.dtype)
    total = (shows[..., None] * lying[:, :, row, column].flatten(4, 5)).sum(dim=-2)
    count = shows.sum(dim=-1)
    return (total / count.clamp_min(1.0)[..., None]).flatten(2, 3), (count > 0).flatten(2, 3)
