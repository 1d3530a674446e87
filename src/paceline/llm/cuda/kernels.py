"""Paged attention as a Triton kernel: any number of rows per sequence, grouped heads, draft trees, sliding windows.

One program takes a tile of rows of one sequence, all query heads that share one key head, and one part ("split") of
the stored positions, and keeps a running softmax over them (Dao et al. 2022; splits: "Flash-Decoding", 2023).
A second kernel joins the splits.
"""

# Triton's language has its own types, which annotations cannot name.
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _seen(
    stored, inside, cached, local, ancestor, position, positions, begin,
    WINDOW: tl.constexpr,
):  # fmt: skip
    """Which of the stored positions [KEYS] each member sees [MEMBERS, KEYS]."""
    appended = stored - cached
    bit = (ancestor[:, None] >> tl.minimum(tl.maximum(appended, 0), 63)[None, :].to(tl.int64)) & 1
    named = (appended[None, :] < 0) | ((appended[None, :] < 64) & (bit == 1))
    seen = tl.where(ancestor[:, None] == 0, appended[None, :] <= local[:, None], named)
    if WINDOW > 0:
        new = inside & (appended >= 0)
        key_position = tl.where(new, tl.load(positions + begin + appended, mask=new, other=0), stored)
        seen = seen & (position[:, None] - key_position[None, :] < WINDOW)
    return seen & inside[None, :]


@triton.jit
def attend_kernel(
    queries, keys, values, output, maxima, sums,
    tile_seqs, tile_rows, row_starts, num_cached, tables, ancestors, positions,
    scale, query_stride, head_stride, table_width, num_rows,
    HEADS: tl.constexpr, SHARE: tl.constexpr, DIM: tl.constexpr, DIM_PADDED: tl.constexpr,
    TILE: tl.constexpr, MEMBERS: tl.constexpr, KEYS: tl.constexpr, BLOCK: tl.constexpr,
    WINDOW: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """Unnormalised output [SPLITS, R, HEADS, DIM] with its maxima and sums [SPLITS, R, HEADS].

    ``keys`` and ``values`` are [key heads, slots, DIM]. A tile of a negative sequence is padding.
    """
    tile, head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    seq = tl.load(tile_seqs + tile)
    if seq < 0:
        return
    first = tl.load(tile_rows + tile)
    begin = tl.load(row_starts + seq)
    own_rows = tl.load(row_starts + seq + 1) - begin
    cached = tl.load(num_cached + seq)

    member = tl.arange(0, MEMBERS)  # (row, query head) pairs
    local = first + member // SHARE
    valid = (local < own_rows) & (member < TILE * SHARE)
    row = begin + local
    query_head = head * SHARE + member % SHARE
    dims = tl.arange(0, DIM_PADDED)
    real = dims < DIM
    query = tl.load(
        queries + row[:, None] * query_stride + query_head[:, None] * DIM + dims[None, :],
        mask=valid[:, None] & real[None, :],
        other=0.0,
    )
    ancestor = tl.load(ancestors + row, mask=valid, other=0)
    position = tl.load(positions + row, mask=valid, other=0)

    end = cached + tl.minimum(first + TILE, own_rows)  # a row never sees one appended after it
    start = 0
    if WINDOW > 0:
        start = tl.maximum(cached - WINDOW + 1, 0) // BLOCK * BLOCK
    part = tl.cdiv(tl.cdiv(end - start, KEYS), SPLITS) * KEYS
    low = start + split * part
    high = tl.minimum(low + part, end)

    best = tl.full([MEMBERS], float("-inf"), tl.float32)
    total = tl.zeros([MEMBERS], tl.float32)
    result = tl.zeros([MEMBERS, DIM_PADDED], tl.float32)
    for offset in range(low, high, KEYS):
        stored = offset + tl.arange(0, KEYS)
        inside = stored < high
        block = tl.load(tables + seq * table_width + stored // BLOCK, mask=inside, other=0)
        slot = block.to(tl.int64) * BLOCK + stored % BLOCK
        place = head.to(tl.int64) * head_stride + slot[:, None] * DIM + dims[None, :]
        readable = inside[:, None] & real[None, :]
        key = tl.load(keys + place, mask=readable, other=0.0)
        scores = tl.dot(query, tl.trans(key), input_precision="ieee") * scale
        seen = _seen(stored, inside, cached, local, ancestor, position, positions, begin, WINDOW)
        scores = tl.where(seen, scores, float("-inf"))

        higher = tl.maximum(best, tl.max(scores, 1))
        base = tl.where(higher == float("-inf"), 0.0, higher)
        weights = tl.exp(scores - base[:, None])
        shrink = tl.exp(best - base)
        value = tl.load(values + place, mask=readable, other=0.0)
        result = result * shrink[:, None] + tl.dot(weights.to(value.dtype), value, input_precision="ieee")
        total = total * shrink + tl.sum(weights, 1)
        best = higher

    where = (split * num_rows + row) * HEADS + query_head
    tl.store(output + where[:, None] * DIM + dims[None, :], result, mask=valid[:, None] & real[None, :])
    tl.store(maxima + where, best, mask=valid)
    tl.store(sums + where, total, mask=valid)


@triton.jit
def join_kernel(
    parts, maxima, sums, output, num_pairs,
    DIM: tl.constexpr, DIM_PADDED: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """The softmax over all splits of one (row, head) pair: parts [SPLITS, R * HEADS, DIM] -> output [R * HEADS, DIM]."""
    pair = tl.program_id(0)
    dims = tl.arange(0, DIM_PADDED)
    real = dims < DIM
    best = tl.full([], float("-inf"), tl.float32)
    for split in range(SPLITS):
        best = tl.maximum(best, tl.load(maxima + split * num_pairs + pair))
    total = tl.zeros([], tl.float32)
    result = tl.zeros([DIM_PADDED], tl.float32)
    for split in range(SPLITS):
        weight = tl.exp(tl.load(maxima + split * num_pairs + pair) - best)
        total += weight * tl.load(sums + split * num_pairs + pair)
        part = tl.load(parts + (split * num_pairs + pair) * DIM + dims, mask=real, other=0.0)
        result += weight * part
    tl.store(output + pair * DIM + dims, (result / total).to(output.dtype.element_ty), mask=real)
