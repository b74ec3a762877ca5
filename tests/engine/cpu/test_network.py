"""Networks made ready for a CPU: the same numbers as before, from other operations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn
from mlx.utils import tree_flatten
from mlx_lm.models.cache import BatchKVCache
from mlx_lm.utils import load

from engine.cpu.network import MANY_INPUTS, TABLE_BYTES, FusedNorm, TableRope, adapt, batched, laid_out

POSITIONS = 500


@pytest.fixture(autouse=True)
def on_a_cpu() -> Iterator[None]:
    """Whatever else is there."""
    with mx.stream(mx.cpu):
        yield


def largest(a: mx.array, b: mx.array) -> float:
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    return float(np.abs(np.array(a.astype(mx.float32)) - np.array(b.astype(mx.float32))).max())


@pytest.mark.parametrize("width", [2, 64, 320])
@pytest.mark.parametrize("eps", [1e-5, 1e-6])
def test_a_norm_of_one_width_is_the_librarys(width: int, eps: float) -> None:
    norm = nn.RMSNorm(width, eps)
    norm.weight = mx.random.normal((width,))
    fused = FusedNorm(norm)
    ones, rows = [(1,) * n + (width,) for n in range(4)], [(3, width), (8, 1, width), (1, 9, width)]
    for shape in [*ones, *rows, (2, 5, 7, width), (4, 5, 1, width), (1, 1, width)]:
        x = mx.random.normal(shape)
        assert largest(fused(x), norm(x)) <= 1e-6
    strided = mx.random.normal((2, 5, 3, width)).transpose(0, 2, 1, 3)
    assert largest(fused(strided), norm(strided)) <= 1e-6


def test_a_norm_of_one_number_stays_the_librarys() -> None:
    network = nn.Sequential(nn.RMSNorm(1), nn.RMSNorm(2))
    adapt(network, POSITIONS)
    assert [type(layer) for layer in network.layers] == [nn.RMSNorm, FusedNorm]


def test_a_norm_of_half_precision_stays_the_librarys() -> None:
    norm = nn.RMSNorm(16)
    norm.weight = mx.random.normal((16,)).astype(mx.bfloat16)
    x = mx.random.normal((3, 16)).astype(mx.bfloat16)
    assert largest(FusedNorm(norm)(x), norm(x)) == 0


@pytest.mark.parametrize("dims", [2, 16, 64])
@pytest.mark.parametrize(("base", "scale"), [(10000.0, 1.0), (1e6, 0.25)])
@pytest.mark.parametrize("tokens", [1, 2, 37])
def test_the_tokens_of_each_row_are_turned_as_the_library_does(
    dims: int, base: float, scale: float, tokens: int
) -> None:
    rope = nn.RoPE(dims, base=base, scale=scale)
    x = mx.random.normal((4, 3, tokens, dims))
    offset = mx.array([0, 1, 77, POSITIONS - tokens])
    assert batched(x)
    assert largest(TableRope(rope, POSITIONS)(x, offset), rope(x, offset=offset)) <= 1e-6


def test_all_else_is_turned_by_the_library_itself() -> None:
    plain, traditional = nn.RoPE(16), nn.RoPE(16, traditional=True)
    one, rows = mx.random.normal((1, 2, 1, 16)), mx.array([3])
    for rope, x, offset in (
        (traditional, one, rows),
        (plain, one, 3),
        (plain, mx.random.normal((1, 2, 1, 24)), rows),
        (plain, one.astype(mx.bfloat16), rows),
    ):
        assert largest(TableRope(rope, POSITIONS)(x, offset), rope(x, offset=offset)) == 0


def test_a_position_outside_reads_nothing_outside_the_table() -> None:
    rope = TableRope(nn.RoPE(16), POSITIONS)
    x = mx.random.normal((1, 2, 1, 16))
    first, last = rope(x, mx.array([0])), rope(x, mx.array([POSITIONS - 1]))
    assert largest(rope(x, mx.array([POSITIONS + 1000])), last) == 0
    assert largest(rope(x, mx.array([-3])), first) == 0


def test_a_laid_out_matrix_has_the_same_values() -> None:
    weight = mx.random.normal((48, 16))
    assert mx.array_equal(laid_out(weight), weight)
    many = mx.random.normal((3, MANY_INPUTS))
    assert laid_out(many, pieces=True) is many
    assert mx.array_equal(laid_out(many), many)


def test_a_network_made_ready_computes_the_same(tiny: Path) -> None:
    network, _ = load(str(tiny))
    network.set_dtype(mx.float32)
    before = dict(tree_flatten(network.parameters()))
    x = mx.array([[5, 9, 2], [7, 7, 1]])

    def logits() -> list[mx.array]:
        caches = [BatchKVCache([0, 1]) for _ in network.layers]
        return [network(x, cache=caches), network(x[:, :1], cache=caches), network(x[:, 1:2], cache=caches)]

    plain = logits()
    adapt(network, POSITIONS)
    for old, new in zip(plain, logits(), strict=True):
        assert largest(new[:1], old[:1]) < 1e-4
        assert largest(new[1:, -1], old[1:, -1]) < 1e-4  # a padding token's logits mean nothing
    after = dict(tree_flatten(network.parameters()))
    assert before.keys() == after.keys()
    assert all(mx.array_equal(value, after[name]) for name, value in before.items())
    kinds = {type(module) for _, module in network.named_modules()}
    assert {FusedNorm, TableRope} <= kinds
    assert not {nn.RMSNorm, nn.RoPE} & kinds


def test_a_table_too_large_is_not_made(tiny: Path) -> None:
    network, _ = load(str(tiny))
    adapt(network, TABLE_BYTES)
    assert not any(type(module) is TableRope for _, module in network.named_modules())
