"""A sequence that is cut into segments and joined goes on exactly as it would have."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models.cache import CacheList, KVCache, RotatingKVCache, make_prompt_cache

from engine.batch_cache import staggered
from engine.cache.layers import ANSWER_ROOM, Kept, Layout, Part, pack, unpack
from engine.model import LoadedModel
from engine.tuning import CPU
from tests.engine.test_architectures import WINDOW, hybrid, sliding_window

TEXT = [ord(character) for character in "many tokens, many more than the window of sixty-four " * 3]


def network(kind: str, loaded: LoadedModel) -> Any:
    if kind == "plain":
        return loaded.network
    mx.random.seed(0)
    model = {"window": sliding_window, "hybrid": hybrid}[kind]()
    model.eval()
    mx.eval(model.parameters())
    return model


def run(model: Any, tokens: list[int], caches: Any) -> np.ndarray[Any, Any]:
    logits = model(mx.array([tokens]), cache=caches)
    mx.eval(logits, [layer.state for layer in caches])
    return np.array(logits[0, -1])


def kept_in(parts: list[tuple[int, int, Kept]]) -> list[Part]:
    return [Part(kept, start, end) for start, end, kept in parts]


@pytest.mark.parametrize("cut", [1, 40, WINDOW, 100])
@pytest.mark.parametrize("kind", ["plain", "window", "hybrid"])
def test_cut_and_joined_it_goes_on_as_before(kind: str, cut: int, loaded: LoadedModel) -> None:
    model = network(kind, loaded)
    layout = Layout(lambda: make_prompt_cache(model), KVCache)
    assert layout.sliceable == (kind == "plain")
    caches = make_prompt_cache(model)
    run(model, TEXT[:cut], caches)
    first = layout.cut(caches, 0, cut)
    mx.eval(first.arrays)
    run(model, TEXT[cut:120], caches)
    second = layout.cut(caches, cut, 120)
    mx.eval(second.arrays)
    expected = run(model, TEXT[120:], caches)
    for _ in range(2):  # joining must leave what is kept as it is
        again = layout.join(kept_in([(0, cut, first), (cut, 120, second)]))
        np.testing.assert_allclose(run(model, TEXT[120:], again), expected, atol=2e-5)
    alone = run(model, TEXT[cut:], layout.join(kept_in([(0, cut, first)])))
    np.testing.assert_allclose(alone, expected, atol=2e-5)


def test_a_plain_segment_may_be_used_in_part(loaded: LoadedModel) -> None:
    layout = Layout(lambda: make_prompt_cache(loaded.network), KVCache)
    caches = make_prompt_cache(loaded.network)
    expected = run(loaded.network, TEXT, caches)
    first, second = layout.cut(caches, 0, 100), layout.cut(caches, 60, len(TEXT))
    joined = layout.join(kept_in([(0, 70, first), (70, 110, second)]))
    assert all(layer.offset == 110 for layer in joined)
    np.testing.assert_allclose(run(loaded.network, TEXT[110:], joined), expected, atol=2e-5)


def test_bytes_are_those_of_the_slices(loaded: LoadedModel) -> None:
    layout = Layout(lambda: make_prompt_cache(loaded.network), KVCache)
    caches = make_prompt_cache(loaded.network)
    run(loaded.network, TEXT, caches)
    assert layout.cut(caches, 10, 30).nbytes == 20 * 2 * 2 * 2 * 16 * 4


def test_layers_that_keep_several_caches() -> None:
    def make() -> list[Any]:
        return [CacheList(KVCache(), RotatingKVCache(8))]

    layout = Layout(make, KVCache)
    (layer,) = make()
    for cache in layer.caches:
        cache.update_and_fetch(mx.ones((1, 2, 5, 4)), mx.zeros((1, 2, 5, 4)))
    kept = layout.cut([layer], 0, 5)
    (joined,) = layout.join(kept_in([(0, 5, kept)]))
    assert [type(cache) for cache in joined.caches] == [KVCache, RotatingKVCache]
    assert [cache.offset for cache in joined.caches] == [5, 5]
    assert joined.caches[1].max_size == 8


def test_a_state_as_json() -> None:
    arrays: list[mx.array] = []
    state = ([mx.array([1, 2]), None], mx.array([3]), 7, True, "x")
    spec = pack(state, arrays)
    assert spec == [[{"array": 0}, None], {"array": 1}, 7, True, "x"]
    back = unpack(spec, arrays)
    assert back[0][0].tolist() == [1, 2]
    assert back[2:] == [7, True, "x"]
    with pytest.raises(TypeError, match="holds a set"):
        pack({1}, arrays)


def test_what_comes_next_needs_no_other_buffer(loaded: LoadedModel) -> None:
    layout = Layout(lambda: make_prompt_cache(loaded.network), KVCache)
    caches = make_prompt_cache(loaded.network)
    expected = run(loaded.network, TEXT, caches)
    kept = layout.cut(caches, 0, len(TEXT))
    joined = layout.join(kept_in([(0, 110, kept)]), len(TEXT) - 110)
    sizes = [layer.keys.shape[2] for layer in joined]
    assert sizes == [2 * 110 + staggered(n, CPU.stagger) for n in range(len(joined))]
    assert len(set(sizes)) > 1, "not all are full in one step"
    np.testing.assert_allclose(run(loaded.network, TEXT[110:], joined), expected, atol=2e-5)
    assert [layer.keys.shape[2] for layer in joined] == sizes
    again = layout.cut(joined, 0, len(TEXT))
    for one, other in zip(again.arrays, kept.arrays, strict=True):
        np.testing.assert_allclose(np.array(one), np.array(other), atol=2e-5)


def test_a_few_known_tokens_bring_no_room_for_a_long_prompt(loaded: LoadedModel) -> None:
    """All of it would be filled with zeros before the prompt begins; many bring as much as is needed."""
    layout = Layout(lambda: make_prompt_cache(loaded.network), KVCache)
    caches = make_prompt_cache(loaded.network)
    run(loaded.network, TEXT, caches)
    kept = layout.cut(caches, 0, len(TEXT))
    joined = layout.join(kept_in([(0, 8, kept)]), 4000)
    assert [layer.keys.shape[2] for layer in joined] == [16, 24]
    one = Layout(lambda: [KVCache()], KVCache)
    many = one.cut([grown(1000)], 0, 1000)
    (layer,) = one.join(kept_in([(0, 1000, many)]), 100)
    assert layer.keys.shape[2] == 1000 + 100 + ANSWER_ROOM
    long = one.cut([grown(8000)], 0, 8000)
    (layer,) = one.join(kept_in([(0, 8000, long)]), 100)
    assert layer.keys.shape[2] == one.room([layer]) == 9000, "for some turns more"


def grown(tokens: int) -> KVCache:
    cache = KVCache()
    cache.update_and_fetch(mx.ones((1, 2, tokens, 4)), mx.zeros((1, 2, tokens, 4)))
    return cache
