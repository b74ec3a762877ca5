"""What we rely on in mlx_lm's BatchGenerator, fact by fact; when one fails, see lane.py."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.generate import BatchGenerator, StopSequences
from mlx_lm.models.cache import BatchKVCache, KVCache, make_prompt_cache

from engine.batch_cache import JoinedCache, RowCache, joinable
from engine.model import LoadedModel

PROMPT = [ord(character) for character in "a prompt of some length, to be prefilled in several chunks"]


def greedy(logprobs: mx.array) -> mx.array:
    return mx.argmax(logprobs, axis=-1)


def generator(loaded: LoadedModel, **settings: Any) -> BatchGenerator:
    base = {"sampler": greedy, "completion_batch_size": 8, "prefill_batch_size": 1}
    return BatchGenerator(loaded.network, **{**base, **settings})


def tokens_of(batch: BatchGenerator, uids: list[int]) -> dict[int, list[int]]:
    """Run until all have finished."""
    tokens: dict[int, list[int]] = {uid: [] for uid in uids}
    open_ = set(uids)
    while open_:
        for response in batch.next()[1]:
            tokens[response.uid].append(response.token)
            if response.finish_reason is not None:
                open_.discard(response.uid)
    return tokens


@pytest.fixture
def reference(loaded: LoadedModel) -> list[int]:
    """Eight greedy tokens, computed without any batching."""
    cache = make_prompt_cache(loaded.network)
    logits = loaded.network(mx.array([PROMPT]), cache=cache)[:, -1, :]
    tokens = []
    for _ in range(8):
        tokens.append(int(np.array(greedy(logits))[0]))
        logits = loaded.network(mx.array([tokens[-1:]]), cache=cache)[:, -1, :]
    return tokens


def test_every_cache_of_a_batchable_model_has_merge(loaded: LoadedModel) -> None:
    assert all(hasattr(layer, "merge") for layer in make_prompt_cache(loaded.network))


@pytest.mark.parametrize("step", [1, 7, 16, 2048])
def test_prefill_sizes_are_plain_attributes_read_each_step(
    loaded: LoadedModel, reference: list[int], step: int
) -> None:
    batch = generator(loaded)
    batch.prefill_step_size = step
    batch.insert([PROMPT], max_tokens=[8])
    seen = []
    tokens: list[int] = []
    while len(tokens) < 8:
        prompts, generated = batch.next()
        seen += [prompt.progress[0] for prompt in prompts if not prompt.end_of_prompt]
        tokens += [response.token for response in generated]
    assert tokens == reference
    assert seen[0] == min(step, len(PROMPT) - 1), "the last token is held back to start decoding with"
    assert seen == sorted(seen)


def test_progress_counts_the_tokens_of_this_insert_and_end_of_prompt_comes_once(loaded: LoadedModel) -> None:
    batch = generator(loaded, prefill_step_size=20)
    batch.insert([PROMPT], max_tokens=[2])
    reports = [prompt for _ in range(8) for prompt in batch.next()[0]]
    assert [report.end_of_prompt for report in reports] == [False] * (len(reports) - 1) + [True]
    assert reports[-2].progress[0] == len(PROMPT) - 1


def test_a_prompt_of_one_token_is_served(loaded: LoadedModel) -> None:
    batch = generator(loaded)
    uids = batch.insert([[65]], max_tokens=[3])
    assert len(tokens_of(batch, uids)[uids[0]]) == 3


def test_a_prompt_taken_out_in_mid_prefill_goes_on_where_it_stopped(
    loaded: LoadedModel, reference: list[int]
) -> None:
    batch = generator(loaded, prefill_step_size=16)
    (uid,) = batch.insert([PROMPT], max_tokens=[8])
    batch.next()
    batch.next()
    cache, done = batch.remove([uid], return_prompt_caches=True)[uid]
    assert done == PROMPT[:32]
    (other,) = batch.insert([[66]], max_tokens=[2])
    tokens_of(batch, [other])
    (uid,) = batch.insert([PROMPT[32:]], max_tokens=[8], caches=[cache], all_tokens=[done])
    assert tokens_of(batch, [uid])[uid] == reference


def test_removing_before_the_first_step_gives_back_nothing_done(loaded: LoadedModel) -> None:
    batch = generator(loaded)
    (uid,) = batch.insert([PROMPT], max_tokens=[8], all_tokens=[[]])
    _, done = batch.remove([uid], return_prompt_caches=True)[uid]
    assert list(done) == []
    assert batch.next() == ([], [])


def test_samplers_are_per_request_and_called_once_per_token(
    loaded: LoadedModel, reference: list[int]
) -> None:
    calls: list[int] = []

    def constant(logprobs: mx.array) -> mx.array:
        calls.append(logprobs.shape[0])
        return mx.array([65] * logprobs.shape[0])

    batch = generator(loaded)
    first, second = batch.insert([PROMPT, PROMPT], max_tokens=[8, 8], samplers=[greedy, constant])
    tokens = tokens_of(batch, [first, second])
    assert tokens == {first: reference, second: [65] * 8}
    assert calls == [1] * len(calls)
    assert len(calls) in (8, 9), "it runs at most one token ahead"


def test_processors_see_the_prompt_first_and_then_one_token_more_each_time(loaded: LoadedModel) -> None:
    seen: list[list[int]] = []

    def watch(tokens: mx.array, logits: mx.array) -> mx.array:
        seen.append([int(token) for token in np.array(tokens)])
        return logits

    batch = generator(loaded)
    (uid,) = batch.insert([PROMPT], max_tokens=[4], logits_processors=[[watch]])
    tokens = tokens_of(batch, [uid])[uid]
    assert seen[:4] == [PROMPT + tokens[:n] for n in range(4)]


def test_with_a_cache_processors_see_the_prefix_given_as_all_tokens(loaded: LoadedModel) -> None:
    seen: list[int] = []

    def watch(tokens: mx.array, logits: mx.array) -> mx.array:
        seen.append(int(tokens.shape[0]))
        return logits

    cache = make_prompt_cache(loaded.network)
    loaded.network(mx.array([PROMPT[:32]]), cache=cache)
    batch = generator(loaded)
    (uid,) = batch.insert(
        [PROMPT[32:]], max_tokens=[2], caches=[cache], all_tokens=[PROMPT[:32]], logits_processors=[[watch]]
    )
    tokens_of(batch, [uid])
    assert seen[0] == len(PROMPT)


def test_a_stop_sequence_ends_with_its_own_token(loaded: LoadedModel, reference: list[int]) -> None:
    batch = generator(loaded)
    stop = StopSequences([[reference[2]]])
    first, second = batch.insert([PROMPT, PROMPT], max_tokens=[8, 8], stop_sequences=[stop, StopSequences()])
    tokens = tokens_of(batch, [first, second])
    assert tokens[first] == reference[: reference.index(reference[2]) + 1]
    assert tokens[second] == reference


@pytest.mark.parametrize("after", range(6))
def test_remove_works_at_any_stage_and_frees_the_cache(loaded: LoadedModel, after: int) -> None:
    batch = generator(loaded, prefill_step_size=16)
    (uid,) = batch.insert([PROMPT], max_tokens=[100])
    for _ in range(after):
        batch.next()
    batch.remove([uid])
    assert batch.next() == ([], [])
    assert batch.prompt_cache_nbytes == 0


def test_logprobs_in_a_batch_are_those_alone(loaded: LoadedModel) -> None:
    """Within 1e-4 in float32: what makes seeds and greedy texts the same in any batch."""

    def logprobs(count: int) -> dict[int, list[np.ndarray]]:
        batch = generator(loaded)
        prompts = [PROMPT, *([PROMPT[n:] for n in range(1, count)])]
        uids = batch.insert(prompts, max_tokens=[10] * count)
        seen: dict[int, list[np.ndarray]] = {uid: [] for uid in uids}
        while len(seen[uids[0]]) < 10:
            for response in batch.next()[1]:
                seen[response.uid].append(np.array(response.logprobs))
        return seen

    for alone, batched in zip(logprobs(1)[0], logprobs(8)[0], strict=True):
        assert np.abs(alone - batched).max() < 1e-4


def test_caches_that_join_with_less_copying_hold_what_mlx_lms_own_hold() -> None:
    """Row by row, before and after more tokens; short to long, long to short, and over a grown buffer."""

    def row(length: int, seed: int) -> KVCache:
        cache = KVCache()
        kv = mx.random.normal((2, 1, 2, length, 8), key=mx.random.key(seed))
        cache.update_and_fetch(kv[0], kv[1])
        return cache

    def batches(merge: Any) -> list[Any]:
        return [merge([row(n, n) for n in lengths]) for lengths in ((5, 2), (300,), (256,), (1, 511))]

    plain = batches(BatchKVCache.merge)
    ours = batches(lambda rows: RowCache.merge([RowCache(one, at_once=True) for one in rows]))
    for caches in (plain, ours):
        first, *others = caches
        for n, other in enumerate(others):
            first.extend(other)
            rows = first.offset.shape[0]
            first.update_and_fetch(mx.full((rows, 2, 1, 8), n), mx.full((rows, 2, 1, 8), -n))
    assert isinstance(ours[0], JoinedCache)
    assert ours[0].offset.tolist() == plain[0].offset.tolist()
    assert ours[0].left_padding.tolist() == plain[0].left_padding.tolist()
    for n in range(6):
        one, other = ours[0].extract(n), plain[0].extract(n)
        assert mx.array_equal(one.keys, other.keys).item()
        assert mx.array_equal(one.values, other.values).item()


def test_the_layers_of_a_batch_grow_in_different_steps(loaded: LoadedModel) -> None:
    """A full buffer is copied: of all layers in one step that would be a gap for all who decode."""
    layers = [layer.merge([layer]) for layer in joinable(loaded.network, None)]
    assert all(isinstance(layer.inner, JoinedCache) for layer in layers)
    sizes = [0] * len(layers)
    grown: list[list[int]] = []
    for _ in range(700):
        for layer in layers:
            layer.update_and_fetch(mx.ones((1, 2, 1, 8)), mx.ones((1, 2, 1, 8)))
        now = [layer.keys.shape[2] for layer in layers]
        grown.append([n for n, (old, new) in enumerate(zip(sizes, now, strict=True)) if old != new])
        sizes = now
    assert sorted(n for step in grown[1:] for n in step) == [0, 0, 1, 1]
    assert all(len(step) <= 1 for step in grown[1:])


def test_a_prompt_of_known_length_is_copied_once(loaded: LoadedModel) -> None:
    """Its buffers grow at once to what it needs, and no further; they hold what mlx_lm's hold."""
    total, chunk = 7_000, 100
    first, *_ = joinable(loaded.network, None, total)
    ours, plain = first.merge([first]), KVCache()
    sizes: list[int] = []
    for start in range(0, total, chunk):
        keys, values = mx.random.normal((2, 1, 2, chunk, 8), key=mx.random.key(start))
        ours.update_and_fetch(keys, values)
        plain.update_and_fetch(keys, values)
        sizes += [ours.keys.shape[2]] if ours.keys.shape[2] not in sizes else []
    assert len(sizes) == 2
    assert total <= sizes[-1] < total + KVCache.step + ours.step
    row = ours.extract(0)
    assert mx.array_equal(row.keys[..., :total, :], plain.keys[..., :total, :]).item()
    assert mx.array_equal(row.values[..., :total, :], plain.values[..., :total, :]).item()


