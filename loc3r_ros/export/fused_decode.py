"""Decoding at batch 1 with seven kernels a layer, for the limit that the memory sets: what PyTorch's own kernels cost.

The same weights and the same function as the language graph's, one token a step, greedy without repetition penalty. A
step is one CUDA graph, from the token before to the next: embedding, layers, output head, choice. It runs on the device
alone, so steps follow one another without the host. Needs Triton.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
import triton
from torch import Tensor
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer

from loc3r_ros.benchmarks._captured import capture_cuda, device_seconds
from loc3r_ros.benchmarks._decode_kernels import attend_kernel, join_kernel, matvec_kernel, place_kernel
from loc3r_ros.engines.torch_reference import TorchBuffer
from loc3r_ros.export.graphs import rotation_of
from loc3r_ros.memory.cache import CacheView
from loc3r_ros.model.language import LanguageModel

SPLITS = 32
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


class FusedDecode:
    """The next token, again and again, behind a cache that is full up to a length.

    Attributes:
        token: (1,) int64, the last token.
        length: (1,) int64 tokens in the cache; the last token is not in it yet.
        logits: (1, vocabulary) float32 of the last step.
    """

    def __init__(self, language: LanguageModel, capacity: int) -> None:
        """Allocate a cache of `capacity` rows; `fill` it."""
        config, table = language.config, language.embed_tokens.weight.data
        dtype, device = table.dtype, table.device
        self.config, self.capacity, self._table = config, capacity, table
        self._layers = [layer_products(cast(Qwen2DecoderLayer, layer)) for layer in language.layers]
        head = table if language.lm_head is None else language.lm_head.weight.data
        self._head = Product(head, norm=language.norm.weight.data)
        self._caches = torch.zeros(
            (config.layers, 2, capacity, config.kv_heads, config.head_dim), dtype=dtype, device=device
        )
        cosine, sine = rotation_of(torch.arange(capacity, device=device), config, dtype)
        self._cosine, self._sine = cosine.contiguous(), sine.contiguous()
        self._chunk = BLOCK * -(-capacity // (BLOCK * SPLITS))
        empty = functools.partial(torch.empty, dtype=dtype, device=device)
        heads, dim = config.heads, config.head_dim
        self._projected = empty((heads + 2 * config.kv_heads) * dim)
        self._queries, self._attended = empty(heads * dim), empty(heads * dim)
        self._hidden, self._inner = empty(config.hidden_size), empty(config.intermediate_size)
        self._mixed = torch.empty((heads, SPLITS, dim), device=device, dtype=torch.float32)
        self._highest, self._total = (torch.empty((heads, SPLITS), device=device, dtype=torch.float32) for _ in "ab")
        self.logits = torch.empty((1, config.vocab_size), device=device, dtype=torch.float32)
        self.token = torch.zeros(1, dtype=torch.int64, device=device)
        self.length = torch.zeros(1, dtype=torch.int64, device=device)
        self.shapes = dict.fromkeys(("project", "output", "gate", "down", "head"), USUAL)

    def fill(self, parts: Iterable[list[Tensor]]) -> None:
        """Copy caches one behind the other, each a list of keys and values of every layer, (rows, kv_heads, dim)."""
        start = 0
        for tensors in parts:
            for place, tensor in zip(self._caches.flatten(0, 1), tensors, strict=True):
                place[start : start + len(tensor)] = tensor
            start += len(tensors[0])
        self.length.fill_(start)

    def step(self) -> None:
        """Run one token and choose the next."""
        hidden = self._hidden
        torch.index_select(self._table, 0, self.token, out=hidden[None])
        for layer, (keys, values) in zip(self._layers, self._caches, strict=True):
            self._product("project", layer.project, hidden, self._projected)
            self._attend(keys, values)
            self._product("output", layer.output, self._attended, hidden, residual=hidden)
            self._product("gate", layer.gate, hidden, self._inner)
            self._product("down", layer.down, self._inner, hidden, residual=hidden)
        self._product("head", self._head, hidden, self.logits)
        self.token.copy_(self.logits.argmax(dim=-1))
        self.length += 1

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

    def _attend(self, keys: Tensor, values: Tensor) -> None:
        config = self.config
        heads: dict[str, Any] = {"HEADS": config.heads, "KV_HEADS": config.kv_heads, "DIM": config.head_dim}
        tables = (self._projected, self._cosine, self._sine, self._queries)
        place_kernel[(config.heads + 2 * config.kv_heads,)](
            *tables, keys, values, self.length, config.head_dim**-0.5, **heads, num_warps=1
        )
        group = max(LEAST_GROUP, triton.next_power_of_2(config.heads // config.kv_heads))
        split = (self._mixed, self._highest, self._total)
        attend_kernel[(config.kv_heads, SPLITS)](
            self._queries, keys, values, self.length, *split, self._chunk, **heads, GROUP=group, BLOCK=BLOCK,
            SPLITS=SPLITS, num_warps=4,
        )  # fmt: skip
        join_kernel[(config.heads,)](*split, self._attended, DIM=config.head_dim, SPLITS=SPLITS, num_warps=4)

    def tune(self, rounds: int = 5) -> None:
        """Choose how each product is cut: the fastest over the matrices of all layers, which no cache holds."""
        hidden, inner, attended = (tensor.zero_() for tensor in (self._hidden, self._inner, self._attended))
        works: dict[str, Callable[[], None]] = {
            "project": lambda: self._over("project", hidden, self._projected),
            "output": lambda: self._over("output", attended, hidden, hidden),
            "gate": lambda: self._over("gate", hidden, inner),
            "down": lambda: self._over("down", inner, hidden, hidden),
            "head": lambda: self._product("head", self._head, hidden, self.logits),
        }
        for name, work in works.items():
            seconds = {}
            for shape in SHAPES:
                self.shapes[name] = shape
                seconds[shape] = graph_seconds(work, rounds)
            self.shapes[name] = min(seconds, key=seconds.__getitem__)

    def _over(self, name: str, x: Tensor, out: Tensor, residual: Tensor | None = None) -> None:
        for layer in self._layers:
            self._product(name, getattr(layer, name), x, out, residual)


def graph_seconds(work: Callable[[], None], rounds: int) -> float:
    """Return what the device needs for some work as a CUDA graph: launching one by one would take longer than that."""

    def outputless() -> tuple[Tensor, ...]:
        work()
        return ()

    return device_seconds(capture_cuda(outputless)[0], rounds)


def cache_tensors(view: CacheView) -> list[Tensor]:
    """Return a view's keys and values of every layer, (rows, kv_heads, dim); its buffers are the torch backend's."""
    return [cast(TorchBuffer, buffer.rows(0, view.length)).tensor for buffer in view.buffers.values()]
