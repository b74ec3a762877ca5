"""What Prometheus scrapes, under the names that the field's servers use: vLLM's, with our own prefix.

One registry for one app. Every label takes a bounded set of values: models that are served, and members of
our own enumerations.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from engine.types import AT_REST, BATCH_BOUNDS, EngineStats
from proxy.conversation.model_card import ModelCard
from proxy.conversation.request import ChatRequest
from proxy.conversation.verdict import Verdict
from proxy.records.cache_metrics import cache_figures
from proxy.records.request_record import Ending, RequestRecord, bucket
from proxy.upstreams.base import Generation, Upstream, UpstreamEvent, UpstreamFinish, UpstreamStarted
from proxy.upstreams.capabilities import Capabilities
from repair.formats import Wire

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_MODEL = "model_name"
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_GAPS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_ADDED = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1, 5, 15, 60)
_TOKENS = (1, 8, 64, 256, 1024, 4096, 16384, 65536, 262144)


class Metrics:
    """A Sink of accounts; watch() times what an upstream does. stats: of the bundled engine, if any."""

    def __init__(self, stats: Callable[[], EngineStats] | None = None) -> None:
        self._registry = CollectorRegistry()
        self._http = self._counter("http_requests", "Answered HTTP requests", "status")
        self._ended = self._counter("requests", "Chat requests by how they ended", _MODEL, "ending")
        self._finished = self._counter("request_success", "Finished chat requests", _MODEL, "finished_reason")
        self._verdicts = self._counter("verdicts", "What the guard made of the turns", _MODEL, "verdict")
        self._fixes = self._counter("fixes", "Repairs of delivered calls", _MODEL, "kind")
        self._attempts = self._counter("attempts", "Times that a model was asked", _MODEL)
        self._calls = self._counter("tool_calls", "Delivered tool calls", _MODEL)
        self._judgements = Judgements(self._counter)
        self._added = self._histogram(
            "added_latency_seconds", "From the end of the first attempt to that of the answer", _ADDED
        )
        self._prefixes = self._counter(
            "prompt_prefixes",
            "Prompts by where their beginning came from, and why not more",
            _MODEL,
            "tier",
            "cause",
        )
        self._prompt = self._counter("prompt_tokens", "Tokens of prompts", _MODEL)
        self._cached = self._counter("prompt_tokens_cached", "Of those, not computed again", _MODEL)
        self._generated = self._counter("generation_tokens", "Generated tokens, all attempts", _MODEL)
        self._total = self._histogram("e2e_request_latency_seconds", "Whole requests", _SECONDS)
        self._output = self._histogram("time_to_first_output_seconds", "First text or call sent", _SECONDS)
        self._prompts = self._histogram("request_prompt_tokens", "Tokens of one prompt", _TOKENS)
        self._answers = self._histogram("request_generation_tokens", "Tokens of one answer", _TOKENS)
        self.timings = GenerationTimings(
            Gauge("fortieth_requests_in_flight", "Admitted generations", registry=self._registry),
            self._histogram("time_to_first_token_seconds", "Each generation's first token", _SECONDS),
            self._histogram("inter_token_latency_seconds", "Between tokens of a generation", _GAPS),
            self._counter("unconstrained_generations", "To be constrained, and decoded without", _MODEL),
            self._histogram("request_queue_time_seconds", "Waiting for a place", _SECONDS),
            self._histogram("request_prefill_time_seconds", "From there to the first token", _SECONDS),
            self._histogram("request_decode_time_seconds", "From there to the last token", _SECONDS),
        )
        if stats is not None:
            self._registry.register(EngineCollector(stats))

    def record(self, account: RequestRecord) -> None:
        model = account.model
        self._ended.labels(model, account.ending.value).inc()
        self._total.labels(model).observe(account.timings.total)
        if account.timings.first is not None:
            self._output.labels(model).observe(account.timings.first)
        self._attempts.labels(model).inc(len(account.attempts))
        if account.cache is not None:
            self._prefixes.labels(model, account.cache.tier, account.cache.cause.value).inc()
        self._prompt.labels(model).inc(account.usage.prompt_tokens)
        self._cached.labels(model).inc(account.usage.cached_tokens)
        self._generated.labels(model).inc(account.usage.completion_tokens)
        self._calls.labels(model).inc(account.calls)
        self._judgements.record(account)
        if account.timings.heard is not None:
            self._added.labels(model).observe(account.timings.total - account.timings.heard)
        for fix in account.fixes:
            self._fixes.labels(model, fix.kind.value).inc()
        if account.ending is Ending.finished and account.reason is not None:
            self._finished.labels(model, account.reason.value).inc()
            self._verdicts.labels(model, account.verdict.value).inc()
            self._prompts.labels(model).observe(account.usage.prompt_tokens)
            self._answers.labels(model).observe(account.usage.completion_tokens)

    def answered(self, status: int) -> None:
        """An HTTP response has left, whatever it was asked for."""
        self._http.labels(str(status)).inc()

    def watch(self, upstream: Upstream) -> Upstream:
        """The same upstream, its generations timed."""
        return TimedUpstream(upstream, self.timings)

    def show(self, collector: Collector) -> None:
        """Once: what it has to tell as of each scrape."""
        self._registry.register(collector)

    def render(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"fortieth_{name}", text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"fortieth_{name}", text, (_MODEL,), buckets=buckets, registry=self._registry)


class Judgements:
    """What the guard found and did, beside the verdict. counter: makes one, by name, text and labels."""

    def __init__(self, counter: Callable[..., Counter]) -> None:
        self._invalid = counter(
            "invalid_calls_delivered", "Of those, calls that do not fit their schemas", _MODEL, "mode"
        )
        self._given_up = counter(
            "given_up_turns", "Turns whose calls could not be saved, by what went out", _MODEL, "give_up"
        )
        self._handed_over = counter(
            "handed_over_calls", "Calls that giving up delivered against their schemas", _MODEL
        )
        self._turns = counter("call_turns", "Turns that held calls", _MODEL, "verdict", "format", "from_turn")
        self._problems = counter("problems", "What was wrong with calls, all attempts", _MODEL, "rule")
        self._reasks = counter("reasks", "Times that a model was asked again", _MODEL, "verdict")
        self._empty = counter("empty_answers", "Neither a call nor a word", _MODEL)
        self._repeated = counter(
            "repetitions_stopped", "Attempts that repeated themselves word for word", _MODEL
        )

    def record(self, account: RequestRecord) -> None:
        model = account.model
        # made even where it is 0: an alarm on it needs the series
        self._invalid.labels(model, account.mode.value).inc(account.invalid)
        self._reasks.labels(model, account.verdict.value).inc(max(0, len(account.attempts) - 1))
        self._empty.labels(model).inc(account.empty)
        self._repeated.labels(model).inc(sum(attempt.repeated for attempt in account.attempts))
        self._handed_over.labels(model).inc(account.handed_over)
        if account.given_up is not None:
            self._given_up.labels(model, account.given_up.value).inc()
        for attempt in account.attempts:
            for problem in attempt.problems:
                self._problems.labels(model, problem.rule).inc()
        if account.verdict is not Verdict.none:
            turn = str(bucket(account.turn))
            self._turns.labels(model, account.verdict.value, account.format, turn).inc()


@dataclass(frozen=True, slots=True)
class GenerationTimings:
    """Where the times of generations go."""

    live: Gauge
    first: Histogram
    gap: Histogram
    unconstrained: Counter
    queue: Histogram
    prefill: Histogram
    decode: Histogram


class TimedGeneration:
    """A generation that notes when its tokens come. began: when the upstream was asked for it."""

    def __init__(self, inner: Generation, timings: GenerationTimings, model: str, began: float) -> None:
        self._inner = inner
        self._timings = timings
        self._model = model
        self._last = began
        self._open = True
        timings.live.inc()

    @property
    def format(self) -> str | Wire:
        return self._inner.format

    @property
    def generation_prompt(self) -> str:
        return self._inner.generation_prompt

    async def __aiter__(self) -> AsyncIterator[UpstreamEvent]:
        gaps = self._timings.gap.labels(self._model)
        begun = False
        async for event in self._inner:
            if isinstance(event, UpstreamStarted):  # nothing was generated yet
                yield event
                continue
            now = time.monotonic()
            if isinstance(event, UpstreamFinish):
                self._finished(event)
            elif not begun:
                begun = True
                self._timings.first.labels(self._model).observe(now - self._last)
            else:
                gaps.observe((now - self._last) / max(1, event.tokens))
            self._last = now
            yield event

    async def end(self) -> list[UpstreamEvent]:
        events = await self._inner.end()
        for event in events:
            if isinstance(event, UpstreamFinish):
                self._finished(event)
        return events

    async def aclose(self) -> None:
        if self._open:
            self._open = False
            self._timings.live.dec()
        await self._inner.aclose()

    def _finished(self, finish: UpstreamFinish) -> None:
        if finish.unconstrained:
            self._timings.unconstrained.labels(self._model).inc()
        if finish.phases is not None:
            self._timings.queue.labels(self._model).observe(finish.phases.queue_s)
            self._timings.prefill.labels(self._model).observe(finish.phases.prefill_s)
            self._timings.decode.labels(self._model).observe(finish.phases.decode_s)


class TimedUpstream:
    """An upstream with its generations timed; all else is the upstream's own."""

    def __init__(self, inner: Upstream, timings: GenerationTimings) -> None:
        self._inner = inner
        self._timings = timings

    @property
    def models(self) -> tuple[ModelCard, ...]:
        return self._inner.models

    @property
    def capabilities(self) -> Capabilities:
        return self._inner.capabilities

    async def open(self, request: ChatRequest) -> TimedGeneration:
        began = time.monotonic()
        generation = await self._inner.open(request)
        return TimedGeneration(generation, self._timings, request.model, began)

    async def check(self) -> None:
        await self._inner.check()

    async def close(self) -> None:
        await self._inner.close()

    def abandon(self) -> None:
        self._inner.abandon()


