"""Prepares a network for a CPU: the same values from fewer and wider operations.

On a CPU, MLX builds RMS norms and rotary embeddings from a dozen operations each, at 3 microseconds an
operation, and BLAS copies a weight matrix [out, in] at every product, which it need not do if the matrix is
stored as [in, out] (docs/decisions/0009). Attention has a file of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_map

from engine.cpu.blas import in_pieces

MANY_INPUTS = 1024  # of a matrix; from there on its pieces are faster as [out, in]: docs/decisions/0010
TABLE_BYTES = 1 << 26  # of sines and cosines at most, for one kind of rotary embedding


def adapt(network: Any, positions: int) -> None:
    """Replaces modules of a loaded network by ones that compute the same, and lays out its weights anew.

    positions: no token will have a position above this.
    """
    # the embedding also computes the logits
    tied = not any(name.endswith("lm_head") for name, _ in network.named_modules())
    pieces = in_pieces()

    def adapted(module: nn.Module) -> nn.Module:
        if type(module) is nn.RMSNorm and module.weight.size > 1:  # MLX compiles a wrong sum for one number
            return FusedNorm(module)
        if type(module) is nn.RoPE and 2 * 4 * module.dims * positions <= TABLE_BYTES:
            return TableRope(module, positions)
        if type(module) is nn.Linear or (tied and type(module) is nn.Embedding):
            module.weight = laid_out(module.weight, pieces)
        return module

    leaves = tree_map(adapted, network.leaf_modules(), is_leaf=nn.Module.is_module)
    network.update_modules(leaves)


def laid_out(weight: mx.array, pieces: bool = False) -> mx.array:
    """The same matrix [out, in], with the numbers of one input beside each other in memory.

    pieces: whether BLAS works in pieces, for which a matrix of many inputs is better left as it is.
    """
    if pieces and weight.shape[1] >= MANY_INPUTS:
        return weight
    turned = mx.contiguous(weight.T).T
    mx.eval(turned)
    return turned


class FusedNorm(nn.RMSNorm):  # type: ignore[misc]
    """mlx.nn.RMSNorm as a sum, with one compiled operation before and after it."""

    def __init__(self, norm: nn.RMSNorm) -> None:
        super().__init__(norm.weight.size, norm.eps)
        self.weight = norm.weight

    def __call__(self, x: mx.array) -> mx.array:
        """x [.., width] -> the same shape, in float32; other types as the library does it."""
        if not x.dtype == self.weight.dtype == mx.float32:
            return mx.fast.rms_norm(x, self.weight, self.eps)
        return normed(x.ndim, self.weight.size, self.eps)(x, self.weight)


@cache
def normed(dimensions: int, width: int, eps: float) -> Callable[[mx.array, mx.array], mx.array]:
    """Computes x / sqrt(mean(x^2) + eps) * weight over `width` numbers, for x with that many dimensions: what
    MLX has compiled for another number of them crashes.
    """

    @partial(mx.compile, shapeless=True)
    def norm(x: mx.array, weight: mx.array) -> mx.array:
        squares = mx.sum(mx.square(x), axis=-1, keepdims=True)
        return x * mx.rsqrt(squares * (1.0 / width) + eps) * weight

    return norm


class TableRope(nn.RoPE):  # type: ignore[misc]
    """mlx.nn.RoPE that looks sines and cosines up, where each row of a batch has a position of its own."""

    def __init__(self, rope: nn.RoPE, positions: int) -> None:
        super().__init__(rope.dims, rope.traditional, rope.base, rope.scale)
        self.positions = positions

    def __call__(self, x: mx.array, offset: int | mx.array = 0) -> mx.array:
        """x [rows, heads, tokens, width] at the positions from `offset` on, one for all rows or one each.
        Positions below 0, of padding, count as 0.
        """
        alike = not self.traditional and x.shape[-1] == self.dims and batched(x)
        if not alike or not isinstance(offset, mx.array) or offset.ndim != 1:
            found: mx.array = super().__call__(x, offset)
            return found
        cosines, sines = table(self.dims, self.base, self.scale, self.positions)
        at = offset[:, None] + mx.arange(x.shape[2]) if x.shape[2] > 1 else offset[:, None]
        at = mx.clip(at, 0, self.positions - 1)[:, None]
        half = self.dims // 2
        swapped = mx.concatenate([x[..., half:], x[..., :half]], axis=-1)
        return turned(x, swapped, cosines[at], sines[at])


def batched(x: mx.array) -> bool:
    """Whether it is a batch of heads, in float32."""
    return x.ndim == 4 and x.dtype == mx.float32


@partial(mx.compile, shapeless=True)
def turned(x: mx.array, swapped: mx.array, cosines: mx.array, sines: mx.array) -> mx.array:
    """Each pair of x turned by its angle. swapped: x with the two numbers of each pair exchanged."""
    return x * cosines + swapped * sines


@cache
def table(dims: int, base: float, scale: float, positions: int) -> tuple[mx.array, mx.array]:
    """The cosines and signed sines [positions, dims] of rotary embeddings (Su et al. 2021, arXiv:2104.09864).

    Numbers i and i + dims / 2 are a pair, turned by position * scale * base ** (-2 i / dims).
    """
    half = dims // 2
    speeds = mx.exp(mx.arange(0, -half, -1, dtype=mx.float32) * (mx.log(mx.array(base)) / half))
    angles = (mx.arange(positions, dtype=mx.float32) * scale)[:, None] * speeds
    cosines, sines = mx.cos(angles), mx.sin(angles)
    found = mx.concatenate([cosines, cosines], axis=-1), mx.concatenate([-sines, sines], axis=-1)
    mx.eval(*found)
    return found
