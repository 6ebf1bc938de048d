"""Decoding with seven kernels a layer, for the limit that the memory sets: what PyTorch's own kernels cost.

The same weights and the same function as the language graph's, where one token is asked for the next. Needs Triton,
which comes with PyTorch for GPUs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
import triton
from torch import Tensor, nn
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer

from loc3r_ros.export.decode_kernels import attend_kernel, join_kernel, matvec_kernel, place_kernel
from loc3r_ros.export.graphs import LanguageGraph, packed, rotation_of

SPLITS = 32
"""Parts of the prefix that are attended to side by side, a power of two."""
BLOCK = 64
LEAST_GROUP = 16
"""Rows of the smallest product that Triton knows."""


class Shape(NamedTuple):
    """How a product with a vector is cut: rows of a program, columns of a step, warps, steps that are loaded ahead."""

    rows: int
    width: int
    warps: int
    stages: int


USUAL = Shape(4, 512, 4, 1)
SHAPES = (USUAL, Shape(8, 512, 4, 1), Shape(2, 1024, 4, 1), Shape(4, 512, 4, 4), Shape(2, 1024, 4, 3))


@dataclass(frozen=True)
class Product:
    """A matrix, and what is done before and behind it.

    Attributes:
        weight: (count, length).
        norm: gain of the RMSNorm before it.
        second: (count, length) that the gated one is multiplied with.
        bias: (count,).
    """

    weight: Tensor
    norm: Tensor | None = None
    second: Tensor | None = None
    bias: Tensor | None = None


@dataclass(frozen=True)
class Layer:
    """The four products of a layer."""

    project: Product
    output: Product
    gate: Product
    down: Product


def layer_products(layer: Qwen2DecoderLayer) -> Layer:
    """Return a layer's products; queries, keys and values are one matrix, a copy."""
    attention, mlp = layer.self_attn, layer.mlp
    parts = (attention.q_proj, attention.k_proj, attention.v_proj)
    weight, bias = (torch.cat([getattr(part, name).data for part in parts]) for name in ("weight", "bias"))
    return Layer(
        Product(weight, norm=layer.input_layernorm.weight.data, bias=bias),
        Product(attention.o_proj.weight.data),
        Product(
            mlp.gate_proj.weight.data, norm=layer.post_attention_layernorm.weight.data, second=mlp.up_proj.weight.data
        ),
        Product(mlp.down_proj.weight.data),
    )


