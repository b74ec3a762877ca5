"""Attention on a CPU: softmax(q k^T) v by numpy, in a fraction of the time that MLX takes.

MLX for Linux computes exp() one number at a time, which is three quarters of the attention over a long
context; numpy computes sixteen at once, and on several cores. `install` replaces
`mx.fast.scaled_dot_product_attention`, the one function that the models of mlx_lm call, by `attend`; what
`attend` does not cover is passed on to the original (docs/decisions/0008).
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mlx.core as mx
import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float32]]
Hidden = tuple[int, np.ndarray[Any, np.dtype[np.bool_]]]  # the first column, then [queries, columns]

library = mx.fast.scaled_dot_product_attention
FEW_QUERIES = 8  # with fewer queries, waiting for MLX pays only over long contexts
LONG_CONTEXT = 1024
LEAST_SCORES = 1 << 16  # with fewer scores, the library has most of the work done by then
BLOCK = 256  # queries of one product, whose scores should fit into the core's cache
THREADS = 4  # at most; BLAS may have more threads of its own on a large machine
NEVER = np.finfo(np.float32).min  # not -inf: a padded query sees nothing, and must not become NaN
heads_at_once = ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1), "attention")


def install() -> None:
    """Computes attention here from now on, in this process. For processes whose MLX computes on a CPU."""
    mx.fast.scaled_dot_product_attention = attend


def attend(
    q: mx.array,
    k: mx.array,
    v: mx.array,
    *,
    scale: float,
    mask: mx.array | str | None = None,
    sinks: mx.array | None = None,
    **others: Any,
) -> mx.array:
    """Attention like mx.fast.scaled_dot_product_attention.

    q: [rows, heads, queries, width].
    k, v: [rows, groups, tokens, width], where neighbouring heads share a group.
    mask: booleans (True is seen) or numbers to add, which broadcast to [rows, heads, queries, tokens]; or
        "causal"; or None.
    """
    if sinks is not None or others or not (worthwhile(q, k, v) and understood(mask)):
        return library(q, k, v, scale=scale, mask=mask, sinks=sinks, **others)
    mx.eval(q, k, v)
    asked, keys, values = np.asarray(q) * np.float32(scale), np.asarray(k), np.asarray(v)
    rows, heads, queries, _ = asked.shape
    found = np.empty((rows, heads, queries, values.shape[-1]), dtype=np.float32)
    for row in range(rows):
        start, hidden = cover(mask, row, queries, keys.shape[2])
        one = (asked[row], keys[row, :, start:], values[row, :, start:], hidden)
        found[row] = mixed_heads(*one) if queries < FEW_QUERIES else mixed_blocks(*one)
    return mx.array(found)


def mixed_heads(q: Floats, k: Floats, v: Floats, hidden: Hidden | None) -> Floats:
    """mixed() over the heads of a row at once, for few queries."""
    heads, queries, width = q.shape
    shared = q.reshape(len(k), heads // len(k), queries, width)
    return mixed(shared, k[:, None], v[:, None], hidden).reshape(heads, queries, -1)


def mixed_blocks(q: Floats, k: Floats, v: Floats, hidden: Hidden | None) -> Floats:
    """mixed() over the heads of a row and blocks of its queries, several at a time."""
    heads, queries, _ = q.shape
    found = np.empty((heads, queries, v.shape[-1]), dtype=np.float32)

    def fill(head: int) -> None:
        group = head * len(k) // heads
        for at in range(0, queries, BLOCK):
            block = slice(at, at + BLOCK)
            covered = None if hidden is None else (hidden[0], hidden[1][block])
            found[head, block] = mixed(q[head, block], k[group], v[group], covered)

    for _ in heads_at_once.map(fill, range(heads)):
        pass
    return found


def worthwhile(q: mx.array, k: mx.array, v: mx.array) -> bool:
    """Whether there is enough work to wait for the arrays, in a type that numpy has."""
    if not q.dtype == k.dtype == v.dtype == mx.float32:
        return False
    rows, heads, queries, _ = q.shape
    if queries < FEW_QUERIES:
        return k.shape[2] >= LONG_CONTEXT
    return rows * heads * queries * k.shape[2] >= LEAST_SCORES


def understood(mask: mx.array | str | None) -> bool:
    """Whether the mask is one for all heads, of booleans."""
    if isinstance(mask, mx.array):
        return mask.dtype == mx.bool_ and (mask.ndim < 3 or mask.shape[-3] == 1)
    return mask is None or mask == "causal"


def cover(mask: mx.array | str | None, row: int, queries: int, tokens: int) -> tuple[int, Hidden | None]:
    """The first token that any query of a row may see, and what is hidden of the tokens after it."""
    if mask is None:
        return 0, None
    if isinstance(mask, str):
        after = np.triu(np.ones((queries, queries), dtype=np.bool_), 1)
        return 0, (tokens - queries, after) if queries > 1 else None
    seen = np.asarray(mask)
    if seen.ndim > 2:
        seen = seen.reshape(-1, *seen.shape[-2:])[row if seen.ndim > 3 and seen.shape[0] > 1 else 0]
    seen = np.broadcast_to(seen, (queries, tokens))
    start = int(seen.any(axis=0).argmax())
    partly = np.flatnonzero(~seen[:, start:].all(axis=0))
    if not len(partly):
        return start, None
    first, last = int(partly[0]), int(partly[-1]) + 1
    return start, (first, ~seen[:, start + first : start + last])


def mixed(q: Floats, k: Floats, v: Floats, hidden: Hidden | None) -> Floats:
    """q [.., queries, width], k and v [.., tokens, width] -> [.., queries, width]."""
    scores = q @ k.swapaxes(-1, -2)
    if hidden is not None:
        first, where = hidden
        np.copyto(scores[..., first : first + where.shape[1]], NEVER, where=where)
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    total: Floats = scores.sum(axis=-1, keepdims=True)
    return np.divide(scores @ v, total, dtype=np.float32)
