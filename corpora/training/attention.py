"""Causal attention for training on a CPU, in blocks of queries whose products are whole matrix products.

torch's own kernel reaches about a quarter of the speed that its products of matrices of bfloat16 have. Here a
block of queries meets all keys before its end in one product; the weights are computed again on the way back
instead of being kept.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

AT_ONCE = 2**19  # weights that are held at a time, about: they stay in a core's cache
BLOCK = 256  # queries of one product; half of each block's last square is computed for nothing


@torch.library.custom_op("fortieth::causal", mutates_args=())
def causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q kᵀ) v over (heads, length, width), each query over the keys up to its own; q is scaled."""
    out = torch.empty_like(q)
    for some, start, end in _parts(q.shape):
        out[some, start:end] = torch.bmm(_weights(q[some], k[some], start, end), v[some, :end])
    return out


@causal.register_fake
def _(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.empty_like(q)


@torch.library.custom_op("fortieth::causal_back", mutates_args=())
def causal_back(slope: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of q, k and v, as in FlashAttention (Dao et al. 2022, algorithm 4)."""
    dq = torch.empty_like(q)
    dk, dv = torch.zeros_like(k, dtype=torch.float32), torch.zeros_like(v, dtype=torch.float32)
    mean = (slope.float() * out.float()).sum(-1, keepdim=True).to(q.dtype)
    for some, start, end in _parts(q.shape):
        weights, mine = _weights(q[some], k[some], start, end), slope[some, start:end]
        dv[some, :end] += torch.bmm(weights.mT, mine)
        inner = torch.bmm(mine, v[some, :end].mT).sub_(mean[some, start:end]).mul_(weights)
        dq[some, start:end] = torch.bmm(inner, k[some, :end])
        dk[some, :end] += torch.bmm(inner.mT, q[some, start:end])
    return dq, dk.to(k.dtype), dv.to(v.dtype)


@causal_back.register_fake
def _(slope: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


def _parts(shape: torch.Size) -> Iterator[tuple[slice, int, int]]:
    """(heads, first query, end) of each product."""
    heads, length, _ = shape
    for start in range(0, length, BLOCK):
        end = min(start + BLOCK, length)
        some = max(1, AT_ONCE // (end * (end - start)))
        for first in range(0, heads, some):
            yield slice(first, first + some), start, end


def _weights(q: Tensor, k: Tensor, start: int, end: int) -> Tensor:
    scores = torch.bmm(q[:, start:end], k[:, :end].mT)
    square = torch.ones(end - start, end - start, dtype=torch.bool).triu_(1)
    scores[:, :, start:].masked_fill_(square, -torch.inf)
    return scores.softmax(-1)


def _keep(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs, output)


def _back(ctx: torch.autograd.function.FunctionCtx, slope: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return causal_back(slope.contiguous(), *ctx.saved_tensors)  # type: ignore[attr-defined]


causal.register_autograd(_back, setup_context=_keep)
