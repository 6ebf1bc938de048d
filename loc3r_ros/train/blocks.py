"""Attention of packed texts in blocks: on a CPU, keys that no token of a block may see cost as much as others.

Texts stand side by side behind their video (see `train.packing`), so that a text's tokens see the video and a small
part of the row. A GPU's kernels take the row whole, and CUDA graphs need it so.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from loc3r_ros.model.language import LanguageModel

NAME = "loc3r_blocks"
ROWS = 192
"""Tokens of a block: about five texts. Smaller blocks see fewer keys and copy those of the video more often."""


def attend_in_blocks(language: LanguageModel) -> None:
    """Make all layers of a language model attend in blocks from here on; what they give stays the same."""
    ALL_ATTENTION_FUNCTIONS.register(NAME, block_attention)
    for layer in language.layers:
        attention: Any = layer.self_attn
        attention.config._attn_implementation = NAME


def block_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Attend as SDPA does, `ROWS` new tokens at a time.

    Args:
        module: the attention layer.
        query: (B, H, S, D) of the new tokens.
        key: (B, G, P + S, D) of the P tokens before them and of them, G a divisor of H.
        value: the same.
        attention_mask: (B or 1, 1, S, P + S) bool, causal; None where there is nothing before.
        options: of transformers' attention functions.

    Returns:
        (B, S, H, D), and no weights.
    """
    rows = query.shape[2]
    if attention_mask is None or rows <= ROWS:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    before, groups = key.shape[2] - rows, query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    parts = []
    for start in range(0, rows, ROWS):
        mask = attention_mask[:, :, start : start + ROWS]
        seen = _seen(mask, before, before + start + mask.shape[2])
        keys, values, mask = _of(seen, key, 2), _of(seen, value, 2), _of(seen, mask, 3)
        queries = query[:, :, start : start + ROWS]
        parts.append(
            F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, scale=options.get("scaling"))
        )
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


def _seen(mask: Tensor, before: int, end: int) -> tuple[slice, slice]:
    """Return the keys that a block needs: those before all texts, and those up to its end from the first it sees."""
    first = int(mask[..., before:end].flatten(0, 2).any(0).int().argmax())
    return slice(0, before), slice(before + first, end)


def _of(seen: tuple[slice, slice], tensor: Tensor, dim: int) -> Tensor:
    return torch.cat([tensor.narrow(dim, part.start, part.stop - part.start) for part in seen], dim=dim)