class FusedLanguage(nn.Module):
    """The language graph (same inputs, same outputs), whose single tokens of an answer run in fused kernels.

    Attributes:
        shapes: how each product of a layer, and the output head, is cut.
    """

    def __init__(self, graph: LanguageGraph) -> None:
        """Take over a graph, whose weights have their type and place already and are read from then on."""
        super().__init__()
        language = graph.language
        self.graph, self.config = graph, graph.config
        self._layers = [layer_products(cast(Qwen2DecoderLayer, layer)) for layer in language.layers]
        head = language.embed_tokens if language.lm_head is None else language.lm_head
        self._head = Product(head.weight.data, norm=language.norm.weight.data)
        self.shapes = dict.fromkeys(("project", "output", "gate", "down", "head"), USUAL)

    def forward(self, embeddings: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        """Append tokens (see `LanguageGraph`)."""
        start, prefix_length, suffix_length, *asked = rest[:7]
        if len(embeddings) > 1 or [len(rows) for rows in asked] != [0, 0, 0, 1]:
            return self.graph(embeddings, *rest)
        rotation = rotation_of(start, self.config, embeddings.dtype)
        logits, new = self._next(embeddings[0], rotation, (prefix_length, suffix_length), rest[7:])
        nothing, heads = embeddings[:0], self.graph.heads
        layout, position = packed(heads.layout_of(nothing)), packed(heads.position_of(nothing))
        return (layout, position, heads.heading_logits(nothing), logits, *new)

    def _next(
        self, token: Tensor, rotation: tuple[Tensor, Tensor], lengths: tuple[Tensor, Tensor], caches: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the (1, vocabulary) logits behind a token, and its (1, kv_heads, dim) keys and values by layer."""
        config, hidden = self.config, token.clone()
        projected = hidden.new_empty((config.heads + 2 * config.kv_heads) * config.head_dim)
        inner = hidden.new_empty(config.intermediate_size)
        logits = torch.empty((1, config.vocab_size), device=hidden.device, dtype=torch.float32)
        new = hidden.new_empty((2 * config.layers, 1, config.kv_heads, config.head_dim)).unbind()
        behind = 2 * config.layers
        for index, layer in enumerate(self._layers):
            pair = slice(2 * index, 2 * index + 2)
            self._product("project", layer.project, hidden, projected)
            attended = self._attend(projected, rotation, lengths, (*caches[pair], *caches[behind:][pair]), new[pair])
            self._product("output", layer.output, attended, hidden, residual=hidden)
            self._product("gate", layer.gate, hidden, inner)
            self._product("down", layer.down, inner, hidden, residual=hidden)
        self._product("head", self._head, hidden, logits)
        return logits, new

    def _product(self, name: str, product: Product, x: Tensor, out: Tensor, residual: Tensor | None = None) -> None:
        count, length = product.weight.shape
        rows, width, warps, stages = self.shapes[name]
        matvec_kernel[(triton.cdiv(count, rows),)](
            x,
            x if product.norm is None else product.norm,
            product.weight,
            x if product.second is None else product.second,
            x if product.bias is None else product.bias,
            x if residual is None else residual,
            out,
            self.config.norm_eps,
            COUNT=count,
            LENGTH=length,
            ROWS=rows,
            WIDTH=width,
            STAGES=stages,
            NORM=product.norm is not None,
            GATED=product.second is not None,
            BIAS=product.bias is not None,
            RESIDUAL=residual is not None,
            num_warps=warps,
        )

    def _attend(
        self,
        projected: Tensor,
        rotation: tuple[Tensor, Tensor],
        lengths: tuple[Tensor, Tensor],
        caches: tuple[Tensor, ...],
        new: tuple[Tensor, ...],
    ) -> Tensor:
        """Return what the token reads, (heads * dim,), and write its own keys and values to `new`.

        Args:
            projected: its queries, keys and values.
            rotation: cosine and signed sine of its position.
            lengths: (1,) rows that count of the prefix, and of the suffix.
            caches: keys and values of the prefix, and of the suffix.
            new: keys and values of the token.
        """
        config, device = self.config, projected.device
        heads: dict[str, Any] = {"HEADS": config.heads, "KV_HEADS": config.kv_heads, "DIM": config.head_dim}
        queries = projected.new_empty(config.heads * config.head_dim)
        attended = torch.empty_like(queries)
        place_kernel[(config.heads + 2 * config.kv_heads,)](
            projected, *rotation, queries, *new, config.head_dim**-0.5, **heads, num_warps=1
        )
        mixed, highest, total = (
            torch.empty((config.heads, SPLITS + 1, size), device=device, dtype=torch.float32)
            for size in (config.head_dim, 1, 1)
        )
        group = max(LEAST_GROUP, triton.next_power_of_2(config.heads // config.kv_heads))
        chunk = BLOCK * triton.cdiv(caches[0].shape[0], BLOCK * SPLITS)
        attend_kernel[(config.kv_heads, SPLITS + 1)](
            queries, *caches[:2], lengths[0], *caches[2:], lengths[1], *new, mixed, highest, total, chunk, **heads,
            GROUP=group, BLOCK=BLOCK, SPLITS=SPLITS, num_warps=4,
        )  # fmt: skip
        join_kernel[(config.heads,)](mixed, highest, total, attended, DIM=config.head_dim, SPLITS=SPLITS, num_warps=4)
        return attended

    def tune(self, seconds: Callable[[Callable[[], None]], float]) -> None:
        """Choose how each product is cut: the fastest over the matrices of all layers, which no cache holds.

        Args:
            seconds: tells what the device needs for some work.
        """
        config, weight = self.config, self._head.weight
        hidden, attended, inner = (
            weight.new_zeros(size)
            for size in (config.hidden_size, config.heads * config.head_dim, config.intermediate_size)
        )
        projected = weight.new_empty(len(self._layers[0].project.weight))
        logits = torch.empty((1, config.vocab_size), device=weight.device, dtype=torch.float32)
        works: dict[str, Callable[[], None]] = {
            "project": lambda: self._over("project", hidden, projected),
            "output": lambda: self._over("output", attended, hidden, hidden),
            "gate": lambda: self._over("gate", hidden, inner),
            "down": lambda: self._over("down", inner, hidden, hidden),
            "head": lambda: self._product("head", self._head, hidden, logits),
        }
        for name, work in works.items():
            measured = {}
            for shape in SHAPES:
                self.shapes[name] = shape
                measured[shape] = seconds(work)
            self.shapes[name] = min(measured, key=measured.__getitem__)

    def _over(self, name: str, x: Tensor, out: Tensor, residual: Tensor | None = None) -> None:
        for layer in self._layers:
            self._product(name, getattr(layer, name), x, out, residual)
