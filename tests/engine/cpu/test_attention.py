"""Attention by numpy against the library's: every kind of mask, rows, groups and lengths."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models.base import scaled_dot_product_attention
from mlx_lm.models.cache import make_prompt_cache

from engine.cpu import attention
from engine.cpu.attention import LONG_CONTEXT, attend, library
from engine.model import LoadedModel
from engine.separate_cache import Rows

CLOSE = 2e-6
Shape = tuple[int, int, int, int, int]  # rows, groups, heads of a group, queries, tokens
SHAPES: list[Shape] = [
    (1, 1, 1, 1, 1),
    (1, 4, 1, 1, 50),
    (3, 2, 2, 1, 70),
    (2, 2, 3, 5, 64),
    (1, 4, 1, 33, 33),
    (2, 1, 4, 40, 90),
    (3, 2, 2, 300, 310),
]


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """However little there is to compute."""
    monkeypatch.setattr(attention, "LEAST_SCORES", 0)
    monkeypatch.setattr(attention, "LONG_CONTEXT", 0)


def inputs(shape: Shape) -> tuple[mx.array, mx.array, mx.array]:
    rows, groups, shared, queries, tokens = shape
    mx.random.seed(queries * tokens + rows)
    q = mx.random.normal((rows, groups * shared, queries, 16))
    k, v = (mx.random.normal((rows, groups, tokens + 7, 16))[:, :, :tokens] for _ in range(2))
    return q, k, v


def causal(shape: Shape) -> np.ndarray[Any, Any]:
    queries, tokens = shape[3:]
    return np.arange(tokens - queries, tokens)[:, None] >= np.arange(tokens)


def window(shape: Shape) -> np.ndarray[Any, Any]:
    queries, tokens = shape[3:]
    return causal(shape) & (np.arange(tokens - queries, tokens)[:, None] < np.arange(tokens) + 9)


def padded(shape: Shape) -> np.ndarray[Any, Any]:
    rows, _, _, queries, tokens = shape
    padding = np.arange(rows) * (tokens - queries) // 3
    return (causal(shape)[None] & (np.arange(tokens) >= padding[:, None, None]))[:, None]


def ring(shape: Shape) -> np.ndarray[Any, Any]:
    """What a rotating cache hides from a query lies anywhere."""
    queries, tokens = shape[3:]
    seen = np.random.default_rng(tokens).random((1, 1, queries, tokens)) < 0.6
    seen[..., -1] = True
    return seen


MASKS: dict[str, Any] = {
    "none": lambda shape: None,
    "causal": lambda shape: "causal",
    "array": lambda shape: mx.array(causal(shape)),
    "one for all rows": lambda shape: mx.array(causal(shape)[None]),
    "window": lambda shape: mx.array(window(shape)),
    "padded rows": lambda shape: mx.array(padded(shape)),
    "ring": lambda shape: mx.array(ring(shape)),
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", MASKS)
def test_it_is_what_the_library_computes(shape: Shape, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "BLOCK", 64)
    q, k, v = inputs(shape)
    mask = MASKS[kind](shape)
    expected = library(q, k, v, scale=0.25, mask=mask)
    monkeypatch.setattr(attention, "library", None)  # it may not ask the library
    found = attend(q, k, v, scale=0.25, mask=mask)
    assert found.shape == expected.shape
    assert float(mx.abs(found - expected).max()) < CLOSE


def test_a_query_that_sees_nothing_gives_numbers() -> None:
    """The padding in front of a short prompt beside a long one."""
    shape = (2, 2, 1, 20, 20)
    seen = np.broadcast_to(causal(shape), (2, 1, 20, 20)).copy()
    seen[1, :, :, :12] = False
    q, k, v = inputs(shape)
    mask = mx.array(seen)
    found, expected = (one(q, k, v, scale=0.25, mask=mask) for one in (attend, library))
    assert bool(mx.isfinite(found).all())
    assert float(mx.abs(found - expected)[1, :, 12:].max()) < CLOSE
    assert float(mx.abs(found - expected)[0].max()) < CLOSE


@pytest.mark.parametrize("queries", [1, 5, 40, 300])
@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_rows_with_buffers_of_their_own(queries: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As each of them alone; what is padding behind a shorter prompt is never infinite."""
    monkeypatch.setattr(attention, "AT_ONCE", at_once)
    rows = [inputs((1, 2, 2, queries, queries + more)) for more in (0, 17, 150)]
    own = [queries, max(1, queries - 3), max(1, queries // 2)]
    keys, values = (
        Rows(
            tuple(
                row[n][:, :, : row[n].shape[2] - (queries - size)]
                for row, size in zip(rows, own, strict=True)
            ),
            tuple(own),
        )
        for n in (1, 2)
    )
    found = attend(mx.concatenate([q for q, _, _ in rows]), keys, values, scale=0.25, mask="causal")
    assert mx.isfinite(found).all().item()
    for n, ((q, _, _), size) in enumerate(zip(rows, own, strict=True)):
        one = (q[:, :, :size], keys.arrays[n], values.arrays[n])
        expected = library(*one, scale=0.25, mask="causal" if size > 1 else None)
        assert float(mx.abs(found[n : n + 1, :, :size] - expected).max()) < CLOSE


@pytest.mark.parametrize("given", [{"sinks": mx.zeros((4,))}, {"stream": mx.cpu}], ids=["sinks", "others"])
def test_rows_for_what_it_does_not_cover_are_refused(given: dict[str, Any]) -> None:
    q, k, v = inputs((1, 4, 1, 1, 30))
    with pytest.raises(NotImplementedError):
        attend(q, Rows((k,), (1,)), Rows((v,), (1,)), scale=0.25, **given)
    with pytest.raises(TypeError):
        attend(q, Rows((k,), (1,)), v, scale=0.25)


@pytest.mark.parametrize(
    "given",
    [
        {"sinks": mx.zeros((4,))},
        {"mask": mx.zeros((20, 30))},
        {"mask": mx.ones((1, 4, 20, 30), dtype=mx.bool_)},
        {"stream": mx.cpu},
    ],
    ids=["sinks", "summands", "a mask for each head", "an argument of its own"],
)
def test_what_it_does_not_cover_goes_to_the_library(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    q, k, v = inputs((1, 4, 1, 20, 30))
    expected = library(q, k, v, scale=0.25, **given)
    monkeypatch.setattr(attention, "mixed_rows", None)
    assert mx.array_equal(attend(q, k, v, scale=0.25, **given), expected)


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16])
def test_half_precision_goes_to_the_library(dtype: mx.Dtype) -> None:
    q, k, v = (array.astype(dtype) for array in inputs((1, 4, 1, 20, 30)))
    found = attend(q, k, v, scale=0.25)
    assert found.dtype == dtype
    assert mx.array_equal(found, library(q, k, v, scale=0.25))


def test_little_work_does_not_wait_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "LEAST_SCORES", 1 << 16)
    monkeypatch.setattr(attention, "LONG_CONTEXT", LONG_CONTEXT)
    assert not attention.worthwhile(*inputs((8, 4, 1, 1, LONG_CONTEXT - 1)))
    assert attention.worthwhile(*inputs((1, 4, 1, 1, LONG_CONTEXT)))
    assert not attention.worthwhile(*inputs((1, 1, 1, 20, 30)))
    assert attention.worthwhile(*inputs((1, 4, 1, 256, 256)))


