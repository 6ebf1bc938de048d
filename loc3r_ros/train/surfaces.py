"""Which way surfaces face that patches show: what a name says of it tells on which side of a thing one can stand."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from loc3r_ros.train.grounding import cells_within


def facing(normal: Tensor, pose: Tensor) -> Tensor:
    """Return (B, F, R, R, 2) the parts of normals along the floor, in the anchor frame; 0 where unknown.

    Args:
        normal: (B, F, R, R, 3) of the pictures' cells, towards the camera, in its optical axes; 0 where unknown.
        pose: (B, F, 4, 4) world_t_camera; the first camera of a walk is its anchor.
    """
    ahead = F.normalize(pose[:, 0, :2, 2], dim=-1)
    anchor_r_world = torch.stack((ahead, torch.stack((-ahead[:, 1], ahead[:, 0]), dim=-1)), dim=1)
    rotation = (anchor_r_world[:, None] @ pose[..., :2, :3]).float()
    return torch.einsum("bfij,bfrcj->bfrci", rotation, normal.float())


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
