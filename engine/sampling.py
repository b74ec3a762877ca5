"""Samplers and logits processors of one request, as BatchGenerator takes them at insert.

They are called inside the model step, where an exception would cost the whole batch: everything they use
was checked by engine.validate, and nothing in them depends on what other requests do. Random numbers come
from a key per request and token, so that a seed gives the same tokens alone and in any batch.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

import mlx.core as mx

from engine.types import SamplingParams

Sampler = Callable[[mx.array], mx.array]  # logprobs [rows, vocab] -> token ids [rows]
Processor = Callable[[mx.array, mx.array], mx.array]  # tokens so far [n], logits [1, vocab] -> logits

GREEDY_BELOW = 1e-5  # a temperature under this divides logits into infinities; it means greedy
MASK64 = 2**64 - 1


def greedy(logprobs: mx.array) -> mx.array:
    """The likeliest token. One object for all: a batch that shares its sampler is sampled in one call."""
    return mx.argmax(logprobs, axis=-1)


def make_sampler(sampling: SamplingParams) -> Sampler:
    """How this request picks its tokens. Each call advances its own random sequence by one."""
    if sampling.temperature < GREEDY_BELOW or sampling.top_k == 1:
        return greedy
    return SeededSampler(sampling)


class SeededSampler:
    """Temperature first, then top_k, top_p and min_p cut the scaled distribution (vLLM's and HF's order)."""

    def __init__(self, sampling: SamplingParams) -> None:
        seed = secrets.randbits(64) if sampling.seed is None else sampling.seed
        self._counter = mix64(seed & MASK64)
        self._scale = 1.0 / sampling.temperature
        self._top_k = sampling.top_k
        self._top_p = sampling.top_p
        self._min_p = sampling.min_p

    def __call__(self, logprobs: mx.array) -> mx.array:
        key = mx.random.key(self._counter)
        self._counter = (self._counter + 1) & MASK64
        logits = logprobs.astype(mx.float32) * self._scale
        if 0 < self._top_k < logits.shape[-1]:
            logits = keep_top_k(logits, self._top_k)
        if self._top_p < 1.0:
            logits = keep_top_p(logits, self._top_p)
        if self._min_p > 0.0:
            logits = keep_min_p(logits, self._min_p)
        return mx.random.categorical(logits, key=key)


def mix64(value: int) -> int:
    """SplitMix64's finaliser: neighbouring seeds become unrelated counters."""
    value = (value + 0x9E3779B97F4A7C15) & MASK64
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK64
    return value ^ (value >> 31)


def keep_top_k(logits: mx.array, k: int) -> mx.array:
    """The k largest stay (more when they tie with the k-th), the rest become -inf."""
    kth = mx.min(mx.topk(logits, k, axis=-1), axis=-1, keepdims=True)
    return mx.where(logits < kth, -mx.inf, logits)


def keep_top_p(logits: mx.array, p: float) -> mx.array:
    """The smallest set of likeliest tokens whose probability reaches p stays; always one at least."""
    ranked = mx.sort(logits, axis=-1)
    mass = mx.cumsum(mx.softmax(ranked, axis=-1), axis=-1, reverse=True, inclusive=False)
    drop = mx.minimum(mx.sum(mass >= p, axis=-1, keepdims=True), logits.shape[-1] - 1)
    return mx.where(logits < mx.take_along_axis(ranked, drop, axis=-1), -mx.inf, logits)


def keep_min_p(logits: mx.array, p: float) -> mx.array:
    """Tokens at least p times as likely as the likeliest stay."""
    floor = mx.max(logits, axis=-1, keepdims=True) + mx.log(mx.array(p))
    return mx.where(logits < floor, -mx.inf, logits)


def make_processors(sampling: SamplingParams, prompt: tuple[int, ...], vocab_size: int) -> list[Processor]:
    """Bias, then penalties; empty for most requests, which then cost nothing per step."""
    processors: list[Processor] = []
    if sampling.logit_bias:
        processors.append(Bias(sampling.logit_bias, vocab_size))
    if sampling.repetition_penalty != 1.0 or sampling.presence_penalty or sampling.frequency_penalty:
        processors.append(Penalties(sampling, prompt, vocab_size))
    return processors


class Bias:
    """Adds a constant per token id."""

    def __init__(self, bias: dict[int, float], vocab_size: int) -> None:
        ids = mx.array(list(bias), dtype=mx.int32)
        values = mx.array(list(bias.values()), dtype=mx.float32)
        self._row = mx.zeros((1, vocab_size), dtype=mx.float32).at[:, ids].add(values)

    def __call__(self, tokens: mx.array, logits: mx.array) -> mx.array:
        return logits + self._row.astype(logits.dtype)


class Penalties:
    """Presence and frequency over the completion (OpenAI), repetition over prompt and completion (CTRL).

    Counts are kept from call to call: the first call sees the prompt alone, each later one token more.
    """

    def __init__(self, sampling: SamplingParams, prompt: tuple[int, ...], vocab_size: int) -> None:
        self._presence = sampling.presence_penalty
        self._frequency = sampling.frequency_penalty
        self._repetition = sampling.repetition_penalty
        self._counts = mx.zeros((1, vocab_size), dtype=mx.float32)
        ids = mx.array(sorted(set(prompt)), dtype=mx.int32)
        self._in_prompt = mx.zeros((1, vocab_size), dtype=mx.bool_).at[:, ids].maximum(mx.array(True))
        self._started = False

    def __call__(self, tokens: mx.array, logits: mx.array) -> mx.array:
        if self._started:
            self._counts = self._counts.at[:, tokens[-1:]].add(1.0)
        self._started = True
        produced = self._counts > 0
        if self._repetition != 1.0:
            penalised = mx.where(logits < 0, logits * self._repetition, logits / self._repetition)
            logits = mx.where(mx.logical_or(produced, self._in_prompt), penalised, logits)
        penalty = self._presence * produced + self._frequency * self._counts
        return logits - penalty.astype(logits.dtype)
