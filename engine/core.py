"""The engine without its process: requests in, one step at a time, outputs out.

Scheduler (who), Runner (tokens) and Detokenizer (text) meet here and nowhere else. It runs on the one thread
that owns MLX.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

import msgspec

from engine.cache.manager import LEAST_AHEAD, CacheManager
from engine.cache.prefix import Prefix
from engine.config import EngineConfig
from engine.constraints import Grammars
from engine.counts import Counts
from engine.detokenize import Detokenizers
from engine.errors import DeadlineExceeded, EngineError, EngineFault, InvalidRequest, to_failed
from engine.footprint import Footprint
from engine.holds import Holds
from engine.memory import resident_bytes
from engine.model import LoadedModel
from engine.outbox import Event
from engine.runner import Runner
from engine.scheduler import Limits, Scheduler, Stage
from engine.sequence import Sequence
from engine.step import Computed, Sampled
from engine.types import Began, Failed, Finished, FinishReason, GenerateRequest, WorkerStats
from engine.validate import check_request

GROWTH_STEP = 64  # tokens between two reports of a sequence's length to the scheduler


class EngineCore:
    """Serves one loaded model. drafts: as in Runner."""

    def __init__(self, model: LoadedModel, config: EngineConfig, drafts: bool = True) -> None:
        self.info = model.info
        self._eos = frozenset(model.info.eos_token_ids)
        self._detokenizers = Detokenizers(model.tokenizer)
        eos, vocab_size = model.info.eos_token_ids, model.info.vocab_size
        self._grammars = Grammars(model.tokenizer, vocab_size, eos)
        tuning, longest = model.tuning, model.info.context_length
        places = config.max_batch + 1  # one more than the scheduler gives away: a health probe waits for none
        network, worth, lookup = model.network, model.lane_worth, drafts and config.prompt_lookup
        self._runner = Runner(
            network, eos, vocab_size, places, self._grammars, worth, tuning, drafts, longest, lookup
        )
        self.release = self._runner.release  # gives back memory that only work needs
        self._scheduler = Scheduler(
            Limits(
                max_batch=config.max_batch,
                queue_limit=config.queue_limit,
                prefill_step=config.prefill_step or tuning.prefill_step,
                prefill_step_min=config.prefill_step_min,
                prefill_share=config.prefill_share,
                kv_tokens=model.info.kv_tokens,
                tuning=tuning,
            )
        )
        self.reuse = CacheManager(model, config)
        self.info = msgspec.structs.replace(model.info, sliceable=self.reuse.cache.layout.sliceable)
        self._sequences: dict[str, Sequence] = {}  # in the order of arrival
        self._holds = Holds(self._sequences, self._scheduler, self.reuse)
        self._ended: list[Event] = []  # events of requests that ended between two steps
        self.footprint = Footprint(self._runner, self.reuse, on_gpu=model.info.device != "cpu")
        self._counts = Counts()

    @property
    def busy(self) -> bool:
        """Whether there are requests, or an end that step() has still to report."""
        return bool(self._sequences or self._ended)

    @property
    def calm(self) -> bool:
        """Whether every request decodes, so that the next steps are as short as the last."""
        return all(entry.stage is Stage.decoding for entry in self._scheduler.entries)

    def rest_s(self, longest: float) -> float:
        """For how long step() has nothing to do unless something comes (see wakes()), `longest` at most. Only
        requests that have not ended count.
        """
        if self._scheduler.runnable or self._ended:
            return 0.0
        due = min((one.due for one in self._sequences.values()), default=math.inf) - time.monotonic()
        return max(0.0, min(due, longest))

    def wakes(self, wake: Callable[[], None]) -> None:
        """`wake` is called, from any thread, when something has come that requests wait for."""
        self._grammars.wake = wake
        if self.reuse.cache.archive is not None:
            self.reuse.cache.archive.wake = wake

    def submit(self, request: GenerateRequest) -> Failed | None:
        """Queues a request; a refusal is returned as its last event."""
        now = time.monotonic()
        prefix: Prefix | None = None
        try:
            if request.id in self._sequences:
                raise InvalidRequest("id", f"request id {request.id!r} is already in use")
            check_request(request, self.info)
            room = self.info.context_length - len(request.prompt)
            answer = min(request.sampling.max_tokens, room)
            self._take_over(request)
            leader = self._holds.leader(request)
            prefix = self.reuse.arrive(request, self._scheduler.pace.prefill_token)
            holds = self._holds.of(prefix, leader)
            queued = self._scheduler.submit(request, answer, now, bool(holds), prefix.waiting.reusable)
        except EngineError as error:
            if prefix is not None:
                self.reuse.forget(prefix)
            return to_failed(request.id, error)
        sequence = Sequence.begin(prefix, answer, queued, self._detokenizers.make())
        sequence.submitted, sequence.holds, sequence.leader = now, holds, leader
        self._sequences[request.id] = sequence
        self.reuse.followed += leader is not None
        if request.grammar is not None:
            sequence.grammar = self._grammars.compile(request.grammar)
        if request.deadline_s is not None:
            sequence.expires = now + request.deadline_s
        return None

    def abort(self, id: str) -> None:
        """Ends a request at any stage, without an event. Unknown ids are ignored."""
        sequence = self._sequences.get(id)
        if sequence is not None:
            self._retire(sequence, self._keep(sequence))

    def stop(self, id: str) -> None:
        """Ends a request whose client needs no more than it has written. Unknown ids are ignored."""
        sequence = self._sequences.get(id)
        if sequence is not None and sequence.first:
            self._ended.append(self._end(sequence, FinishReason.stop, time.monotonic()))

    def step(self) -> list[Event]:
        """Decodes one token for every running request and prefills one chunk. May raise anything that MLX
        raises.
        """
        now = time.monotonic()
        self.reuse.tick(self._runner.decoding)
        events, self._ended = self._ended + self._expire(now) + self._take_grammars(), []
        self._holds.take_fetched()
        self._holds.take_followers()
        self._make_way()
        if not self._scheduler.runnable:
            return events
        plan = self._scheduler.plan(now)
        for id in plan.pause:
            if (live := self._sequences[id].live) is not None:
                self._runner.pause(live)
        for id in plan.insert:
            events += self._insert(self._sequences[id], now)
        result = self._runner.step(plan.prefill_batch, plan.prefill_step)
        self._scheduler.pace.observe(result.seconds, len(result.sampled), result.prefilled)
        for id, remaining in result.remaining.items():
            sequence = self._sequences[id]
            self._scheduler.progress(sequence.queued, remaining)
            self._counts.prompt_tokens += 0 if remaining else len(sequence.job.prompt)
            self._note_prompt(sequence, remaining)
        self._counts.step(len(result.sampled), result.prefilled)
        for sampled in (*result.first, *result.sampled):
            self._write(sampled, events)
        if result.sampled and not result.first:  # a first token leaves at once
            while tokens := self._runner.step_ahead():
                self._counts.ahead(len(tokens))
                for sampled in tokens:
                    self._write(sampled, events)
        ended, self._ended = self._ended, []
        return events + ended

    def wind_up(self) -> tuple[int, float]:
        """Ends every request and keeps what was computed. Returns the bytes that are to be written, and the
        seconds that this may take. To be followed by close().
        """
        for id in list(self._sequences):
            self.abort(id)
        self.reuse.cache.flush()
        archive = self.reuse.cache.archive
        return (archive.waiting, archive.grace_s) if archive is not None else (0, 0.0)

    def close(self, grace_s: float | None = None) -> int:
        """Writes what is to be kept on disk, within `grace_s`, and lets other processes use the folder.
        Returns the bytes that were not written.
        """
        return self.reuse.cache.close(grace_s)

    def rest(self) -> bool:
        """To be called while there are no requests; returns whether there is more to be done at once."""
        return self.reuse.tick()

    def _insert(self, sequence: Sequence, now: float) -> list[Event]:
        """Gives a request its place, with the cached part of its prompt; or brings a paused one back."""
        if sequence.live is not None:
            self._runner.resume(sequence.live)
            return []
        sequence.started = now
        taken = self.reuse.start(sequence.prefix)
        sequence.job = replace(sequence.job, marks=self.reuse.marks(sequence.prefix))
        left = len(sequence.job.prompt) - taken.length
        if sequence.request.prefill_only and left <= LEAST_AHEAD:
            self._end_prefill(sequence)
            return []
        buffers = self.reuse.buffers(sequence.prefix)
        sequence.live = self._runner.insert(sequence.job, taken.join, taken.length, buffers)
        sequence.queued.remaining = left
        return [Began(sequence.id, taken.length)] if sequence.request.announce else []

    def _note_prompt(self, sequence: Sequence, remaining: int) -> None:
        """Keeps what was computed of a prompt, where later prompts may continue from it. At once: otherwise
        the next step would copy all of its buffers.
        """
        job, prefix = sequence.job, sequence.prefix
        if sequence.live is not None:
            self.reuse.came(prefix, sequence.live.cached, sequence.live.late)
        done = len(job.prompt) - remaining
        followed = any(one.leader is sequence for one in self._sequences.values())
        now = remaining == 1 or (self._runner.decoding and self.reuse.wants_part(prefix, done))
        computed: Computed | None = None
        if done in job.marks or (now and (followed or self.reuse.wants_prompt(prefix))):
            computed = self._keep(sequence)
            self.reuse.cache.settle()
        if remaining == 1 and sequence.request.prefill_only:
            self._end_prefill(sequence, computed)

    def _keep(self, sequence: Sequence, computed: Computed | None = None) -> Computed | None:
        """Keeps what was computed of a request, and returns it."""
        if computed is None and sequence.live is not None:
            computed = self._runner.extract(sequence.live)
        if computed is not None:
            self.reuse.keep(sequence.prefix, computed.tokens, computed.caches)
        return computed

    def fail_all(self, reason: str) -> list[Event]:
        """After a step raised: the requests in the batch fail, the generator is rebuilt, the queue stays."""
        self._counts.faults += 1
        error = EngineFault(reason)
        self._runner.reset()
        self.reuse.discard()
        gone = self._scheduler.drop_running()
        for id in gone:
            self._forget(self._sequences[id])
        return [to_failed(id, error) for id in gone]

    def stats(self) -> WorkerStats:
        return WorkerStats(
            running=self._scheduler.running,
            waiting=self._scheduler.waiting,
            tokens_generated=self._counts.tokens_generated,
            prompt_tokens=self._counts.prompt_tokens,
            prefilled_tokens=self._counts.prefilled_tokens,
            steps=self._counts.steps,
            batch_size=self._counts.batch_size if self.busy else 0,
            peak_batch=self._counts.peak_batch,
            batch_sizes=tuple(self._counts.batch_sizes),
            faults=self._counts.faults,
            constraint_failures=self._grammars.failures,
            expired=self._counts.expired,
            cache_bytes=self._runner.cache_bytes(),
            memory_bytes=self._runner.memory_bytes(),
            rss_bytes=resident_bytes(),
            cache=self.reuse.stats(),
        )

    def _expire(self, now: float) -> list[Event]:
        """Ends the requests whose time is over."""
        due = [one for one in self._sequences.values() if one.expires <= now]
        for one in due:
            self._counts.expired += 1
            self.abort(one.id)
        return [to_failed(one.id, DeadlineExceeded(one.expires - one.submitted)) for one in due]

    def _take_grammars(self) -> list[Event]:
        """Releases the requests whose grammars are compiled, and ends those whose grammars cannot be."""
        events: list[Event] = []
        for one, error in self._holds.take_grammars():
            events.append(to_failed(one.id, InvalidRequest("grammar", f"grammar cannot be used: {error}")))
            self.abort(one.id)
        return events

    def _make_way(self) -> None:
        """Takes places from prefills that nobody waits for, if a request needs one; what they computed is
        kept.
        """
        for id in self._scheduler.in_the_way():
            sequence = self._sequences[id]
            if sequence.request.prefill_only:
                self._end_prefill(sequence, self._keep(sequence))

    def _write(self, sampled: Sampled, events: list[Event]) -> None:
        """Turns one token into text, unless that was done before, and ends the request at an end token, the
        limit or a repetition.
        """
        sequence = self._sequences[sampled.id]
        now = time.monotonic()
        finish, ends, text = sampled.finish, sampled.token in self._eos, ""
        if not sampled.told:
            if sequence.repeats(sampled.token):
                finish = finish or FinishReason.repetition
            logprobs = [] if ends else self._detokenizers.named(sampled.logprobs)
            text = sequence.push(sampled.token, now, not ends, logprobs)
        if finish is not None:
            text += sequence.detokenizer.flush()
        if text:
            events.append(sequence.chunk(text))
        if sequence.tokens % GROWTH_STEP == 0:
            self._scheduler.grown(sequence.queued, len(sequence.job.prompt) + sequence.tokens)
        if finish is not None:
            events.append(self._end(sequence, finish, now, sampled.computed, sampled.unconstrained))

    def _end(
        self,
        sequence: Sequence,
        finish: FinishReason,
        now: float,
        computed: Computed | None = None,
        unconstrained: bool = False,
    ) -> Finished:
        """Ends a request well and keeps what it has computed; returns its last event."""
        computed = self._keep(sequence, computed)
        self.reuse.turn(sequence.prefix, computed.tokens if computed is not None else ())
        report = self.reuse.report(sequence.prefix)
        self._retire(sequence, computed)
        return sequence.finished(finish, now, report, unconstrained)

    def _end_prefill(self, sequence: Sequence, computed: Computed | None = None) -> None:
        """Ends a request for a prompt alone. computed: what was kept of it."""
        report = self.reuse.report(sequence.prefix)
        self._ended.append(sequence.finished(FinishReason.length, time.monotonic(), report))
        self._retire(sequence, computed)

    def _take_over(self, request: GenerateRequest) -> None:
        """Ends running prefills of what this request needs too, and keeps what they have computed."""
        if request.prefill_only:
            return
        for one in list(self._sequences.values()):
            if one.request.prefill_only and one.live is not None and self.reuse.shares(one.prefix, request):
                self._end_prefill(one, self._keep(one))

    def _retire(self, sequence: Sequence, computed: Computed | None) -> None:
        """Forgets a request whose work was kept, and leaves its buffers to the next turn."""
        self._forget(sequence)
        if computed is not None:
            self.reuse.leave(sequence.prefix, computed.tokens, computed.caches)

    def _forget(self, sequence: Sequence) -> None:
        del self._sequences[sequence.id]
        self.reuse.forget(sequence.prefix)
        if sequence.live is not None:
            self._runner.remove(sequence.live)
        self._scheduler.finish(sequence.queued, time.monotonic())
