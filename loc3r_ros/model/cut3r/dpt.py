"""Dense prediction transformer (Ranftl et al., "Vision Transformers for Dense Prediction", 2021), as CUT3R uses it."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

STAGE_DIMS = (96, 192, 384, 768)
DIM = 256
HEAD_DIM = 128


def upsample(x: Tensor) -> Tensor:
    """Double height and width of (B, C, H, W), corner aligned."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)


class ResidualConvUnit(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(DIM, DIM, 3, padding=1)
        self.conv2 = nn.Conv2d(DIM, DIM, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 256, H, W) -> (B, 256, H, W)."""
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class Fusion(nn.Module):
    """Adds a finer stage to the coarser result and doubles its size; the coarsest stage has nothing to be added to."""

    def __init__(self, coarsest: bool) -> None:
        super().__init__()
        if not coarsest:
            self.resConfUnit1 = ResidualConvUnit()
        self.resConfUnit2 = ResidualConvUnit()
        self.out_conv = nn.Conv2d(DIM, DIM, 1)

    def forward(self, x: Tensor, finer: Tensor | None = None) -> Tensor:
        """(B, 256, H, W) -> (B, 256, 2 H, 2 W)."""
        if finer is not None:
            x = x + self.resConfUnit1(finer)
        return self.out_conv(upsample(self.resConfUnit2(x)))


class Scratch(nn.Module):
    """Brings four stages to one width and fuses them from coarse to fine."""

    def __init__(self) -> None:
        super().__init__()
        self.layer_rn = nn.ModuleList(nn.Conv2d(dim, DIM, 3, padding=1, bias=False) for dim in STAGE_DIMS)
        self.refinenet1 = Fusion(coarsest=False)
        self.refinenet2 = Fusion(coarsest=False)
        self.refinenet3 = Fusion(coarsest=False)
        self.refinenet4 = Fusion(coarsest=True)

    def forward(self, stages: list[Tensor]) -> Tensor:
        """Stages at 4, 2, 1 and 1/2 times the grid of patches -> (B, 256, 8 rows, 8 columns)."""
        first, second, third, fourth = (conv(stage) for conv, stage in zip(self.layer_rn, stages, strict=True))
        x = self.refinenet4(fourth)[..., : third.shape[-2], : third.shape[-1]]  # an odd grid was rounded up
        x = self.refinenet3(x, third)
        x = self.refinenet2(x, second)
        return self.refinenet1(x, first)


class DptAdapter(nn.Module):
    """Four stages of patch tokens -> one map at the resolution of the image (16 pixels for each patch)."""

    def __init__(self, dims: tuple[int, int, int, int], channels: int) -> None:
        super().__init__()
        self.scratch = Scratch()
        a, b, c, d = STAGE_DIMS
        self.act_postprocess = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(dims[0], a, 1), nn.ConvTranspose2d(a, a, 4, stride=4)),
                nn.Sequential(nn.Conv2d(dims[1], b, 1), nn.ConvTranspose2d(b, b, 2, stride=2)),
                nn.Sequential(nn.Conv2d(dims[2], c, 1)),
                nn.Sequential(nn.Conv2d(dims[3], d, 1), nn.Conv2d(d, d, 3, stride=2, padding=1)),
            ]
        )
        self.head = nn.Sequential(
            nn.Conv2d(DIM, HEAD_DIM, 3, padding=1),
            nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=True),
            nn.Conv2d(HEAD_DIM, HEAD_DIM, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(HEAD_DIM, channels, 1),
        )

    def forward(self, stages: list[Tensor]) -> Tensor:
        """Four (B, dim, rows, columns) -> (B, channels, 16 rows, 16 columns)."""
        resized = [resize(stage) for resize, stage in zip(self.act_postprocess, stages, strict=True)]
        return self.head(self.scratch(resized))
