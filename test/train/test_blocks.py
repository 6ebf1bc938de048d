"""Attention in blocks gives what attention to whole rows gives."""

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from loc3r_ros.model.language import attention_mask
from loc3r_ros.train import blocks
from loc3r_ros.train.blocks import block_attention
from loc3r_ros.train.packing import PADDING, visible

BEFORE = 30
HEADS, GROUPS, WIDTH = 4, 2, 16


class Layer(torch.nn.Module):
    num_key_value_groups = HEADS // GROUPS
    is_causal = True


def row(*lengths, padding=0):
    text = [number for number, length in enumerate(lengths) for _ in range(length)]
    return text + [PADDING] * padding


TEXTS = {
    "of one length": [row(9, 9, 9, 9), row(9, 9, 9, 9)],
    "of many lengths": [row(1, 17, 2, 4, 12), row(14, 3, 19)],
    "with padding": [row(9, 9, padding=18), row(30, 6)],
}


@pytest.mark.parametrize("rows", [1, 5, 12, 35, 36])
@pytest.mark.parametrize("texts", TEXTS.values(), ids=TEXTS.keys())
def test_values_and_gradients_are_those_of_whole_rows(texts, rows, monkeypatch):
    monkeypatch.setattr(blocks, "ROWS", rows)
    text = torch.tensor(texts)
    length = text.shape[1]
    mask = attention_mask(length, BEFORE, visible(text, BEFORE), text.device)
    random = torch.Generator().manual_seed(0)
    query = torch.randn(2, HEADS, length, WIDTH, generator=random, requires_grad=True)
    key, value = (
        torch.randn(2, GROUPS, BEFORE + length, WIDTH, generator=random, requires_grad=True) for _ in range(2)
    )
    weight = torch.randn(2, length, HEADS, WIDTH, generator=random)
    results = []
    for attend in (sdpa_attention_forward, block_attention):
        given, _ = attend(Layer(), query, key, value, mask, scaling=0.3)
        results.append((given, *torch.autograd.grad((given * weight).sum(), (query, key, value))))
    for whole, blocked in zip(*results, strict=True):
        torch.testing.assert_close(blocked, whole, atol=1e-5, rtol=1e-5)


def test_a_block_leaves_out_the_texts_before_its_own(monkeypatch):
    """The keys of a text that no token of the block may see are not touched: what is wrong there does no harm."""
    monkeypatch.setattr(blocks, "ROWS", 10)
    text = torch.tensor([row(10, 10, 10)])
    mask = attention_mask(30, BEFORE, visible(text, BEFORE), text.device)
    query, key = torch.ones(1, HEADS, 30, WIDTH), torch.ones(1, GROUPS, BEFORE + 30, WIDTH)
    key[:, :, BEFORE : BEFORE + 10] = torch.nan
    given, _ = block_attention(Layer(), query, key, torch.ones_like(key), mask)
    assert given[:, :10].isnan().all() and (given[:, 10:] == 1).all()
