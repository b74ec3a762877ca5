"""What each cut keeps, against its definition; processors against theirs."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from engine.sampling import BatchSampler, SampledRow, Table, UnexpectedRows, make_processors, pick
from engine.types import SamplingParams

VOCAB = 37


def row(values: mx.array) -> list[float]:
    return [float(value) for value in np.array(values)[0]]


def logits(seed: int) -> mx.array:
    return mx.array(np.random.default_rng(seed).normal(0, 2, (1, VOCAB)).astype(np.float32))


def ranked(values: mx.array) -> list[int]:
    by_token = row(values)
    return sorted(range(VOCAB), key=lambda i: -by_token[i])


def params(**sampling: Any) -> SamplingParams:
    return SamplingParams(**{"max_tokens": 1, "temperature": 1.0, **sampling})


def reachable(values: mx.array, **sampling: Any) -> set[int]:
    """The tokens that 512 evenly spread random numbers pick: nothing likelier than 1/500 is missed."""
    rows = [SampledRow.start(params(**sampling))]
    table = Table.of(rows, VOCAB)
    return {int(np.array(pick(values, table, mx.array([[n / 512]])))[0]) for n in range(512)}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("k", [2, 5, VOCAB - 1])
@pytest.mark.parametrize("p", [1e-9, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("least", [0.0, 0.3, 1.0])
def test_the_cuts_keep_what_their_definitions_keep(seed: int, k: int, p: float, least: float) -> None:
    """The k likeliest; of them the fewest that reach p of their sum; of them those likely enough."""
    values = logits(seed)
    probabilities = row(mx.softmax(values, axis=-1))
    kept = ranked(values)[:k]
    total = sum(probabilities[i] for i in kept)
    nucleus: list[int] = []
    for token in kept:
        nucleus.append(token)
        if sum(probabilities[i] for i in nucleus) / total >= p:
            break
    expected = {i for i in nucleus if probabilities[i] >= least * max(probabilities)}
    left = sum(probabilities[i] for i in expected)
    sure = {i for i in expected if probabilities[i] / left > 1 / 500}
    found = reachable(values, top_k=k, top_p=p, min_p=least)
    assert sure <= found <= expected


def test_temperature_scales_before_the_cuts() -> None:
    """At a low temperature top_p 0.9 keeps one token of a distribution that at 1.0 keeps several."""
    values = mx.log(mx.array([[0.4, 0.35, 0.25] + [1e-9] * (VOCAB - 3)]))
    assert reachable(values, temperature=0.02, top_p=0.9) == {0}
    assert reachable(values, temperature=1.0, top_p=0.9) == {0, 1, 2}


def test_samples_follow_the_distribution() -> None:
    sampler = BatchSampler()
    draw = sampler.one(SampledRow.start(params(seed=11)))
    values = mx.log(mx.array([[0.5, 0.3, 0.2]]))
    counts = np.bincount([int(np.array(draw(values))[0]) for _ in range(2000)], minlength=3) / 2000
    assert np.abs(counts - [0.5, 0.3, 0.2]).max() < 0.05  # five standard deviations


def test_neighbouring_seeds_are_unrelated() -> None:
    draws = [SampledRow.start(params(seed=seed)) for seed in range(20)]
    numbers = [one.next() for _ in range(5) for one in draws]
    assert len(set(numbers)) == 100
    assert abs(sum(numbers) / 100 - 0.5) < 0.15
    assert all(0 <= number < 1 for number in numbers)


MIXTURE: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "plain": {"seed": 1},
    "cold": {"seed": 2, "temperature": 0.3},
    "few": {"seed": 3, "top_k": 3},
    "some": {"seed": 4, "top_k": 20, "top_p": 0.8},
    "nucleus": {"seed": 5, "top_p": 0.6},
    "likely": {"seed": 6, "min_p": 0.2},
    "one": {"seed": 7, "top_k": 1},
    "all": {"seed": 8, "top_k": VOCAB, "top_p": 0.95, "min_p": 0.01},
}


@pytest.mark.parametrize("names", [list(MIXTURE), list(MIXTURE)[::-1], ["few", "some"], ["plain", "cold"]])
def test_a_row_gets_the_same_whoever_its_neighbours_are(names: list[str]) -> None:
    together, single = BatchSampler(), BatchSampler()
    rows = tuple(SampledRow.start(params(**MIXTURE[name])) for name in names)
    others = [SampledRow.start(params(**MIXTURE[name])) for name in names]
    for step in range(20):
        values = mx.concatenate([logits(100 * step + n) for n in range(len(names))])
        together.expect(rows)
        picked = [int(token) for token in np.array(together(values))]
        alone = [int(np.array(single.one(row)(values[n : n + 1]))[0]) for n, row in enumerate(others)]
        assert picked == alone
        assert picked[0] == ranked(values[:1])[0] or names[0] != "greedy"


def test_rows_that_were_not_announced_are_refused() -> None:
    sampler = BatchSampler()
    sampler.expect((SampledRow.start(params()),))
    with pytest.raises(UnexpectedRows):
        sampler(mx.zeros((2, VOCAB)))
    with pytest.raises(UnexpectedRows):
        sampler(mx.zeros((1, VOCAB)))


@pytest.mark.parametrize("values", [mx.full((1, VOCAB), math.nan), mx.full((1, VOCAB), -math.inf)])
def test_a_broken_model_still_gives_a_token_of_the_vocabulary(values: mx.array) -> None:
    sampler = BatchSampler()
    row = SampledRow.start(params(top_k=5, top_p=0.5, min_p=0.1))
    assert 0 <= int(np.array(sampler.one(row)(values))[0]) < VOCAB


def test_requests_without_penalties_have_no_processors() -> None:
    assert make_processors(params(), (1, 2), VOCAB) == []


def test_penalties_follow_their_formulas_over_a_whole_completion() -> None:
    prompt, completion = (3, 4, 4), [5, 6, 5, 5]
    sampling = params(
        presence_penalty=0.5, frequency_penalty=0.25, repetition_penalty=2.0, logit_bias={7: 3.0, 36: -1.0}
    )
    processors = make_processors(sampling, prompt, VOCAB)
    for length in range(len(completion) + 1):
        values = logits(length)
        expected = row(values)
        expected[7] += 3.0
        expected[36] -= 1.0
        for token in set(prompt) | set(completion[:length]):
            expected[token] *= 2.0 if expected[token] < 0 else 0.5
        for token in set(completion[:length]):
            expected[token] -= 0.5 + 0.25 * completion[:length].count(token)
        result = values
        for processor in processors:
            result = processor(mx.array([*prompt, *completion[:length]]), result)
        assert np.allclose(row(result), expected, atol=1e-5)
