"""Sequences in, tokens out: puts each request into a lane, steps all lanes, and pauses and extracts requests.

It runs on the one thread that owns MLX.
"""

from __future__ import annotations

import time
from concurrent.futures import wait
from typing import Any

import mlx.core as mx
import numpy as np

from engine.batch_cache import joinable
from engine.cache.assembler import Assembler, Join
from engine.constraints import Allowed, Constraint, Grammars, ThinkingBudget
from engine.drafting import Drafters
from engine.heap import give_back
from engine.lane import Lane, Live
from engine.lanes import choose_lane
from engine.lookup import Lookup
from engine.sampling import SampledRow, UnexpectedRows, last_token, make_processors
from engine.shapes import rounded
from engine.step import Computed, Job, Sampled, StepResult
from engine.tuning import CPU, DeviceTuning
from engine.types import FinishReason

JOIN_SHARE = 0.3  # share of a step that decoding requests wait, once, for the cached part of a newcomer
JOIN_WAIT_S = 0.5  # how late aborts and new requests are seen, where nobody decodes
JOIN_TOKENS = 512  # tokens in the cache of a newcomer up to which they wait
LEAST_LOGPROB = -9999.0  # what the OpenAI API shows for "never": JSON has no infinity


class Runner:
    """Sequences in, tokens out. After an exception from step() only reset() may be called.

    lane_worth: tokens of padding that cost as much as another forward pass, as engine.lanes has it.
    drafts: whether tokens that are known beforehand are computed in one pass (see engine.drafting).
    longest: tokens of the longest sequence.
    lookup: whether what a sequence repeats is among them (see engine.lookup).
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
        longest: int = 2**62,
        lookup: bool = False,
    ) -> None:
        self._model = model
        self._network = rounded(model, tuning, longest)
        self._drafts = drafts
        self._lookup = lookup
        self._tuning = tuning
        self._grammars = grammars
        self._vocab_size = vocab_size
        self._max_batch = max_batch
        self._lane_worth = lane_worth
        self._eos = eos_token_ids
        self._shared = True  # whether the requests of a lane share its sampler
        self._aside = Lane(self._network, self._eos, 1)  # requests that share no batch come one at a time
        self._lanes: list[Lane] = []
        self._arriving: list[Live] = []  # requests whose caches are put together while others decode
        self._paused: list[Live] = []
        self._joiner = Assembler(tuning.breaks)
        self._step_s = 0.0
        self._stepped = 0.0  # when the last step ended

    def _lane_for(self, job: Job) -> Lane:
        """The lane of a new prompt: that of others which are being prefilled, or where it brings least
        padding.
        """
        if job.apart:
            return self._aside
        for lane in self._lanes:
            if lane.prompts:
                return lane
        loads = [lane.load for lane in self._lanes]
        place = choose_lane(loads, len(job.prompt), self._lane_worth, self._tuning.separate)
        if place == len(self._lanes):
            self._lanes.append(Lane(self._network, self._eos, self._max_batch))
        return self._lanes[place]

    def insert(
        self, job: Job, join: Join | None = None, done: int = 0, buffers: list[Any] | None = None
    ) -> Live:
        """Queues a new job for the next step.

        join: makes the caches of the first `done` tokens of its prompt, which must leave at least one to run.
            Other requests go on decoding meanwhile, because a long copy would be a gap in their streams.
        buffers: those caches, where they need not be made; the job writes into them.
        """
        live = self._begin(job)
        live.left, live.cached, live.cache = len(job.prompt) - done, done, buffers
        if join is None or buffers is not None:
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
        caches = joinable(self._model, live.cache, len(live.job.prompt), self._tuning)
        live.cache = None
        live.lane.enter(live, caches, self._shared)

    def _begin(self, job: Job) -> Live:
        """A new request with its lane and its processors; its grammar, with the sampler, comes last."""
        constraint = None if job.matcher is None else Constraint(job.id, job.matcher, self._grammars)
        processors = make_processors(job.sampling, job.prompt, self._vocab_size)
        if job.thinking is not None:
            processors.append(ThinkingBudget(job.thinking))
        row = SampledRow.start(job.sampling, constraint)
        lookup = Lookup(job.prompt) if self._lookup else None
        drafters = [one for one in (constraint if self._drafts else None, lookup) if one is not None]
        drafter = Drafters(drafters) if drafters else None
        lane = self._lane_for(job)
        return Live(job, lane, row, processors, len(job.prompt), drafter=drafter, lookup=lookup)

    def pause(self, live: Live) -> None:
        """Takes a prompt out in the middle of its prefill and keeps the work."""
        self._paused.append(live)
        if live in self._arriving:
            self._arriving.remove(live)
            return
        computed = live.lane.take_out(live)
        live.left = len(live.job.prompt) - len(computed.tokens)
        live.cache = computed.caches if computed.tokens else None
        mx.eval([layer.state for layer in live.cache or []])

    def extract(self, live: Live) -> Computed | None:
        """What has been computed of a request; None when that is nothing."""
        if live.uid not in live.lane.members:
            done = len(live.job.prompt) - live.left
            return Computed(list(live.job.prompt[:done]), live.cache) if live.cache else None
        computed = live.lane.extract(live)
        return computed if computed.tokens else None

    def remove(self, live: Live) -> None:
        """Forgets a request at any stage; one that has ended is ignored."""
        for some in (self._arriving, self._paused):
            if live in some:
                some.remove(live)
        if live.joining is not None:
            live.joining.cancel()
        live.lane.remove(live)

    def step(self, prefill_batch: int, prefill_step: int) -> StepResult:
        """One decode step for everything that decodes, and one prefill chunk. May raise anything."""
        sampled: list[Sampled] = []
        first: list[Sampled] = []
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
            started = [lane.members[prompt.uid] for prompt in prompts if prompt.end_of_prompt]
            first += [self._first_token(live) for live in started]
        self._stepped = time.perf_counter()
        self._step_s = self._stepped - began
        return StepResult(tuple(sampled), tuple(first), remaining, prefilled, self._step_s)

    def step_ahead(self) -> tuple[Sampled, ...]:
        """The next token of the sequences for which it needs no forward pass; () where there are none, or
        where others have waited for them for as long as the last step took. May raise anything.
        """
        lanes = [lane for lane in (self._aside, *self._lanes) if lane.members]
        ahead = [lane for lane in lanes if lane.ahead]
        others = len(ahead) < len(lanes) or bool(self._arriving)
        if others and time.perf_counter() > self._stepped + self._step_s:
            return ()
        return tuple(
            self._note_token(lane, response) for lane in ahead for response in lane.next(self._shared)[1]
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

    def _first_token(self, live: Live) -> Sampled:
        """The token that was picked for a sequence that has just begun to decode. The generator reports it
        when it has put the next step together, on a CPU when it has nearly computed it.
        """
        asked, constraint = live.job.sampling.logprobs, live.row.constraint
        assert live.row.drawn is not None, "it decodes"
        token = last_token(live.row.drawn, {})
        scores, live.row.first_logprobs = live.row.first_logprobs, None
        allowed = constraint.latest if constraint is not None else None
        logprobs = () if asked is None or scores is None else likeliest(scores, token, asked, allowed)
        return Sampled(live.job.id, token, None, logprobs)

    def _note_token(self, lane: Lane, response: Any) -> Sampled:
        live = lane.members[response.uid]
        told, live.made = live.made == 0, live.made + 1
        if live.lookup is not None:
            live.lookup.note(response.token)
        asked, constraint = live.job.sampling.logprobs, live.row.constraint
        logprobs: tuple[tuple[int, float], ...] = ()
        if asked is not None and not told:
            allowed = constraint.shown if constraint is not None else None
            logprobs = likeliest(response.logprobs, response.token, asked, allowed)
        finish = None if response.finish_reason is None else FinishReason(response.finish_reason)
        if finish is not None:
            lane.drop(live)
        unconstrained = finish is not None and constraint is not None and constraint.failed
        computed = None if finish is None else Computed(list(response.all_tokens), response.prompt_cache)
        return Sampled(live.job.id, response.token, finish, logprobs, unconstrained, computed, told)

    def reset(self) -> None:
        """Drops every request with its caches and starts over with a new generator."""
        for live in (*self._arriving, *self._paused):
            if live.joining is not None:
                live.joining.cancel()
        self._arriving.clear()
        self._paused.clear()
        for lane in reversed((self._aside, *self._lanes)):  # each restores the limits that it found
            lane.generator.close()
        self._aside = Lane(self._network, self._eos, 1)
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
