"""The engine without its process: requests in, one step at a time, outputs out.

Scheduler (who), Runner (tokens), Detokenizer and StopFinder (text) meet here and nowhere else. Runs on the
one thread that owns MLX.
"""

from __future__ import annotations

import heapq
import math
import time
from bisect import bisect_left
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from llguidance import LLMatcher

from engine.config import EngineConfig
from engine.constraints import BadGrammar, Grammars
from engine.detokenize import Detokenizer, Detokenizers
from engine.errors import DeadlineExceeded, EngineError, EngineFault, InvalidRequest, to_failed
from engine.frames import WorkerStats
from engine.memory import MemoryWatch, resident_bytes
from engine.model import LoadedModel
from engine.runner import Job, Runner, Sampled
from engine.scheduler import Limits, Scheduler
from engine.stop import StopFinder
from engine.types import (
    BATCH_BOUNDS,
    Candidate,
    Failed,
    Finished,
    FinishReason,
    GenerateRequest,
    TextChunk,
    TokenLogprob,
)
from engine.validate import check_request

HELD_POLL_S = 0.005  # how late a compiled grammar is noticed while nothing runs
GROWTH_STEP = 64  # tokens between two reports of a sequence's length to the scheduler

Event = TextChunk | Finished | Failed


@dataclass(slots=True)
class Writing:
    """The text of one request. sampled: its tokens so far; shown: those whose text has left in a chunk.

    logprobs: of the others. submitted, started, first: when it came, got a place and got its first token.
    expires: when it must have ended. grammar: while it is being compiled.
    """

    job: Job
    detokenizer: Detokenizer
    stops: StopFinder
    sampled: list[int] = field(default_factory=list)
    shown: int = 0
    logprobs: list[TokenLogprob] = field(default_factory=list)
    submitted: float = 0.0
    started: float = 0.0
    first: float = 0.0
    expires: float = math.inf
    grammar: Future[LLMatcher] | None = None

    @property
    def tokens(self) -> int:
        return len(self.sampled)


