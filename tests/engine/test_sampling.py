"""What each cut keeps, against its definition; processors against theirs."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from engine.sampling import Sampler, greedy, keep_min_p, keep_top_k, keep_top_p, make_processors, make_sampler
from engine.types import SamplingParams

VOCAB = 37


def row(values: mx.array) -> list[float]:
    return [float(value) for value in np.array(values)[0]]


def draw(sampler: Sampler, values: mx.array) -> int:
    return int(np.array(sampler(values))[0])


def logits(seed: int) -> mx.array:
    return mx.array(np.random.default_rng(seed).normal(0, 2, (1, VOCAB)).astype(np.float32))


def kept(values: mx.array) -> set[int]:
    return {i for i, value in enumerate(row(values)) if value > -math.inf}


def ranked(values: mx.array) -> list[int]:
    by_token = row(values)
    return sorted(range(VOCAB), key=lambda i: -by_token[i])


def params(**sampling: Any) -> SamplingParams:
    return SamplingParams(**{"max_tokens": 1, "temperature": 1.0, **sampling})


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("k", [1, 2, 10, VOCAB - 1])
def test_top_k_keeps_the_k_likeliest(seed: int, k: int) -> None:
    values = logits(seed)
    assert kept(keep_top_k(values, k)) == set(ranked(values)[:k])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("p", [1e-9, 0.1, 0.5, 0.9, 0.999])
def test_top_p_keeps_the_smallest_set_that_reaches_p(seed: int, p: float) -> None:
    values = logits(seed)
    probabilities = row(mx.softmax(values, axis=-1))
    expected: set[int] = set()
    for token in ranked(values):
        expected.add(token)
        if sum(probabilities[i] for i in expected) >= p:
            break
    assert kept(keep_top_p(values, p)) == expected


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("p", [0.01, 0.3, 1.0])
def test_min_p_keeps_what_is_likely_enough_beside_the_likeliest(seed: int, p: float) -> None:
    values = logits(seed)
    probabilities = row(mx.softmax(values, axis=-1))
    assert kept(keep_min_p(values, p)) == {
        i for i, q in enumerate(probabilities) if q >= p * max(probabilities)
    }


def test_temperature_scales_before_the_cuts() -> None:
    """At a low temperature top_p 0.9 keeps one token of a distribution that at 1.0 keeps several."""
    values = mx.log(mx.array([[0.4, 0.35, 0.25] + [1e-9] * 4]))
    cold = make_sampler(params(temperature=0.02, top_p=0.9, seed=1))
    assert {draw(cold, values) for _ in range(40)} == {0}
    warm = make_sampler(params(temperature=1.0, top_p=0.9, seed=1))
    assert {draw(warm, values) for _ in range(80)} == {0, 1, 2}


def test_samples_follow_the_distribution() -> None:
    values = mx.log(mx.array([[0.5, 0.3, 0.2]]))
    sampler = make_sampler(params(seed=11))
    counts = np.bincount([draw(sampler, values) for _ in range(2000)], minlength=3) / 2000
    assert np.abs(counts - [0.5, 0.3, 0.2]).max() < 0.05  # five standard deviations


def test_neighbouring_seeds_are_unrelated() -> None:
    values = mx.zeros((1, 1000))
    draws = []
    for seed in range(20):
        sampler = make_sampler(params(seed=seed))
        draws += [draw(sampler, values) for _ in range(5)]
    assert len(set(draws)) > 85


@pytest.mark.parametrize("sampling", [{"temperature": 0.0}, {"temperature": 1e-6}, {"top_k": 1}])
def test_greedy_requests_share_one_sampler(sampling: dict[str, Any]) -> None:
    assert make_sampler(params(**sampling)) is greedy


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
