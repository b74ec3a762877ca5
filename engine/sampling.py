"""Picks tokens: one sampler for the whole batch, with each row's own parameters and random numbers.

BatchGenerator calls samplers and logits processors inside the model step, where an exception would cost the
whole batch: everything used here was checked by engine.validate. A row's token depends only on its own
logits, parameters and random number, so that a seed gives the same tokens alone and in any batch.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from engine.constraints import Constraint
from engine.types import SamplingParams

Sampler = Callable[[mx.array], mx.array]  # logprobs [rows, vocab] -> token ids [rows]
Processor = Callable[[mx.array, mx.array], mx.array]  # tokens so far [n], logits [1, vocab] -> logits

GREEDY_BELOW = 1e-5  # a lower temperature divides logits into infinities, and counts as greedy
LARGEST_UNIFORM = 1.0 - 2.0**-20  # times a float32 total it is below that total, however it rounds
MASK64 = 2**64 - 1


class UnexpectedRows(RuntimeError):
    """The generator sampled other rows than expected: no token of this step may be used."""


@dataclass(slots=True, eq=False)
class SampledRow:
    """One request's parameters, its sequence of random numbers, and its grammar if it has one.

    drawn: the place of its last token among the tokens drawn.
    first_logprobs: log probabilities [vocab] that its first token was drawn from, where they are asked for.
    """

    sampling: SamplingParams
    state: int
    constraint: Constraint | None = None
    drawn: tuple[mx.array, int] | None = None
    first_logprobs: mx.array | None = None

    @classmethod
    def start(cls, sampling: SamplingParams, constraint: Constraint | None = None) -> SampledRow:
        seed = secrets.randbits(64) if sampling.seed is None else sampling.seed
        return cls(sampling, mix64(seed & MASK64), constraint)

    @property
    def greedy(self) -> bool:
        return self.sampling.temperature < GREEDY_BELOW or self.sampling.top_k == 1

    def next(self) -> float:
        """A uniform number in [0, 1) with 24 bits (SplitMix64)."""
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK64
        return min((mix64(self.state) >> 40) * 2.0**-24, LARGEST_UNIFORM)


def mix64(value: int) -> int:
    """The finaliser of SplitMix64: neighbouring states become unrelated numbers."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK64
    return value ^ (value >> 31)


@dataclass(frozen=True, slots=True)
class Table:
    """The parameters of a batch's rows as columns [rows, 1]; None where no row uses them.

    candidates: how many of the largest logits top_k and top_p have to look at, at most.
    """

    greedy: mx.array | None
    scale: mx.array
    top_k: mx.array | None
    top_p: mx.array | None
    min_p: mx.array | None
    candidates: int

    @classmethod
    def of(cls, rows: Sequence[SampledRow], vocab: int) -> Table:
        every = [row.sampling for row in rows]
        ks = [vocab if row.greedy or not row.sampling.top_k else row.sampling.top_k for row in rows]
        nucleus = [k for k, sampling in zip(ks, every, strict=True) if sampling.top_p < 1]
        return cls(
            greedy=mx.array([row.greedy for row in rows]) if any(row.greedy for row in rows) else None,
            scale=column(1.0 if row.greedy else 1.0 / row.sampling.temperature for row in rows),
            top_k=column(ks, mx.int32) if min(ks) < vocab else None,
            top_p=column(s.top_p for s in every) if nucleus else None,
            min_p=column(s.min_p for s in every) if any(s.min_p for s in every) else None,
            candidates=max([k for k in ks if k < vocab] + nucleus, default=0),
        )


def column(values: Iterable[float], dtype: mx.Dtype = mx.float32) -> mx.array:
    return mx.array(list(values), dtype=dtype)[:, None]


class BatchSampler:
    """Picks a token for every row of a batch at once.

    As a sampler that all requests share it is called once per batch, whose rows must be announced by
    expect(). one(row) returns a sampler for a single request.
    """

    def __init__(self) -> None:
        self._expected: deque[tuple[SampledRow, ...]] = deque()
        self._rows: tuple[SampledRow, ...] = ()
        self._table: Table | None = None
        self._latest: mx.array | None = None

    def expect(self, *batches: tuple[SampledRow, ...]) -> None:
        """Announces the rows of each of the coming calls, in order."""
        self._expected = deque(batches)

    def one(self, row: SampledRow) -> Sampler:
        """A sampler for this request alone."""
        return lambda logprobs: self.draw((row,), logprobs)

    def settle(self) -> None:
        """Waits for the tokens picked last, and so for everything that the device had to do for them."""
        if self._latest is not None:
            mx.eval(self._latest)

    def __call__(self, logprobs: mx.array) -> mx.array:
        rows = self._expected.popleft() if self._expected else ()
        if len(rows) != logprobs.shape[0]:
            raise UnexpectedRows(f"expected {len(rows)} rows to sample, got {logprobs.shape[0]}")
        return self.draw(rows, logprobs)

    def draw(self, rows: tuple[SampledRow, ...], logprobs: mx.array) -> mx.array:
        """Token ids [rows] for logprobs [rows, vocab]."""
        bound = any(row.constraint is not None for row in rows)
        tokens = self._latest = self._pick(rows, allowed(rows, logprobs) if bound else logprobs)
        for place, row in enumerate(rows):
            if row.drawn is None and row.sampling.logprobs is not None:
                row.first_logprobs = logprobs[place]
            row.drawn = (tokens, place)
        return tokens

    def _pick(self, rows: tuple[SampledRow, ...], logprobs: mx.array) -> mx.array:
        if all(row.greedy for row in rows):
            return mx.argmax(logprobs, axis=-1)
        if self._table is None or self._rows != rows:
            self._rows, self._table = rows, Table.of(rows, logprobs.shape[-1])
        uniform = column(0.0 if row.greedy else row.next() for row in rows)
        tokens = pick(logprobs, self._table, uniform)
        if self._table.greedy is None:
            return tokens
        return mx.where(self._table.greedy, mx.argmax(logprobs, axis=-1), tokens)