ANSWERS = ("ready", *AT_REST)  # states of the engine
_GAUGES = {
    "num_requests_running": ("Requests with a place in the batch", "running"),
    "num_requests_waiting": ("Requests that wait for a place", "waiting"),
    "decode_batch_size_last": ("Sequences decoded in the last step", "batch_size"),
    "kv_cache_bytes": ("KV caches of live requests", "cache_bytes"),
    "engine_memory_bytes": ("All arrays of MLX", "memory_bytes"),
    "engine_resident_memory_bytes": ("Resident memory of the engine process", "rss_bytes"),
}
_COUNTERS = {
    "engine_restarts": ("Restarts of the engine process", "restarts"),
    "engine_step_faults": ("Steps that raised", "faults"),
    "engine_steps": ("Steps of the live engine process", "steps"),
    "prefill_tokens": ("Prompt tokens computed by the live engine process", "prefilled_tokens"),
    "decoded_tokens": ("Tokens decoded by the live engine process", "tokens_generated"),
    "constraint_failures": ("Grammars that failed in mid-text", "constraint_failures"),
    "expired_requests": ("Requests that ran out of time in the engine", "expired"),
}


class EngineCollector(Collector):
    """The engine's figures as of the scrape. Counters start over with the engine process."""

    def __init__(self, stats: Callable[[], EngineStats]) -> None:
        self._stats = stats

    def describe(self) -> list[Metric]:
        """Nothing: the names are not asked for before the first scrape, when the engine is up."""
        return []

    def collect(self) -> Iterator[Metric]:
        stats = self._stats()
        yield GaugeMetricFamily(
            "fortieth_engine_up", "Whether requests would be served", float(stats.state in ANSWERS)
        )
        yield GaugeMetricFamily(
            "fortieth_engine_resting",
            "Whether there is no process until a request",
            float(stats.state == "resting"),
        )
        for name, (text, field) in _GAUGES.items():
            yield GaugeMetricFamily(f"fortieth_{name}", text, float(getattr(stats, field)))
        for name, (text, field) in _COUNTERS.items():
            yield CounterMetricFamily(f"fortieth_{name}", text, float(getattr(stats, field)))
        yield _batch_sizes(stats)
        yield from cache_figures(stats.cache)


def _batch_sizes(stats: EngineStats) -> HistogramMetricFamily:
    """Decode steps by the number of sequences in them."""
    counts = stats.batch_sizes or (0,) * (len(BATCH_BOUNDS) + 1)
    bounds = [*(str(float(bound)) for bound in BATCH_BOUNDS), "+Inf"]
    buckets = [(bound, float(sum(counts[: i + 1]))) for i, bound in enumerate(bounds)]
    family = HistogramMetricFamily("fortieth_decode_batch_size", "Sequences in a decode step")
    family.add_metric([], buckets, float(stats.tokens_generated))
    return family
