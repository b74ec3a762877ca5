"""Batches whose sequences keep buffers of their own: the same tokens, and nothing is copied."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models.cache import BatchKVCache, KVCache

from engine.batch_cache import JoinedCache, LongCache, RowCache, is_cuttable
from engine.config import EngineConfig
from engine.core import EngineCore
from engine.model import LoadedModel
from engine.separate_cache import Rows, SeparateCache
from engine.shapes import takes_rows
from engine.tuning import CPU
from tests.engine.drive import alone, request, run

LONG = 100
pytestmark = pytest.mark.skipif(
    mx.default_device().type != mx.DeviceType.cpu, reason="attention reads rows one by one on a CPU alone"
)


def drawn(rows: int, tokens: int, seed: int) -> tuple[mx.array, mx.array]:
    keys, values = mx.random.normal((2, rows, 2, tokens, 8), key=mx.random.key(seed))
    return keys, values


def single(tokens: int, seed: int = 0) -> KVCache:
    cache = KVCache()
    if tokens:
        cache.update_and_fetch(*drawn(1, tokens, seed))
    return cache


def batch(*lengths: int, long: int = LONG) -> Any:
    return RowCache.merge([RowCache(single(n, n), at_once=True, separate=long) for n in lengths])


def test_it_holds_what_mlx_lms_own_holds_whatever_joins_leaves_and_is_cut() -> None:
    ours, plain = batch(5), BatchKVCache.merge([single(5, 5)])
    for seed, lengths in enumerate([(40,), (150,), (7, 120), (99,)]):
        ours.extend(batch(*lengths))
        plain.extend(BatchKVCache.merge([single(n, n) for n in lengths]))
        for cache in (ours, plain):
            cache.update_and_fetch(*drawn(cache.offset.size, 3, seed))
            cache.trim(2)
        assert isinstance(ours.inner, SeparateCache if seed else JoinedCache)
    for cache in (ours, plain):
        cache.filter([0, 2, 3, 5])
        cache.update_and_fetch(*drawn(4, 1, 99))
    assert ours.offset.tolist() == plain.offset.tolist()
    assert ours.size() == max(plain.offset.tolist())
    for n in range(4):
        one, other = ours.extract(n), plain.extract(n)
        assert type(one) is KVCache
        for first, second in zip(one.keys_and_values(), other.keys_and_values(), strict=True):
            assert mx.array_equal(first, second).item()


def test_tokens_that_were_cut_off_can_be_taken_back() -> None:
    caches = batch(120, 30)
    before = [row[:, :, :-1].tolist() for row in caches.update_and_fetch(*drawn(2, 4, 1))[0].arrays]
    caches.trim(4)
    caches.advance(3)
    assert [caches.extract(n).keys_and_values()[0].tolist() for n in range(2)] == before
    assert is_cuttable([caches])


def test_a_prompt_that_is_padded_on_the_right_adds_its_own_tokens() -> None:
    """In chunks, the second of which holds padding alone of the shortest."""
    caches, (keys, values) = batch(0, 130, 0), drawn(3, 10, 5)
    caches.prepare(lengths=[10, 3, 7], right_padding=[0, 7, 3])
    added = [
        caches.update_and_fetch(keys[:, :, at : at + 5], values[:, :, at : at + 5])[0].added for at in (0, 5)
    ]
    caches.finalize()
    assert added == [(5, 3, 5), (5, 0, 2)]
    assert caches.offset.tolist() == [10, 133, 7]
    for n, size in enumerate([10, 3, 7]):
        found = caches.extract(n).keys_and_values()[0][:, :, -size:]
        assert mx.array_equal(found, keys[n : n + 1, :, :size]).item()
    assert caches.update_and_fetch(keys[:, :, :1], values[:, :, :1])[1].added == (1, 1, 1)


def test_short_ones_share_buffers_again_when_the_long_one_has_left() -> None:
    caches = batch(20)
    caches.extend(batch(300))
    assert isinstance(caches.inner, SeparateCache)
    caches.filter([0])
    caches.extend(batch(30))
    assert isinstance(caches.inner, JoinedCache)
    assert caches.offset.tolist() == [20, 30]


def test_what_is_written_is_seen_by_nobody_who_took_it_before() -> None:
    caches = batch(120, 110)
    kept, copied = caches.extract(0), copy.deepcopy(caches)
    before = [one.keys_and_values()[0].tolist() for one in (kept, copied.extract(0), copied.extract(1))]
    caches.update_and_fetch(*drawn(2, 5, 1))
    caches.trim(100)
    caches.update_and_fetch(*drawn(2, 50, 2))
    mx.eval(caches.state)
    after = [one.keys_and_values()[0].tolist() for one in (kept, copied.extract(0), copied.extract(1))]
    assert before == after


def places(caches: Any) -> list[int]:
    mx.eval(caches.state)
    return [np.asarray(row.keys).ctypes.data for row in caches.inner.rows]


def test_nothing_is_copied_when_a_sequence_comes_or_goes_or_gets_a_token() -> None:
    caches = batch(300, 200)
    caches.update_and_fetch(*drawn(2, 1, 1))  # makes room
    first, second = places(caches)
    caches.extend(batch(400))
    assert places(caches)[:2] == [first, second]
    caches.filter([0, 1, 2])
    caches.update_and_fetch(*drawn(3, 1, 1))
    assert places(caches)[:2] == [first, second]
    caches.filter([1, 2])
    for seed in range(20):
        caches.update_and_fetch(*drawn(2, 1, seed))
    assert places(caches)[0] == second


@pytest.fixture(params=[0, 60], ids=["always", "from 60 tokens on"])
def core(request: pytest.FixtureRequest, loaded: LoadedModel) -> EngineCore:
    own = replace(loaded, tuning=replace(CPU, separate=request.param))
    return EngineCore(own, EngineConfig(model=loaded.info.path))


@pytest.mark.parametrize("stagger", [0, 3])
def test_nobodys_tokens_depend_on_it(core: EngineCore, loaded: LoadedModel, stagger: int) -> None:
    """Sampled, greedy, constrained, drafted; long, short; with and without what is known of them."""
    shared = EngineCore(loaded, EngineConfig(model=loaded.info.path, cache_ram=0))
    grammar = 'start: "{\\"city\\": \\"" /[a-z]{1,9}/ "\\", \\"country\\": null}"'
    wishes = [
        request(f"r{n}", "abcdefgh"[n % 8] * length, max_tokens=12, seed=n, temperature=0.9 * (n % 2), **own)
        for n, (length, own) in enumerate(
            [(3, {}), (70, {}), (300, {"grammar": grammar}), (61, {}), (5, {"grammar": grammar}), (140, {})]
        )
    ]
    expected = {one.id: alone(shared, one).text for one in wishes}
    for _ in range(2):
        assert {id: told.text for id, told in run(core, *wishes, stagger=stagger).items()} == expected
    assert core.stats().peak_batch >= 2


def test_a_network_that_looks_at_its_keys_shares_buffers(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert takes_rows(loaded.network, CPU)
    added = SeparateCache.update_and_fetch

    def turned(self: SeparateCache, keys: mx.array, values: mx.array) -> tuple[Rows, Rows]:
        keys_of_all, values_of_all = added(self, keys, values)
        return replace(keys_of_all, arrays=keys_of_all.arrays[::-1]), values_of_all

    for broken in (turned, lambda self, keys, values: keys.no_such_thing):
        monkeypatch.setattr(SeparateCache, "update_and_fetch", broken)
        assert not takes_rows(loaded.network, CPU)


def test_masks_of_numbers_and_windows_are_refused() -> None:
    caches = batch(120, 110)
    assert caches.make_mask(1) is None
    assert caches.make_mask(4) == "causal"
    for asked in ({"return_array": True}, {"window_size": 8}):
        with pytest.raises(NotImplementedError):
            caches.make_mask(4, **asked)


def test_it_says_how_much_it_holds() -> None:
    caches = batch(120, 0)
    assert isinstance(caches, LongCache)
    assert (caches.empty(), batch(0, 0).empty()) == (False, True)
    assert caches.nbytes == caches.inner.rows[0].nbytes > 0
    assert len(caches.state) == 1