def allowed(rows: tuple[SampledRow, ...], logprobs: mx.array) -> mx.array:
    """Gives what the rows' grammars forbid minus infinity. The forward pass is started before the masks are
    made, so that the device does not wait for them.
    """
    mx.async_eval(logprobs)  # type: ignore[no-untyped-call]
    masks = np.ones(logprobs.shape, dtype=np.bool_)
    read: dict[int, np.ndarray[Any, Any]] = {}
    for place, row in enumerate(rows):
        if row.constraint is not None:
            last = last_token(row.drawn, read) if row.drawn is not None else None
            mask = row.constraint.allow(last, masks.shape[-1])
            if mask is not None:
                masks[place] = mask
    return mx.where(mx.array(masks), logprobs, -mx.inf)


def last_token(drawn: tuple[mx.array, int], read: dict[int, np.ndarray[Any, Any]]) -> int:
    """The token at that place. read: arrays as numpy has them; tokens[place] itself would be an operation of
    MLX, behind the forward pass.
    """
    tokens, place = drawn
    if id(tokens) not in read:
        read[id(tokens)] = np.array(tokens)
    return int(read[id(tokens)][place])


def pick(logprobs: mx.array, table: Table, uniform: mx.array) -> mx.array:
    """Inverts each row's cumulative distribution, in order of token ids, at its uniform number [rows, 1]."""
    logits = logprobs.astype(mx.float32) * table.scale
    top = mx.max(logits, axis=-1, keepdims=True)
    floor = cut_off(logits, top, table)
    weights = mx.exp(logits - top)
    if floor is not None:
        weights = mx.where(logits < floor, 0.0, weights)
    reached = mx.cumsum(weights, axis=-1)
    tokens = mx.sum(reached <= uniform * reached[:, -1:], axis=-1)
    return mx.minimum(tokens, logits.shape[-1] - 1).astype(mx.uint32)


def cut_off(logits: mx.array, top: mx.array, table: Table) -> mx.array | None:
    """The smallest logit [rows, 1] that each row keeps: by top_k, then top_p of what is left, then min_p.

    Temperature has been applied already (the order of vLLM and HF). At least the likeliest token stays.
    """
    floor: mx.array | None = None
    if table.candidates:
        vocab = logits.shape[-1]
        whole = table.candidates >= vocab
        ranked = mx.sort(logits if whole else mx.topk(logits, table.candidates, axis=-1), axis=-1)
        if table.top_k is not None:
            kth = mx.take_along_axis(ranked, mx.maximum(ranked.shape[-1] - table.top_k, 0), axis=-1)
            floor = mx.where(table.top_k < vocab, kth, -mx.inf)
        if table.top_p is not None:
            nucleus = top_p_floor(ranked, floor, table.top_p)
            floor = nucleus if floor is None else mx.maximum(floor, nucleus)
    if table.min_p is not None:
        likely = top + mx.log(table.min_p)
        floor = likely if floor is None else mx.maximum(floor, likely)
    return floor


def top_p_floor(ranked: mx.array, floor: mx.array | None, p: mx.array) -> mx.array:
    """The smallest of the likeliest logits whose probability reaches p. ranked: ascending, per row."""
    left = ranked if floor is None else mx.where(ranked < floor, -mx.inf, ranked)
    above = mx.cumsum(mx.softmax(left, axis=-1), axis=-1, reverse=True, inclusive=False)
    drop = mx.minimum(mx.sum(above >= p, axis=-1, keepdims=True), ranked.shape[-1] - 1)
    return mx.where(p < 1.0, mx.take_along_axis(ranked, drop, axis=-1), -mx.inf)


def make_processors(sampling: SamplingParams, prompt: tuple[int, ...], vocab_size: int) -> list[Processor]:
    """Bias, then penalties; none for most requests, which then cost nothing per step."""
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
    """Presence and frequency penalties over the completion (OpenAI), repetition penalty over prompt and
    completion (CTRL).

    Counts are kept from call to call: the first call sees the prompt alone, each later one a token more.
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
