"""The engine without its process: requests in, one step at a time, outputs out.

Scheduler (who), Runner (tokens) and Detokenizer (text) meet here and nowhere else. Runs on the one thread
that owns MLX.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from itertools import takewhile

import msgspec

from engine.cache.manager import LEAST_AHEAD, CacheManager
from engine.config import EngineConfig
from engine.constraints import BadGrammar, Grammars
from engine.counts import Counts
from engine.detokenize import Detokenizers
from engine.errors import DeadlineExceeded, EngineError, EngineFault, InvalidRequest, to_failed
from engine.footprint import Footprint
from engine.frames import WorkerStats
from engine.memory import resident_bytes
from engine.model import LoadedModel
from engine.outbox import Event
from engine.runner import Computed, Runner, Sampled
from engine.scheduler import Limits, Scheduler, Stage
from engine.types import (
    Candidate,
    Failed,
    Finished,
    FinishReason,
    GenerateRequest,
    TextChunk,
    TokenLogprob,
)
from engine.validate import check_request
from engine.writing import Writing

HELD_POLL_S = 0.005  # how late a compiled grammar is noticed while nothing runs
GROWTH_STEP = 64  # tokens between two reports of a sequence's length to the scheduler


class EngineCore:
    """Serves one loaded model."""

    def __init__(self, model: LoadedModel, config: EngineConfig) -> None:
        self.info = model.info
        self._eos = frozenset(model.info.eos_token_ids)
        self._detokenizers = Detokenizers(model.tokenizer)
        # One place more than the scheduler gives away: a health probe never waits for one.
        eos, vocab_size = model.info.eos_token_ids, model.info.vocab_size
        self._grammars = Grammars(model.tokenizer, vocab_size, eos)
        self._runner = Runner(
            model.network, eos, vocab_size, config.max_batch + 1, self._grammars, model.lane_worth
        )
        self.release = self._runner.release  # of memory that only work needs, where there is none for a while
        self._scheduler = Scheduler(
            Limits(
                max_batch=config.max_batch,
                queue_limit=config.queue_limit,
                prefill_step=config.prefill_step or (256 if model.info.device == "cpu" else 2048),
                prefill_step_min=config.prefill_step_min,
                prefill_share=config.prefill_share,
                kv_tokens=model.info.kv_tokens,
            )
        )
        self.reuse = CacheManager(model, config)
        self.info = msgspec.structs.replace(model.info, sliceable=self.reuse.cache.layout.sliceable)
        self._writing: dict[str, Writing] = {}
        self._ended: list[Event] = []  # that ended between two steps
        self._fetching: set[str] = set()  # requests whose prefix is on its way from the disk
        self._compiling: set[str] = set()
        self._following: dict[str, str] = {}  # requests that wait for another's prompt to be computed
        self.footprint = Footprint(self._runner, self.reuse, on_gpu=model.info.device != "cpu")
        self._counts = Counts()

    @property
    def busy(self) -> bool:
        """Whether there are requests, or an end that step() has still to tell."""
        return bool(self._writing or self._ended)

    @property
    def calm(self) -> bool:
        """Whether every request decodes, so that the next steps are as short as the last."""
        return all(entry.stage is Stage.decoding for entry in self._scheduler.entries.values())

    def rest_s(self, longest: float) -> float:
        """How long step() would have nothing to do, as far as one can tell: `longest` at most.

        Only requests that have not ended are asked: what is over can wake nobody.
        """
        if self._scheduler.runnable or self._ended:
            return 0.0
        due = min((one.expires for one in self._writing.values()), default=math.inf) - time.monotonic()
        held = self._compiling or self._fetching or self._following
        return max(0.0, min(due, HELD_POLL_S if held else longest))

    def submit(self, request: GenerateRequest) -> Failed | None:
        """Queue a request; a refusal comes back as its last event."""
        now = time.monotonic()
        try:
            if request.id in self._writing:
                raise InvalidRequest("id", f"request id {request.id!r} is already in use")
            check_request(request, self.info)
            room = self.info.context_length - len(request.prompt)
            answer = min(request.sampling.max_tokens, room)
            self._take_over(request)
            leader = self._leader(request)
            cached = self.reuse.arrive(request, self._scheduler.pace.prefill_token)
            fetching = self.reuse.waits(request.id)
            held = fetching or request.grammar is not None or leader is not None
            self._scheduler.submit(
                request.id, request.session, request.priority, len(request.prompt), answer, now, held, cached
            )
        except EngineError as error:
            if request.id not in self._writing:
                self.reuse.forget(request.id)
            return to_failed(request.id, error)
        if fetching:
            self._fetching.add(request.id)
        if leader is not None:
            self._following[request.id] = leader
            self.reuse.followed += 1
        writing = self._writing[request.id] = Writing.begin(request, answer, self._detokenizers.make(), now)
        if request.grammar is not None:
            writing.grammar = self._grammars.compile(request.grammar)
            self._compiling.add(request.id)
        if request.deadline_s is not None:
            writing.expires = now + request.deadline_s
        return None

    def abort(self, id: str) -> None:
        """End a request at whatever stage, without an event; unknown ids are fine."""
        if self._writing.pop(id, None) is not None:
            self._keep(id)
            self._forget(id)

    def stop(self, id: str) -> None:
        """End a request whose client needs no more than it has written; unknown ids are fine."""
        writing = self._writing.get(id)
        if writing is not None and writing.first:
            self._ended.append(self._end(writing, FinishReason.stop, time.monotonic()))

    def step(self) -> list[Event]:
        """Decode one token for every running request and prefill one chunk. May raise anything MLX raises."""
        now = time.monotonic()
        self.reuse.tick(self._runner.decoding)
        events, self._ended = self._ended + self._expire(now) + self._take_grammars(), []
        self._take_fetched()
        self._take_followers()
        self._make_way()
        if not self._scheduler.runnable:
            return events
        plan = self._scheduler.plan(now)
        for id in plan.pause:
            self._runner.pause(id)
        for id in plan.insert:
            writing = self._writing[id]
            self._insert(writing, now)
        result = self._runner.step(plan.prefill_batch, plan.prefill_step)
        self._scheduler.pace.observe(result.seconds, len(result.sampled), result.prefilled)
        for id, remaining in result.remaining.items():
            self._scheduler.progress(id, remaining)
            self._counts.prompt_tokens += 0 if remaining else len(self._writing[id].job.prompt)
            self._note_prompt(id, remaining)
        self._counts.step(len(result.sampled), result.prefilled)
        for sampled in result.sampled:
            self._write(sampled, events)
        ended, self._ended = self._ended, []
        return events + ended

    def wind_up(self) -> tuple[int, float]:
        """End every request and keep what has been computed of it: bytes that are to be written now, and the
        seconds that may take. To be followed by close().
        """
        for id in list(self._writing):
            self.abort(id)
        self.reuse.cache.flush()
        archive = self.reuse.cache.archive
        return (archive.waiting, archive.grace_s) if archive is not None else (0, 0.0)

    def close(self, grace_s: float | None = None) -> int:
        """Write what is to be kept on disk, for so long at most, and let others use the folder; bytes that
        were not written.
        """
        return self.reuse.cache.close(grace_s)

    def rest(self) -> bool:
        """To be called while there are no requests; whether there is more to be done at once."""
        return self.reuse.tick()

    def _insert(self, writing: Writing, now: float) -> None:
        """Give a request its place, with what is known of its prompt; or bring a paused one back."""
        if writing.started:
            return self._runner.insert(writing.job)
        writing.started = now
        id = writing.job.id
        taken = self.reuse.start(id)
        writing.job = replace(writing.job, marks=self.reuse.marks(id))
        left = len(writing.job.prompt) - taken.length
        if writing.prefill_only and left <= LEAST_AHEAD:
            return self._end_prefill(id)
        self._runner.insert(writing.job, taken.join, taken.length)
        self._scheduler.entries[id].remaining = left
        return None

    def _note_prompt(self, id: str, remaining: int) -> None:
        """Keep what a prompt has come to, where later prompts may go on from it. At once: the next step would
        copy all of its buffers, if what is kept were still to be taken from them.
        """
        job = self._writing[id].job
        done = len(job.prompt) - remaining
        wanted = self.reuse.wants_prompt(id) or id in self._following.values()
        now = remaining == 1 or (self._runner.decoding and self.reuse.wants_part(id, done))
        if done in job.marks or (now and wanted):
            self._keep(id)
            self.reuse.cache.settle()
        if remaining == 1 and self._writing[id].prefill_only:
            self._end_prefill(id)

    def _keep(self, id: str, computed: Computed | None = None) -> Computed | None:
        """Remember what has been computed of a request; that."""
        computed = computed or self._runner.extract(id)
        if computed is not None:
            self.reuse.keep(id, computed.tokens, computed.caches)
        return computed

    def fail_all(self, reason: str) -> list[Event]:
        """After a step raised: what was in the batch fails, the generator is rebuilt, the queue goes on."""
        self._counts.faults += 1
        error = EngineFault(reason)
        self._runner.reset()
        self.reuse.discard()
        gone = self._scheduler.drop_running()
        for id in gone:
            del self._writing[id]
            self._forget(id)
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
        """End the requests whose time is over."""
        due = [(id, one) for id, one in self._writing.items() if one.expires <= now]
        for id, _ in due:
            self._counts.expired += 1
            self.abort(id)
        return [to_failed(id, DeadlineExceeded(one.expires - one.submitted)) for id, one in due]

    def _take_grammars(self) -> list[Event]:
        """Let those requests run whose grammars have been compiled, and end those whose grammars are none."""
        events: list[Event] = []
        for id in list(self._compiling):
            writing = self._writing[id]
            if writing.grammar is None or not writing.grammar.done():
                continue
            self._compiling.remove(id)
            try:
                writing.job = replace(writing.job, matcher=writing.grammar.result())
            except BadGrammar as error:
                events.append(to_failed(id, InvalidRequest("grammar", f"grammar cannot be used: {error}")))
                self.abort(id)
            else:
                self._release(id)
        return events

    def _take_fetched(self) -> None:
        """Let those requests run whose prefixes have come from the disk, or will be too late."""
        for id in [id for id in self._fetching if not self.reuse.waits(id)]:
            self._fetching.remove(id)
            self._release(id)

    def _leader(self, request: GenerateRequest) -> str | None:
        """The request whose prompt this one waits for: an earlier one, so that none waits for itself."""
        entries = self._scheduler.entries
        earlier = takewhile(lambda id: id != request.id, self._writing)
        return self.reuse.leader(request, [id for id in earlier if entries[id].stage is not Stage.decoding])

    def _take_followers(self) -> None:
        """Let those run that waited for a prompt which is computed by now, or will not be: then the next in
        line computes it.
        """
        entries = self._scheduler.entries
        for id, leader in list(self._following.items()):
            if leader in entries and entries[leader].stage is not Stage.decoding:
                continue
            following = self._leader(self.reuse.asked(id))
            if following is not None:
                self._following[id] = following
                continue
            del self._following[id]
            entries[id].remaining = self.reuse.left(id)
            self._release(id)

    def _make_way(self) -> None:
        """Prefills that nobody waits for keep what they have and give up places that somebody waits for."""
        for id in self._scheduler.in_the_way():
            if self._writing[id].prefill_only:
                self._keep(id)
                self._end_prefill(id)

    def _release(self, id: str) -> None:
        if id not in self._compiling and id not in self._fetching and id not in self._following:
            self._scheduler.release(id)

    def _write(self, sampled: Sampled, events: list[Event]) -> None:
        """Turn one token into text, and end the request where it, the limit or a repetition says so."""
        writing = self._writing[sampled.id]
        writing.sampled.append(sampled.token)
        now = time.monotonic()
        writing.first = writing.first or now
        text = ""
        if sampled.token not in self._eos:
            text = writing.detokenizer.push(sampled.token)
            writing.logprobs += self._logprobs(sampled)
        finish = sampled.finish
        if writing.repetition is not None and writing.repetition.push(sampled.token):
            finish = finish or FinishReason.repetition
        if finish is not None:
            text += writing.detokenizer.flush()
        if text:
            tokens = writing.tokens - writing.shown
            events.append(TextChunk(sampled.id, text, tokens, tuple(writing.logprobs)))
            writing.shown = writing.tokens
            writing.logprobs.clear()
        if writing.tokens % GROWTH_STEP == 0:
            self._scheduler.grown(sampled.id, len(writing.job.prompt) + writing.tokens)
        if finish is not None:
            events.append(self._end(writing, finish, now, sampled.computed, sampled.unconstrained))

    def _end(
        self,
        writing: Writing,
        finish: FinishReason,
        now: float,
        computed: Computed | None = None,
        unconstrained: bool = False,
    ) -> Finished:
        """A request ends well: what it has computed is kept. Its last event."""
        id = writing.job.id
        computed = self._keep(id, computed)
        self.reuse.turn(id, computed.tokens if computed is not None else ())
        report = self.reuse.report(id)
        del self._writing[id]
        self._forget(id)
        return writing.finished(finish, now, report, unconstrained)

    def _end_prefill(self, id: str) -> None:
        """A request for no more than a prompt ends; what it has come to was kept."""
        writing = self._writing.pop(id)
        self._ended.append(writing.finished(FinishReason.length, time.monotonic(), self.reuse.report(id)))
        self._forget(id)

    def _take_over(self, request: GenerateRequest) -> None:
        """End the prefills under way of what this request needs too, and keep what they have come to."""
        if request.prefill_only:
            return
        under_way = [id for id, one in self._writing.items() if one.prefill_only and one.started]
        for id in self.reuse.joined(request, under_way):
            self._keep(id)
            self._end_prefill(id)

    def _logprobs(self, sampled: Sampled) -> list[TokenLogprob]:
        named = [
            Candidate(token, self._detokenizers.token_bytes(token), logprob)
            for token, logprob in sampled.logprobs
        ]
        return [TokenLogprob(named[0], tuple(named[1:]))] if named else []

    def _forget(self, id: str) -> None:
        self._compiling.discard(id)
        self._fetching.discard(id)
        self._following.pop(id, None)
        self.reuse.forget(id)
        self._runner.remove(id)
        self._scheduler.finish(id, time.monotonic())
