"""Qwen2 on embeddings, with a key-value cache that is a plain value: appending never changes the past.

transformers supplies the layers. The loop over them is ours, so that the caller decides what is embedded, which tokens
are seen, which positions they hold and where logits are worth their cost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import Qwen2Config
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer, Qwen2RMSNorm

from loc3r_ros.model.config import LanguageConfig


class KeyValues(NamedTuple):
    """Keys and values of one layer, each (B, kv_heads, tokens, head_dim); keys are already rotated."""

    keys: Tensor
    values: Tensor


Cache = tuple[KeyValues, ...]
"""One KeyValues per layer."""


def cache_length(cache: Cache | None) -> int:
    """Return the number of tokens that a cache holds."""
    return cache[0].keys.shape[2] if cache else 0


class _Appender:
    """What transformers' attention calls to join the past with the new keys and values."""

    def __init__(self, past: Cache | None) -> None:
        self.past = past
        self.present: list[KeyValues] = []

    def update(self, keys: Tensor, values: Tensor, layer: int) -> KeyValues:
        if self.past:
            keys = torch.cat((self.past[layer].keys, keys), dim=2)
            values = torch.cat((self.past[layer].values, values), dim=2)
        self.present.append(KeyValues(keys, values))
        return self.present[-1]


class LanguageModel(nn.Module):
    """Qwen2: embeddings in, hidden states after the last norm out."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.config = config
        qwen2 = qwen2_config(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([Qwen2DecoderLayer(qwen2, index) for index in range(config.layers)])
        self.norm = Qwen2RMSNorm(config.hidden_size, eps=config.norm_eps)
        self.lm_head = None if config.tie_embeddings else nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def forward(
        self,
        embeddings: Tensor,
        past: Cache | None = None,
        positions: Tensor | None = None,
        seen: Tensor | None = None,
    ) -> tuple[Tensor, Cache]:
        """Append tokens.

        Args:
            embeddings: (B, T, hidden_size).
            past: the cache of the P tokens before them.
            positions: (B, T) or (1, T) position ids; P .. P + T - 1 where None.
            seen: (B, P + T) bool, False for tokens that nobody may attend to, or (B, T, P + T) bool, which of them each
                new token may attend to; all are seen where None.

        Returns:
            Hidden states (B, T, hidden_size) after the last norm, and the cache of all P + T tokens.
        """
        length, start = embeddings.shape[1], cache_length(past)
        if positions is None:
            positions = torch.arange(start, start + length, device=embeddings.device)[None]
        rotation = rotary(positions, self.config.head_dim, self.config.rope_theta, embeddings.dtype)
        mask = attention_mask(length, start, seen, embeddings.device)
        appender, hidden = _Appender(past), embeddings
        for layer in self.layers:
            hidden = layer(
                hidden, attention_mask=mask, position_embeddings=rotation, past_key_values=appender, use_cache=True
            )
        return self.norm(hidden), tuple(appender.present)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return (..., vocab_size) logits of hidden states (..., hidden_size): ask only where they are needed."""
        weight = self.embed_tokens.weight if self.lm_head is None else self.lm_head.weight
        return F.linear(hidden, weight)


def qwen2_config(config: LanguageConfig) -> Qwen2Config:
    """Return the transformers config that Qwen2's layers are built from."""
    return Qwen2Config(  # type: ignore[call-arg]
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads,
        max_position_embeddings=config.max_positions,
        rms_norm_eps=config.norm_eps,
        use_sliding_window=False,
        attn_implementation="sdpa",
    )


def rotary(positions: Tensor, head_dim: int, theta: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return cosine and sine, each (B, T, head_dim), of rotary embeddings at (B, T) positions; angles in float32."""
    angles = positions[..., None].float() * frequencies(head_dim, theta, positions.device)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def frequencies(head_dim: int, theta: float, device: torch.device | None = None) -> Tensor:
    """Return the (head_dim / 2,) radians by which a rotary embedding turns pairs of channels from token to token."""
    exponents = torch.arange(0, head_dim, 2, device=device, dtype=torch.float32) / head_dim
    return theta**-exponents


def attention_mask(length: int, start: int, seen: Tensor | None, device: torch.device) -> Tensor | None:
    """Return the (B or 1, 1, length, start + length) bool mask of causal attention, or None where none is needed.

    Without a mask, attention to several tokens is causal from the first key on, which is right only where there is no
    past. A token always sees itself, so that no row is empty and padding gives no NaN.
    """
    if seen is None and (start == 0 or length == 1):
        return None
    queries = torch.arange(start, start + length, device=device)[:, None]
    keys = torch.arange(start + length, device=device)[None, :]
    causal = (keys <= queries)[None, None]
    if seen is None:
        return causal
    seen = seen[:, None, :] if seen.dim() == 2 else seen
    return causal & (seen[:, None] | (keys == queries)[None, None])


def generate(
    model: LanguageModel, embeddings: Tensor, past: Cache | None = None, max_tokens: int = 64, stop: bool = True
) -> Iterator[int]:
    """Yield greedy tokens that follow `embeddings` (1, T, hidden_size); a stop token ends the answer, unyielded.

    Args:
        model: the language model.
        embeddings: the last tokens of the prompt, at least one.
        past: the cache of the tokens before them.
        max_tokens: the longest answer.
        stop: whether stop tokens end the answer.
    """
    generated: list[int] = []
    for _ in range(max_tokens):
        hidden, past = model(embeddings, past)
        logits = penalise(model.logits(hidden[:, -1]).float(), generated, model.config.repetition_penalty)
        token = int(logits.argmax(dim=-1))
        if stop and token in model.config.stop_tokens:
            return
        generated.append(token)
        yield token
        embeddings = model.embed_tokens(torch.tensor([[token]], device=embeddings.device))


def penalise(logits: Tensor, generated: Sequence[int], penalty: float) -> Tensor:
    """Return (1, vocab_size) logits with those of generated ids made less likely: CTRL's repetition penalty."""
    if penalty == 1.0 or not generated:
        return logits
    ids = torch.tensor(sorted(set(generated)), device=logits.device)
    values = logits[:, ids]
    return logits.index_copy(1, ids, torch.where(values > 0, values / penalty, values * penalty))
