"""Attention on a CPU: softmax(q k^T) v by numpy, in a fraction of the time that MLX takes.

MLX for Linux computes exp() one number at a time, which is three quarters of the attention over a long
context; numpy computes sixteen at once, and on several cores. `install` replaces
`mx.fast.scaled_dot_product_attention`, the one function that the models of mlx_lm call, by `attend`; what
`attend` does not cover is passed on to the original (docs/decisions/0008).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
import numpy as np

from engine.separate_cache import Rows

Floats = np.ndarray[Any, np.dtype[np.float32]]
Hidden = tuple[int, np.ndarray[Any, np.dtype[np.bool_]]]  # the first column, then [queries, columns]

library = mx.fast.scaled_dot_product_attention
FEW_QUERIES = 8  # with fewer queries, waiting for MLX pays only over long contexts
LONG_CONTEXT = 1024
LEAST_SCORES = 1 << 16  # with fewer scores, the library has most of the work done by then
BLOCK = 256  # queries of one product, whose scores should fit into the core's cache
THREADS = 4  # at most; BLAS may have more threads of its own on a large machine
NEVER = np.finfo(np.float32).min  # not -inf: a padded query sees nothing, and must not become NaN
AT_ONCE = min(THREADS, os.cpu_count() or 1)
several = ThreadPoolExecutor(AT_ONCE, "attention")


def install() -> None:
    """Computes attention here from now on, in this process. For processes whose MLX computes on a CPU."""
    mx.fast.scaled_dot_product_attention = attend


@dataclass(frozen=True, slots=True)
class RowView:
    """What the queries of one row see.

    queries: how many of them are its own; the others are padding behind them.
    k, v: [groups, tokens, width], where neighbouring heads share a group.
    """

    queries: int
    k: Floats
    v: Floats
    hidden: Hidden | None


def attend(
    q: mx.array,
    k: mx.array | Rows,
    v: mx.array | Rows,
    *,
    scale: float,
    mask: mx.array | str | None = None,
    sinks: mx.array | None = None,
    **others: Any,
) -> mx.array:
    """Attention like mx.fast.scaled_dot_product_attention.

    q: [rows, heads, queries, width].
    k, v: [rows, groups, tokens, width], where neighbouring heads share a group; or Rows, in which each query
        sees all tokens before it, whatever the mask.
    mask: booleans (True is seen) or numbers to add, which broadcast to [rows, heads, queries, tokens]; or
        "causal"; or None.
    """
    if isinstance(k, Rows) and isinstance(v, Rows):
        if sinks is not None or others or q.dtype != mx.float32:
            raise NotImplementedError("caches are kept apart for plain attention in float32 alone")
        mx.eval(q, k.arrays, v.arrays)
        parts = [*separate(k, v)]
    else:
        if isinstance(k, Rows) or isinstance(v, Rows):
            raise TypeError("keys and values are both arrays, or both Rows")
        if sinks is not None or others or not (worthwhile(q, k, v) and understood(mask)):
            return library(q, k, v, scale=scale, mask=mask, sinks=sinks, **others)
        mx.eval(q, k, v)
        parts = [*padded(np.asarray(k), np.asarray(v), mask, q.shape[2])]
    return mx.array(mixed_rows(np.asarray(q) * np.float32(scale), parts))


def separate(k: Rows, v: Rows) -> Iterator[RowView]:
    """The parts of rows that have buffers of their own."""
    for queries, keys, values in zip(k.added, k.arrays, v.arrays, strict=True):
        _, hidden = cover("causal", 0, queries, keys.shape[2])
        yield RowView(queries, np.asarray(keys)[0], np.asarray(values)[0], hidden)


def padded(k: Floats, v: Floats, mask: mx.array | str | None, queries: int) -> Iterator[RowView]:
    """The parts of rows that were brought to one length."""
    for row, (keys, values) in enumerate(zip(k, v, strict=True)):
        start, hidden = cover(mask, row, queries, keys.shape[1])
        yield RowView(queries, keys[:, start:], values[:, start:], hidden)


def mixed_rows(q: Floats, parts: Sequence[RowView]) -> Floats:
    """mixed() over rows [rows, heads, queries, width], each with its part; several rows, groups of heads or
    heads at a time.
    """
    found = np.zeros((*q.shape[:-1], parts[0].v.shape[-1]), dtype=np.float32)
    few: list[tuple[Floats, RowView, Floats]] = []
    for part, asked, answer in zip(parts, q, found, strict=True):
        if part.queries >= FEW_QUERIES:
            fill_blocks(asked, part, answer)
        elif len(parts) >= AT_ONCE:
            few.append((asked, part, answer))
        else:
            few += by_group(asked, part, answer)
    if len(few) == 1:
        fill_heads(few[0])
    else:
        for _ in several.map(fill_heads, few):
            pass
    return found


def by_group(q: Floats, part: RowView, found: Floats) -> Iterator[tuple[Floats, RowView, Floats]]:
    """A row as its groups of heads."""
    shared = len(q) // len(part.k)
    for group in range(len(part.k)):
        heads, one = slice(group * shared, (group + 1) * shared), slice(group, group + 1)
        yield q[heads], replace(part, k=part.k[one], v=part.v[one]), found[heads]


def fill_heads(share: tuple[Floats, RowView, Floats]) -> None:
    """mixed() over heads of a row at once, for few queries. share: queries, their part, and the answer."""
    q, part, found = share
    heads, _, width = q.shape
    shared = q[:, : part.queries].reshape(len(part.k), heads // len(part.k), part.queries, width)
    mean = mixed(shared, part.k[:, None], part.v[:, None], part.hidden)
    found[:, : part.queries] = mean.reshape(heads, part.queries, -1)


def fill_blocks(q: Floats, part: RowView, found: Floats) -> None:
    """mixed() over the heads of a row and blocks of its queries, several heads at a time."""
    heads, hidden = len(q), part.hidden

    def fill(head: int) -> None:
        group = head * len(part.k) // heads
        for at in range(0, part.queries, BLOCK):
            block = slice(at, min(at + BLOCK, part.queries))
            covered = None if hidden is None else (hidden[0], hidden[1][block])
            found[head, block] = mixed(q[head, block], part.k[group], part.v[group], covered)

    for _ in several.map(fill, range(heads)):
        pass


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
    if mask is None or (isinstance(mask, str) and queries == 1):
        return 0, None
    if isinstance(mask, str):
        return 0, (tokens - queries, np.triu(np.ones((queries, queries), dtype=np.bool_), 1))
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
