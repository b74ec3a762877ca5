"""The engine without its process: requests in, one step at a time, outputs out.

Scheduler (who), Runner (tokens), Detokenizer and StopFinder (text) meet here and nowhere else. Runs on the
one thread that owns MLX.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from engine.config import EngineConfig
from engine.detokenize import Detokenizer, Detokenizers
from engine.errors import EngineError, EngineFault, InvalidRequest, to_failed
from engine.frames import WorkerStats
from engine.model import LoadedModel
from engine.runner import Job, Runner, Sampled
from engine.scheduler import Limits, Scheduler
from engine.stop import StopFinder
from engine.types import Candidate, Failed, Finished, FinishReason, GenerateRequest, TextChunk, TokenLogprob
from engine.validate import check_request

GROWTH_STEP = 64  # tokens between two reports of a sequence's length to the scheduler

Event = TextChunk | Finished | Failed


@dataclass(slots=True)
class Writing:
    """The text of one request. tokens: sampled so far; shown: those whose text has left in a chunk.

    logprobs: of the others. submitted, started, first: when it came, got a place and got its first token.
    """

    job: Job
    detokenizer: Detokenizer
    stops: StopFinder
    tokens: int = 0
    shown: int = 0
    logprobs: list[TokenLogprob] = field(default_factory=list)
    submitted: float = 0.0
    started: float = 0.0
    first: float = 0.0


class EngineCore:
    """Serves one loaded model."""

    def __init__(self, model: LoadedModel, config: EngineConfig) -> None:
        self.info = model.info
        self._eos = frozenset(model.info.eos_token_ids)
        self._detokenizers = Detokenizers(model.tokenizer)
        # One place more than the scheduler gives away: a health probe never waits for one.
        self._runner = Runner(
            model.network, model.info.eos_token_ids, model.info.vocab_size, config.max_batch + 1
        )
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
        self._tokens_generated = 0
        self._prompt_tokens = 0
        self._steps = 0
        self._batch_size = 0
        self._peak_batch = 0
        self._faults = 0

    @property
    def busy(self) -> bool:
        """Whether step() has anything to do."""
        return bool(self._writing)

    def submit(self, request: GenerateRequest) -> Failed | None:
        """Queue a request; a refusal comes back as its last event."""
        now = time.monotonic()
        try:
            if request.id in self._writing:
                raise InvalidRequest("id", f"request id {request.id!r} is already in use")
            check_request(request, self.info)
            room = self.info.context_length - len(request.prompt)
            answer = min(request.sampling.max_tokens, room)
            self._scheduler.submit(
                request.id, request.session, request.priority, len(request.prompt), answer, now
            )
        except EngineError as error:
            return to_failed(request.id, error)
        job = Job(request.id, request.prompt, answer, request.sampling)
        stops = StopFinder(request.sampling.stop)
        self._writing[request.id] = Writing(job, self._detokenizers.make(), stops, submitted=now)
        return None

    def abort(self, id: str) -> None:
        """End a request at whatever stage, without an event; unknown ids are fine."""
        if self._writing.pop(id, None) is not None:
            self._forget(id)

    def step(self) -> list[Event]:
        """Decode one token for every running request and prefill one chunk. May raise anything MLX raises."""
        now = time.monotonic()
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
        self._count(len(result.sampled))
        events: list[Event] = []
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
            steps=self._steps,
            batch_size=self._batch_size if self.busy else 0,
            peak_batch=self._peak_batch,
            faults=self._faults,
            cache_bytes=self._runner.cache_bytes(),
            memory_bytes=self._runner.memory_bytes(),
        )

    def _count(self, decoded: int) -> None:
        self._steps += 1
        self._batch_size = decoded
        self._peak_batch = max(self._peak_batch, decoded)
        self._tokens_generated += decoded

    def _write(self, sampled: Sampled, events: list[Event]) -> None:
        """Turn one token into text, and end the request where a token, a stop string or the limit ends it."""
        writing = self._writing[sampled.id]
        writing.tokens += 1
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
        self._runner.remove(id)
        self._scheduler.finish(id, time.monotonic())
