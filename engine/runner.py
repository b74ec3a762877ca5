"""The adapter over mlx_lm's BatchGenerator, through its public methods only (tests/engine/test_contract.py).

It runs on the one thread that owns MLX.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, wait
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.generate import BatchGenerator, StopSequences

from engine.batch_cache import joinable
from engine.cache.assembler import Assembler, Join
from engine.cache.streaming import Joined
from engine.constraints import Allowed, Constraint, Grammars, ThinkingBudget
from engine.drafting import DraftedNetwork, Drafter, Rows
from engine.heap import give_back
from engine.lanes import LaneLoad, choose_lane
from engine.sampling import BatchSampler, Processor, SampledRow, UnexpectedRows, make_processors
from engine.step import Computed, Job, Sampled, StepResult
from engine.tuning import CPU, DeviceTuning
from engine.types import FinishReason

JOIN_SHARE = 0.3  # share of a step that decoding requests wait, once, for the cached part of a newcomer
JOIN_WAIT_S = 0.5  # how late aborts and new requests are seen, where nobody decodes
JOIN_TOKENS = 512  # tokens in the cache of a newcomer up to which they wait
LEAST_LOGPROB = -9999.0  # what the OpenAI API shows for "never": JSON has no infinity


@dataclass(slots=True, eq=False)
class Live:
    """A request that was inserted at least once.

    row: how it is sampled.
    drafter: says what comes next, where that can be known.
    left: prompt tokens not yet in its cache; the last of them starts the decoding.
    cache: what a pause set aside, or what it comes with.
    joining: set while that is put together.
    cached: prompt tokens that are or will be in what it comes with.
    late: the disk was too slow for more.
    made: tokens sampled.
    """

    job: Job
    lane: Lane
    row: SampledRow
    processors: list[Processor]
    left: int
    uid: int = -1
    cache: list[Any] | None = None
    made: int = 0
    joining: Future[Joined] | None = None
    cached: int = 0
    late: bool = False
    drafter: Drafter | None = None

    @property
    def tokens(self) -> int:
        """The tokens in its cache, once its prompt is there."""
        return len(self.job.prompt) + self.made


class Lane:
    """One generator and its sequences: prompts that are prefilled, and rows that decode."""

    def __init__(self, model: Any, max_batch: int) -> None:
        self.sampler = BatchSampler()
        self.network = DraftedNetwork(model)
        self.generator = BatchGenerator(
            self.network, sampler=self.sampler, completion_batch_size=max_batch, prefill_batch_size=1
        )
        self.members: dict[int, Live] = {}  # by the generator's number
        self.prompts: list[Live] = []  # in the generator and not yet decoding, in its order
        self.decoding: list[Live] = []  # the rows of its batch, in its order

    def drop(self, live: Live) -> None:
        """Forgets a sequence that has left the generator; others are ignored."""
        self.members.pop(live.uid, None)
        for rows in (self.prompts, self.decoding):
            if live in rows:
                rows.remove(live)

    def next(self, shared: bool) -> tuple[list[Any], list[Any]]:
        """What the generator reports of its next step.

        Raises UnexpectedRows where a shared sampler expected other rows than it sampled.
        """
        decoding = list(self.decoding)
        starting = [live for live in self.prompts if live.left == 1]  # this step runs their last prompt token
        batches = [drafted(rows) for rows in (decoding, starting) if rows]
        self.sampler.expect(*(tuple(row for row, _ in rows) for rows in batches))
        self.network.expect(*(batches if shared else ()))
        prompts, generated = self.generator.next()
        decoded = [self.members[response.uid] for response in generated]
        started = [self.members[prompt.uid] for prompt in prompts if prompt.end_of_prompt]
        if shared and (decoded, started) != (decoding, starting):
            told = [[live.job.id for live in rows] for rows in (decoded, started, decoding, starting)]
            raise UnexpectedRows("expected tokens of {2} and {3}, sampled those of {0} and {1}".format(*told))
        if started:
            self.sampler.settle()
        self.prompts = [live for live in self.prompts if live not in started]
        self.decoding = [*decoded, *started]
        return prompts, generated

    @property
    def ahead(self) -> bool:
        """Whether the next token of each of its sequences needs no forward pass."""
        return not self.prompts and self.network.knows(drafted(self.decoding))


def drafted(rows: list[Live]) -> Rows:
    return tuple((live.row, live.drafter) for live in rows)


class Runner:
    """Sequences in, tokens out. After an exception from step() only reset() may be called.

    All requests of a lane share one sampler, which picks for the whole batch at once and has to know the
    order of the rows. That order follows from what the generator reports, and every step checks it before a
    token is given out.

    lane_worth: tokens of padding that cost as much as another forward pass, as engine.lanes has it.
    drafts: whether tokens that are known beforehand are computed in one pass (see engine.drafting).
    """

    def __init__(
        self,
        model: Any,
        eos_token_ids: tuple[int, ...],
        vocab_size: int,
        max_batch: int,
        grammars: Grammars,
        lane_worth: int,
        tuning: DeviceTuning = CPU,
        drafts: bool = True,
    ) -> None:
        self._model = model
        self._drafts = drafts
        self._tuning = tuning
        self._grammars = grammars
        self._vocab_size = vocab_size
        self._max_batch = max_batch
        self._lane_worth = lane_worth
        self._eos = StopSequences([[token] for token in eos_token_ids])
        self._no_stop = StopSequences()
        self._shared = True
        self._aside = Lane(model, 1)  # for requests that share no batch, which come one at a time
        self._lanes: list[Lane] = []
        self._arriving: list[Live] = []  # requests whose caches are put together while others decode
        self._paused: list[Live] = []
        self._joiner = Assembler(tuning.breaks)
        self._step_s = 0.0

    def _lane_for(self, job: Job) -> Lane:
        """The lane of a new prompt: that of others which are being prefilled, or where it brings least
        padding.
        """
        if job.apart:
            return self._aside
        for lane in self._lanes:
            if lane.prompts:
                return lane
        companies = [self._company(lane) for lane in self._lanes]
        place = choose_lane(companies, len(job.prompt), self._lane_worth)
        if place == len(self._lanes):
            self._lanes.append(Lane(self._model, self._max_batch))
        return self._lanes[place]

    def _company(self, lane: Lane) -> LaneLoad:
        longest = max((live.tokens for live in lane.members.values()), default=0)
        return LaneLoad(len(lane.members), longest)

    def insert(self, job: Job, join: Join | None = None, done: int = 0) -> Live:
        """Queues a new job for the next step.

        join: makes the caches of the first `done` tokens of its prompt, which must leave at least one to run.
            Other requests go on decoding meanwhile, because a long copy would be a gap in their streams.
        """
        live = self._begin(job)
        live.left, live.cached = len(job.prompt) - done, done
        if join is None:
            self._enter(live)
            return live
        live.joining = self._joiner.begin(join)
        if self.decoding and done <= JOIN_TOKENS:
            self._joiner.breaks.hurry(True)
            wait([live.joining], JOIN_SHARE * self._step_s)
        self._arriving.append(live)
        return live

    def resume(self, live: Live) -> None:
        """Continues a paused request where it stopped."""
        self._paused.remove(live)
        if live.joining is None:
            self._enter(live)
        else:
            self._arriving.append(live)

    def _let_in(self) -> None:
        """Lets the requests in whose caches have been put together; where nobody decodes, waits for them a
        while.
        """
        self._joiner.breaks.hurry(not self.decoding)
        while self._arriving:
            live = self._arriving[0]
            assert live.joining is not None, "it arrives"
            if not self.decoding:
                wait([live.joining], JOIN_WAIT_S)
            if not live.joining.done():
                return
            joined, live.joining = live.joining.result(), None
            live.cache, live.cached, live.late = joined.caches or None, joined.length, joined.late
            live.left = len(live.job.prompt) - joined.length
            self._enter(self._arriving.pop(0))

    @property
    def decoding(self) -> bool:
        """Whether any request decodes, and so waits for the next step."""
        return any(lane.decoding for lane in (self._aside, *self._lanes))

    def _enter(self, live: Live) -> None:
        job = live.job
        done = len(job.prompt) - live.left
        places = [done, *(mark for mark in job.marks if done < mark < len(job.prompt)), len(job.prompt)]
        lane = live.lane
        (live.uid,) = lane.generator.insert_segments(
            [[list(job.prompt[start:end]) for start, end in pairwise(places)]],
            max_tokens=[job.max_tokens],
            caches=[joinable(self._model, live.cache, len(job.prompt), self._tuning.stagger)],
            all_tokens=[list(job.prompt[:done])],
            samplers=[lane.sampler if self._shared else lane.sampler.one(live.row)],
            logits_processors=[live.processors],
            stop_sequences=[self._no_stop if job.sampling.ignore_eos else self._eos],
        )
        live.cache = None
        lane.members[live.uid] = live
        lane.prompts.append(live)

    def _begin(self, job: Job) -> Live:
        """A new request with its lane and its processors; its grammar, with the sampler, comes last."""
        constraint = None if job.matcher is None else Constraint(job.id, job.matcher, self._grammars)
        processors = make_processors(job.sampling, job.prompt, self._vocab_size)
        if job.thinking is not None:
            processors.append(ThinkingBudget(job.thinking))
        row = SampledRow.start(job.sampling, constraint)
        drafter = constraint if self._drafts else None
        return Live(job, self._lane_for(job), row, processors, len(job.prompt), drafter=drafter)

    def pause(self, live: Live) -> None:
        """Takes a prompt out in the middle of its prefill and keeps the work."""
        self._paused.append(live)
        if live in self._arriving:
            self._arriving.remove(live)
            return
        cache, tokens = live.lane.generator.remove([live.uid], return_prompt_caches=True)[live.uid]
        live.lane.drop(live)
        live.left = len(live.job.prompt) - len(tokens)
        live.cache = cache if tokens else None
        mx.eval([layer.state for layer in live.cache or []])

    def extract(self, live: Live) -> Computed | None:
        """What has been computed of a request; None when that is nothing."""
        if live.uid not in live.lane.members:
            done = len(live.job.prompt) - live.left
            return Computed(list(live.job.prompt[:done]), live.cache) if live.cache else None
        caches, tokens = live.lane.generator.extract_cache([live.uid])[live.uid]
        return Computed(list(tokens), caches) if tokens else None

    def remove(self, live: Live) -> None:
        """Forgets a request at any stage; one that has ended is ignored."""
        for some in (self._arriving, self._paused):
            if live in some:
                some.remove(live)
        if live.joining is not None:
            live.joining.cancel()
        if live.uid in live.lane.members:
            live.lane.generator.remove([live.uid])
            live.lane.drop(live)

    def step(self, prefill_batch: int, prefill_step: int) -> StepResult:
        """One decode step for everything that decodes, and one prefill chunk. May raise anything."""
        sampled: list[Sampled] = []
        remaining: dict[str, int] = {}
        prefilled = 0
        self._let_in()
        began = time.perf_counter()
        # Lanes that only decode go first, so that the device has their work before the chunk.
        for lane in sorted((self._aside, *self._lanes), key=lambda lane: bool(lane.prompts)):
            if not lane.members:
                continue
            lane.generator.prefill_batch_size = prefill_batch
            lane.generator.prefill_step_size = prefill_step
            try:
                prompts, generated = lane.next(self._shared)
            except UnexpectedRows:
                self._shared = False  # from the next generators on, every request has a sampler of its own
                raise
            more, computed = self._note_prompts(lane, prompts)
            remaining |= more
            prefilled += computed
            sampled += [self._note_token(lane, response) for response in generated]
        self._step_s = time.perf_counter() - began
        return StepResult(tuple(sampled), remaining, prefilled, self._step_s)

    def step_ahead(self) -> tuple[Sampled, ...]:
        """The next token of the sequences for which it needs no forward pass; () where there are none. May
        raise anything.
        """
        return tuple(
            self._note_token(lane, response)
            for lane in (self._aside, *self._lanes)
            if lane.ahead
            for response in lane.next(self._shared)[1]
        )

    def _note_prompts(self, lane: Lane, prompts: list[Any]) -> tuple[dict[str, int], int]:
        """id -> tokens left, for each prompt; and the token positions computed, padding included."""
        remaining: dict[str, int] = {}
        sizes: list[int] = []
        for prompt in prompts:
            live = lane.members[prompt.uid]
            done, total = prompt.progress
            left = 0 if prompt.end_of_prompt else total - done
            sizes += [live.left - left] if left else []
            remaining[live.job.id] = live.left = left
        return remaining, max(sizes, default=0) * len(sizes)

    def _note_token(self, lane: Lane, response: Any) -> Sampled:
        live = lane.members[response.uid]
        live.made += 1
        asked, constraint = live.job.sampling.logprobs, live.row.constraint
        allowed = constraint.shown if constraint is not None else None
        logprobs = () if asked is None else likeliest(response.logprobs, response.token, asked, allowed)
        finish = None if response.finish_reason is None else FinishReason(response.finish_reason)
        if finish is not None:
            lane.drop(live)
        unconstrained = finish is not None and constraint is not None and constraint.failed
        computed = None if finish is None else Computed(list(response.all_tokens), response.prompt_cache)
        return Sampled(live.job.id, response.token, finish, logprobs, unconstrained, computed)

    def reset(self) -> None:
        """Drops every request with its caches and starts over with a new generator."""
        for live in (*self._arriving, *self._paused):
            if live.joining is not None:
                live.joining.cancel()
        self._arriving.clear()
        self._paused.clear()
        for lane in reversed((self._aside, *self._lanes)):  # each restores the limits that it found
            lane.generator.close()
        self._aside = Lane(self._model, 1)
        self._lanes = []
        mx.clear_cache()

    def cache_bytes(self) -> int:
        """Bytes of the KV caches of live requests, paused ones included."""
        paused = sum(layer.nbytes for live in self._paused for layer in live.cache or [])
        lanes = (self._aside, *self._lanes)
        return sum(int(lane.generator.prompt_cache_nbytes) for lane in lanes) + int(paused)

    def memory_bytes(self) -> int:
        """Bytes of all MLX arrays alive: weights, caches and what a step needs."""
        return int(mx.get_active_memory())

    def release(self) -> None:
        """Gives the memory that is held for future arrays back to the machine."""
        mx.clear_cache()
        give_back()

    def spare_bytes(self) -> int:
        """Bytes that MLX holds for future arrays."""
        return int(mx.get_cache_memory())


def likeliest(
    logprobs: mx.array, chosen: int, count: int, allowed: Allowed | None = None
) -> tuple[tuple[int, float], ...]:
    """(token, log probability) of the chosen token, then of the `count` likeliest, best first; for one row.

    allowed: the tokens among which one was picked, one boolean per token; None is all of them.
    """
    row = np.array(logprobs.astype(mx.float32))
    if allowed is not None:
        row = np.where(allowed, row, -np.inf)
        row = row - np.logaddexp.reduce(row)
    top = np.argpartition(-row, count)[:count] if count < len(row) else np.arange(len(row))
    top = top[np.lexsort((top, -row[top]))]
    return tuple((int(token), max(float(row[token]), LEAST_LOGPROB)) for token in (chosen, *top))
