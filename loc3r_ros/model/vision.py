"""What the language model sees of a frame: SigLIP tower and pooling, as LLaVA-Video wires them."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import SiglipVisionConfig
from transformers.models.siglip.modeling_siglip import SiglipEncoderLayer

from loc3r_ros.model.config import Pool, VisionConfig

LAYER_NORM_EPS = 1e-6


def siglip_config(config: VisionConfig) -> SiglipVisionConfig:
    """Return the transformers config that SigLIP's layers are built from."""
    return SiglipVisionConfig(  # type: ignore[call-arg]
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        image_size=config.image_size,
        patch_size=config.patch_size,
        hidden_act="gelu_pytorch_tanh",
        layer_norm_eps=LAYER_NORM_EPS,
        attn_implementation="sdpa",
    )


class VisionTower(nn.Module):
    """SigLIP without its last layer and pooling head; the feature is the last kept layer's output, before any norm."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width = config.hidden_size
        siglip = siglip_config(config)
        self.patch_embedding = nn.Conv2d(3, width, config.patch_size, stride=config.patch_size)
        self.position_embedding = nn.Embedding(config.grid**2, width)
        self.layers = nn.ModuleList([SiglipEncoderLayer(siglip) for _ in range(config.layers)])
        # Every LLaVA-Video checkpoint carries this norm; its features are taken before it, so it never learns.
        self.post_layernorm = nn.LayerNorm(width, eps=LAYER_NORM_EPS).requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return patch features (N, grid * grid, hidden_size) of frames (N, 3, size, size) in [-1, 1], row-major."""
        patches = self.patch_embedding(pixels.to(self.patch_embedding.weight.dtype))
        hidden = patches.flatten(2).transpose(1, 2) + self.position_embedding.weight
        for layer in self.layers:
            hidden = layer(hidden, attention_mask=None)
        return hidden


def pool_patches(patches: Tensor, pool: Pool, stride: int) -> Tensor:
    """Pool the square grid of projected patches, after the projector as LLaVA-Video does.

    Args:
        patches: (N, grid * grid, width), row-major.
        pool: "bilinear" samples ceil(grid / stride) points a side (half-pixel centres, no antialiasing); "average"
            takes the mean of whole stride x stride cells and drops what is left over.
        stride: patches joined along a side.

    Returns:
        (N, side * side, width).
    """
    count, tokens, width = patches.shape
    grid = round(int(tokens) ** 0.5)  # int: a tracer counts in tensors
    image = patches.transpose(1, 2).reshape(count, width, grid, grid)
    if pool == "average":
        pooled = F.avg_pool2d(image, stride)
    else:
        taps = bilinear_taps(grid, -(-grid // stride), patches.device).to(patches)
        pooled = taps @ image @ taps.T
    return pooled.flatten(2).transpose(1, 2)


def bilinear_taps(source: int, target: int, device: torch.device | None = None) -> Tensor:
    """Return the (target, source) weights of one side of a bilinear resize, half-pixel centres, no antialiasing."""
    rows, columns = (torch.arange(size, dtype=torch.float64, device=device) for size in (target, source))
    centres = ((rows + 0.5) * source / target - 0.5).clamp(0, source - 1)
    distance = (centres[:, None] - columns[None, :]).abs()
    return (1 - distance).clamp_min(0).float()