def test_mlx_lm_calls_the_function_that_is_replaced(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its name in mx.fast, at every call: the fact that `install` relies on."""
    calls: list[int] = []

    def counted(q: mx.array, *others: Any, **more: Any) -> mx.array:
        calls.append(q.shape[2])
        return library(q, *others, **more)

    monkeypatch.setattr(mx.fast, "scaled_dot_product_attention", counted)
    assert scaled_dot_product_attention.__module__ == "mlx_lm.models.base"
    cache = make_prompt_cache(loaded.network)
    mx.eval(loaded.network(mx.array([[1, 2, 3]]), cache=cache))
    assert calls == [3] * len(cache)


@pytest.mark.skipif(mx.default_device().type != mx.DeviceType.cpu, reason="for CPUs only")
def test_a_loaded_model_uses_it(loaded: LoadedModel) -> None:
    assert mx.fast.scaled_dot_product_attention is attend
    prompt = mx.array([[number % 200 for number in range(700)]])
    caches = [make_prompt_cache(loaded.network) for _ in range(2)]
    ours = loaded.network(prompt, cache=caches[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mx.fast, "scaled_dot_product_attention", library)
        theirs = loaded.network(prompt, cache=caches[1])
    assert float(mx.abs(ours - theirs).max()) < 1e-4