class EngineCore:
    """Serves one loaded model."""

    def __init__(self, model: LoadedModel, config: EngineConfig) -> None:
        self.info = model.info
        self._eos = frozenset(model.info.eos_token_ids)
        self._detokenizers = Detokenizers(model.tokenizer)
        # One place more than the scheduler gives away: a health probe never waits for one.
        eos, vocab_size = model.info.eos_token_ids, model.info.vocab_size
        self._grammars = Grammars(model.tokenizer, vocab_size, eos)
        self._runner = Runner(model.network, eos, vocab_size, config.max_batch + 1, self._grammars)
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
        self._writing: dict[str, Writing] = {}
        self._compiling: set[str] = set()
        self._expiry: list[tuple[float, str]] = []  # a heap; ended requests stay in it until they are due
        self._memory = MemoryWatch()
        self._on_gpu = model.info.device != "cpu"
        self._tokens_generated = 0
        self._prompt_tokens = 0
        self._prefilled_tokens = 0
        self._steps = 0
        self._batch_size = 0
        self._peak_batch = 0
        self._batch_sizes = [0] * (len(BATCH_BOUNDS) + 1)
        self._faults = 0
        self._expired = 0

    @property
    def busy(self) -> bool:
        """Whether there are requests."""
        return bool(self._writing)

    def rest_s(self, longest: float) -> float:
        """How long step() would have nothing to do, as far as one can tell: `longest` at most."""
        if self._scheduler.runnable:
            return 0.0
        due = self._expiry[0][0] - time.monotonic() if self._expiry else longest
        return max(0.0, min(due, HELD_POLL_S if self._compiling else longest))

    def submit(self, request: GenerateRequest) -> Failed | None:
        """Queue a request; a refusal comes back as its last event."""
        now = time.monotonic()
        try:
            if request.id in self._writing:
                raise InvalidRequest("id", f"request id {request.id!r} is already in use")
            check_request(request, self.info)
            room = self.info.context_length - len(request.prompt)
            answer = min(request.sampling.max_tokens, room)
            held = request.grammar is not None
            self._scheduler.submit(
                request.id, request.session, request.priority, len(request.prompt), answer, now, held
            )
        except EngineError as error:
            return to_failed(request.id, error)
        job = Job(request.id, request.prompt, answer, request.sampling, request.thinking)
        stops = StopFinder(request.sampling.stop)
        writing = Writing(job, self._detokenizers.make(), stops, submitted=now)
        self._writing[request.id] = writing
        if request.grammar is not None:
            writing.grammar = self._grammars.compile(request.grammar)
            self._compiling.add(request.id)
        if request.deadline_s is not None:
            writing.expires = now + request.deadline_s
            heapq.heappush(self._expiry, (writing.expires, request.id))
        return None

    def abort(self, id: str) -> None:
        """End a request at whatever stage, without an event; unknown ids are fine."""
        if self._writing.pop(id, None) is not None:
            self._forget(id)

    def step(self) -> list[Event]:
        """Decode one token for every running request and prefill one chunk. May raise anything MLX raises."""
        now = time.monotonic()
        events = self._expire(now) + self._take_grammars()
        if not self._scheduler.runnable:
            return events
        plan = self._scheduler.plan(now)
        for id in plan.pause:
            self._runner.pause(id)
        for id in plan.insert:
            writing = self._writing[id]
            writing.started = writing.started or now
            self._runner.insert(writing.job)
        started = time.perf_counter()
        result = self._runner.step(plan.prefill_batch, plan.prefill_step)
        self._scheduler.pace.observe(time.perf_counter() - started, len(result.sampled), result.prefilled)
        for id, remaining in result.remaining.items():
            self._scheduler.progress(id, remaining)
            self._prompt_tokens += 0 if remaining else len(self._writing[id].job.prompt)
        self._count(len(result.sampled), result.prefilled)
        for sampled in result.sampled:
            self._write(sampled, events)
        return events

    def fail_all(self, reason: str) -> list[Event]:
        """After a step raised: what was in the batch fails, the generator is rebuilt, the queue goes on."""
        self._faults += 1
        error = EngineFault(reason)
        self._runner.reset()
        gone = self._scheduler.drop_running()
        for id in gone:
            del self._writing[id]
        return [to_failed(id, error) for id in gone]

    def stats(self) -> WorkerStats:
        return WorkerStats(
            running=self._scheduler.running,
            waiting=self._scheduler.waiting,
            tokens_generated=self._tokens_generated,
            prompt_tokens=self._prompt_tokens,
            prefilled_tokens=self._prefilled_tokens,
            steps=self._steps,
            batch_size=self._batch_size if self.busy else 0,
            peak_batch=self._peak_batch,
            batch_sizes=tuple(self._batch_sizes),
            faults=self._faults,
            constraint_failures=self._grammars.failures,
            expired=self._expired,
            cache_bytes=self._runner.cache_bytes(),
            memory_bytes=self._runner.memory_bytes(),
            rss_bytes=resident_bytes(),
        )

    def watch_memory(self) -> None:
        """To be called now and then: reports memory that grows though no cache accounts for it."""
        now = time.monotonic()
        if self._memory.due(now):
            arrays = self._runner.memory_bytes()
            others = resident_bytes() - (0 if self._on_gpu else arrays + self._runner.spare_bytes())
            kept = arrays - self._runner.cache_bytes()
            self._memory.observe(now, {"memory of MLX beyond the caches": kept, "memory outside MLX": others})

    def _expire(self, now: float) -> list[Event]:
        """End the requests whose time is over."""
        events: list[Event] = []
        while self._expiry and self._expiry[0][0] <= now:
            expires, id = heapq.heappop(self._expiry)
            writing = self._writing.get(id)
            if writing is None or writing.expires != expires:
                continue  # it ended in time; the id may have come again
            events.append(to_failed(id, DeadlineExceeded(expires - writing.submitted)))
            self._expired += 1
            self.abort(id)
        return events

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
                self._scheduler.release(id)
        return events

    def _count(self, decoded: int, prefilled: int) -> None:
        self._steps += 1
        self._prefilled_tokens += prefilled
        if decoded:
            self._batch_sizes[bisect_left(BATCH_BOUNDS, decoded)] += 1
        self._batch_size = decoded
        self._peak_batch = max(self._peak_batch, decoded)
        self._tokens_generated += decoded

    def _write(self, sampled: Sampled, events: list[Event]) -> None:
        """Turn one token into text, and end the request where a token, a stop string or the limit ends it."""
        writing = self._writing[sampled.id]
        writing.sampled.append(sampled.token)
        now = time.monotonic()
        writing.first = writing.first or now
        text, stopped = "", False
        if sampled.token not in self._eos:
            text, stopped = writing.stops.push(writing.detokenizer.push(sampled.token))
            writing.logprobs += self._logprobs(sampled)
        finish = FinishReason.stop if stopped else sampled.finish
        if finish is not None and not stopped:
            rest, stopped = writing.stops.push(writing.detokenizer.flush())
            text += rest if stopped else rest + writing.stops.flush()
            finish = FinishReason.stop if stopped else finish
        if text:
            tokens = writing.tokens - writing.shown
            events.append(TextChunk(sampled.id, text, tokens, tuple(writing.logprobs)))
            writing.shown = writing.tokens
            writing.logprobs.clear()
        if writing.tokens % GROWTH_STEP == 0:
            self._scheduler.grown(sampled.id, len(writing.job.prompt) + writing.tokens)
        if finish is not None:
            events.append(
                Finished(
                    id=sampled.id,
                    reason=finish,
                    prompt_tokens=len(writing.job.prompt),
                    completion_tokens=writing.tokens,
                    queue_s=writing.started - writing.submitted,
                    prefill_s=writing.first - writing.started,
                    decode_s=now - writing.first,
                    unconstrained=sampled.unconstrained,
                    completion=tuple(writing.sampled),
                )
            )
            del self._writing[sampled.id]
            self._forget(sampled.id)

    def _logprobs(self, sampled: Sampled) -> list[TokenLogprob]:
        named = [
            Candidate(token, self._detokenizers.token_bytes(token), logprob)
            for token, logprob in sampled.logprobs
        ]
        return [TokenLogprob(named[0], tuple(named[1:]))] if named else []

    def _forget(self, id: str) -> None:
        self._compiling.discard(id)
        self._runner.remove(id)
        self._scheduler.finish(id, time.monotonic())
