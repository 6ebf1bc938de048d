"""Triton kernels of one token: products with a vector, rotary embedding, attention split over prefix and suffix.

Every kernel accumulates in float32. What has a power of two in its shape is padded to it; masks keep the rest out.
"""

# Triton reads annotations itself and knows none but its own.
# ruff: noqa: ANN001
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

import triton
import triton.language as tl

LOWEST = tl.constexpr(-1e30)


@triton.jit
def matvec_kernel(
    x,
    gain,
    weight,
    second,
    bias,
    residual,
    out,
    eps,
    COUNT: tl.constexpr,
    LENGTH: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    STAGES: tl.constexpr,
    NORM: tl.constexpr,
    GATED: tl.constexpr,
    BIAS: tl.constexpr,
    RESIDUAL: tl.constexpr,
) -> None:
    """Write COUNT rows of weight (COUNT, LENGTH) times x; ROWS of them in one program, WIDTH columns at a time.

    NORM first normalises x as RMSNorm does; GATED gives silu(weight x) * (second x); BIAS and RESIDUAL are added.
    """
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = rows < COUNT
    lines = rows.to(tl.int64)[:, None] * LENGTH
    sums = tl.zeros((ROWS, WIDTH), tl.float32)
    others = tl.zeros((ROWS, WIDTH), tl.float32)
    squares = tl.zeros((WIDTH,), tl.float32)
    for start in tl.range(0, LENGTH, WIDTH, num_stages=STAGES):
        columns = start + tl.arange(0, WIDTH)
        there = columns < LENGTH
        mask = inside[:, None] & there[None, :]
        factors = tl.load(weight + lines + columns[None, :], mask=mask, other=0.0)  # first: they take longest
        if GATED:
            gated = tl.load(second + lines + columns[None, :], mask=mask, other=0.0)
        values = tl.load(x + columns, mask=there, other=0.0).to(tl.float32)
        if NORM:
            squares += values * values
            values *= tl.load(gain + columns, mask=there, other=0.0).to(tl.float32)
        sums += factors.to(tl.float32) * values[None, :]
        if GATED:
            others += gated.to(tl.float32) * values[None, :]
    result = tl.sum(sums, axis=1)
    if NORM:
        scale = 1.0 / tl.sqrt(tl.sum(squares, axis=0) / LENGTH + eps)
        result *= scale
    if GATED:
        up = tl.sum(others, axis=1)
        if NORM:
            up *= scale
        result = result / (1.0 + tl.exp(-result)) * up
    if BIAS:
        result += tl.load(bias + rows, mask=inside, other=0.0).to(tl.float32)
    if RESIDUAL:
        result += tl.load(residual + rows, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + rows, result.to(out.dtype.element_ty), mask=inside)