def test_a_long_answer_is_copied_rarely(loaded: LoadedModel) -> None:
    """Beyond its prompt a long buffer grows by an eighth."""
    first, *_ = joinable(loaded.network, None, 4000)
    ours = first.merge([first])
    sizes: list[int] = []
    for tokens in [1000] * 4 + [10] * 300:
        ours.update_and_fetch(mx.ones((1, 2, tokens, 8)), mx.ones((1, 2, tokens, 8)))
        sizes += [ours.keys.shape[2]] if ours.keys.shape[2] not in sizes else []
    assert sizes == [1024, 4352, 4905, 5523, 6221, 7008]


def test_a_batch_of_empty_caches_joins_too() -> None:
    empty = [RowCache(KVCache(), at_once=False) for _ in range(2)]
    first, second = RowCache.merge(empty[:1]), RowCache.merge(empty[1:])
    first.extend(second)
    assert isinstance(first, JoinedCache)
    assert first.empty()
    assert first.offset.tolist() == [0, 0]


def test_a_sequence_that_comes_or_stays_alone_is_not_copied() -> None:
    """Its arrays become the batch's; what others hold of them is not written to."""
    one = KVCache()
    kept = mx.random.normal((1, 2, 300, 8), key=mx.random.key(1))
    one.update_and_fetch(kept, kept)
    one.state = (kept, kept[...], 300)
    before = mx.array(kept)
    mx.eval(before)
    ours, plain = RowCache.merge([RowCache(one, at_once=True)]), BatchKVCache.merge([one])
    for batch in (ours, plain):
        batch.update_and_fetch(mx.ones((1, 2, 3, 8)), mx.ones((1, 2, 3, 8)))
    assert isinstance(ours, JoinedCache)
    ours.filter([0])
    for one, other in zip(ours.extract(0).keys_and_values(), plain.extract(0).keys_and_values(), strict=True):
        assert mx.array_equal(one, other).item()
    assert ours.extract(0).size() == 303
    assert mx.array_equal(kept, before).item()


def test_two_generators_of_one_model_do_not_know_of_each_other(loaded: LoadedModel) -> None:
    first, second = generator(loaded), generator(loaded)
    (a,), (b,) = first.insert([PROMPT], max_tokens=[4]), second.insert([PROMPT], max_tokens=[6])
    together: dict[str, list[int]] = {"first": [], "second": []}
    for _ in range(12):
        for name, batch in (("first", first), ("second", second)):
            together[name] += [response.token for response in batch.next()[1]]
    assert (len(together["first"]), len(together["second"])) == (4, 6)
    assert together["second"][:4] == together["first"]
    assert a == b == 0