@triton.jit
def place_kernel(
    projected,
    cosine,
    sine,
    queries,
    keys,
    values,
    scale,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    DIM: tl.constexpr,
) -> None:
    """Turn one head of the new token: queries to `queries`, scaled; keys and values to theirs, (KV_HEADS, DIM).

    cosine and sine are those of its position, (DIM,), the sine signed as `rotation_of` does.
    """
    head = tl.program_id(0)
    channel = tl.arange(0, DIM)
    mine = tl.load(projected + head * DIM + channel).to(tl.float32)
    partner = tl.load(projected + head * DIM + (channel + DIM // 2) % DIM).to(tl.float32)
    cos = tl.load(cosine + channel).to(tl.float32)
    sin = tl.load(sine + channel).to(tl.float32)
    turned = mine * cos + partner * sin
    if head < HEADS:
        tl.store(queries + head * DIM + channel, (turned * scale).to(queries.dtype.element_ty))
    elif head < HEADS + KV_HEADS:
        place = (head - HEADS) * DIM
        tl.store(keys + place + channel, turned.to(keys.dtype.element_ty))
    else:
        place = (head - HEADS - KV_HEADS) * DIM
        tl.store(values + place + channel, mine.to(values.dtype.element_ty))


@triton.jit
def attend_kernel(
    queries,
    prefix_keys,
    prefix_values,
    prefix_length,
    suffix_keys,
    suffix_values,
    suffix_length,
    new_keys,
    new_values,
    mixed,
    highest,
    total,
    chunk,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    DIM: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCK: tl.constexpr,
    SPLITS: tl.constexpr,
) -> None:
    """Attend with all heads that share keys to one of SPLITS chunks of the prefix, or to suffix and new row.

    The new row, (KV_HEADS, DIM), stands behind the suffix's, which it is not written to yet.
    """
    kv, split = tl.program_id(0), tl.program_id(1)
    groups = HEADS // KV_HEADS
    channel, group, column = tl.arange(0, DIM), tl.arange(0, GROUP), tl.arange(0, BLOCK)
    head = kv * groups + group
    real = group < groups
    query = tl.load(queries + head[:, None] * DIM + channel[None, :], mask=real[:, None], other=0.0)
    top = tl.full((GROUP,), LOWEST, tl.float32)
    weight = tl.zeros((GROUP,), tl.float32)
    sums = tl.zeros((GROUP, DIM), tl.float32)
    new_key = tl.load(new_keys + kv * DIM + channel)
    new_value = tl.load(new_values + kv * DIM + channel)
    if split < SPLITS:
        keys, values, first = prefix_keys, prefix_values, split * chunk
        last = tl.minimum(first + chunk, tl.load(prefix_length).to(tl.int32))
        newest = -1
    else:
        keys, values, first = suffix_keys, suffix_values, 0
        newest = tl.load(suffix_length).to(tl.int32)
        last = newest + 1
    for start in range(first, last, BLOCK):
        row = start + column
        seen, is_new = row < last, row == newest
        kept = seen & (row != newest)
        place = (row[:, None] * KV_HEADS + kv) * DIM + channel[None, :]
        key = tl.load(keys + place, mask=kept[:, None], other=0.0)
        key = tl.where(is_new[:, None], new_key[None, :], key)
        logits = tl.where(seen[None, :], tl.dot(query, tl.trans(key), input_precision="ieee"), LOWEST)
        higher = tl.maximum(top, tl.max(logits, axis=1))
        shrink = tl.exp(top - higher)
        share = tl.where(seen[None, :], tl.exp(logits - higher[:, None]), 0.0)
        value = tl.load(values + place, mask=kept[:, None], other=0.0)
        value = tl.where(is_new[:, None], new_value[None, :], value)
        weight = weight * shrink + tl.sum(share, axis=1)
        sums = sums * shrink[:, None] + tl.dot(share.to(value.dtype), value, input_precision="ieee")
        top = higher
    place = head * (SPLITS + 1) + split
    tl.store(highest + place, top, mask=real)
    tl.store(total + place, weight, mask=real)
    tl.store(mixed + place[:, None] * DIM + channel[None, :], sums, mask=real[:, None])


@triton.jit
def join_kernel(mixed, highest, total, out, DIM: tl.constexpr, SPLITS: tl.constexpr) -> None:
    """Join what the SPLITS chunks and the rows behind them gave for one head."""
    head = tl.program_id(0)
    channel, split = tl.arange(0, DIM), tl.arange(0, SPLITS)
    place, behind = head * (SPLITS + 1) + split, head * (SPLITS + 1) + SPLITS
    top, last = tl.load(highest + place), tl.load(highest + behind)
    highest_of_all = tl.maximum(tl.max(top, axis=0), last)
    scale, rest = tl.exp(top - highest_of_all), tl.exp(last - highest_of_all)
    sums = tl.sum(tl.load(mixed + place[:, None] * DIM + channel[None, :]) * scale[:, None], axis=0)
    sums += tl.load(mixed + behind * DIM + channel) * rest
    result = sums / (tl.sum(tl.load(total + place) * scale, axis=0) + tl.load(total + behind) * rest)
    tl.store(out + head * DIM + channel, result.to(out.dtype.element_ty))
