"""The metrics for Prometheus, named as vLLM names them, with the prefix `fortieth_`.

One registry for one app. Every label takes a bounded set of values: models that are served, and members of
our own enumerations.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
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
from proxy.upstreams.base import (
    Generation,
    Upstream,
    UpstreamEvent,
    UpstreamExtra,
    UpstreamFinish,
    UpstreamStarted,
)
from proxy.upstreams.capabilities import Capabilities
from repair.formats import Wire

# Else each counter and histogram has a second series, with the time at which it was made.
disable_created_metrics()  # type: ignore[no-untyped-call]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_MODEL = "model_name"
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_GAPS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_ADDED = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1, 5, 15, 60)
_TOKENS = (1, 8, 64, 256, 1024, 4096, 16384, 65536, 262144)

_HELP = {
    "http_requests": "HTTP requests answered",
    "requests": "Chat requests by how they ended",
    "request_success": "Chat requests that finished, by finish reason",
    "verdicts": "Finished turns by the guard's verdict",
    "fixes": "Repairs of delivered calls, by kind",
    "attempts": "Attempts: times that a model was asked",
    "tool_calls": "Tool calls delivered to clients",
    "added_latency_seconds": "Seconds from the end of the first attempt to the end of the answer",
    "prompt_prefixes": "Prompts by the cache tier of their prefix, and why no more of them was reused",
    "prompt_tokens": "Prompt tokens",
    "prompt_tokens_cached": "Prompt tokens that were not computed again",
    "generation_tokens": "Generated tokens of all attempts",
    "e2e_request_latency_seconds": "Seconds from a request to the end of its answer",
    "time_to_first_output_seconds": "Seconds from a request to its first text or call",
    "request_prompt_tokens": "Prompt tokens of a request",
    "request_generation_tokens": "Generated tokens of a request",
    "time_to_first_token_seconds": "Seconds from the start of a generation to its first token",
    "inter_token_latency_seconds": "Seconds between two tokens of a generation",
    "unconstrained_generations": "Generations that were to be constrained and were not",
    "request_queue_time_seconds": "Seconds that a request waited for a place in the batch",
    "request_prefill_time_seconds": "Seconds from the place in the batch to the first token",
    "request_decode_time_seconds": "Seconds from the first token to the last",
    "invalid_calls_delivered": "Delivered tool calls that do not fit their schemas",
    "given_up_turns": "Turns whose calls could not be saved, by what the client got",
    "handed_over_calls": "Calls delivered against their schemas because the guard gave up",
    "call_turns": "Turns with calls, by verdict, wire format and turn number",
    "problems": "Problems found in calls, of all attempts",
    "reasks": "Re-asks: times that a model was asked again",
    "empty_answers": "Answers with neither a call nor text",
    "repetitions_stopped": "Attempts ended because the text repeated itself",
}


class Metrics:
    """A Sink that counts records; watch() times what an upstream does. stats: of the bundled engine, if there
    is one.
    """

    def __init__(self, stats: Callable[[], EngineStats] | None = None) -> None:
        self._registry = CollectorRegistry()
        self._http = self._counter("http_requests", "status")
        self._ended = self._counter("requests", _MODEL, "ending")
        self._finished = self._counter("request_success", _MODEL, "finished_reason")
        self._verdicts = self._counter("verdicts", _MODEL, "verdict")
        self._fixes = self._counter("fixes", _MODEL, "kind")
        self._attempts = self._counter("attempts", _MODEL)
        self._calls = self._counter("tool_calls", _MODEL)
        self._judgements = Judgements(self._counter)
        self._added = self._histogram("added_latency_seconds", _ADDED)
        self._prefixes = self._counter("prompt_prefixes", _MODEL, "tier", "cause")
        self._prompt = self._counter("prompt_tokens", _MODEL)
        self._cached = self._counter("prompt_tokens_cached", _MODEL)
        self._generated = self._counter("generation_tokens", _MODEL)
        self._total = self._histogram("e2e_request_latency_seconds", _SECONDS)
        self._output = self._histogram("time_to_first_output_seconds", _SECONDS)
        self._prompts = self._histogram("request_prompt_tokens", _TOKENS)
        self._answers = self._histogram("request_generation_tokens", _TOKENS)
        self.timings = GenerationTimings(
            Gauge(
                "fortieth_requests_in_flight",
                "Generations that upstreams are working on",
                registry=self._registry,
            ),
            self._histogram("time_to_first_token_seconds", _SECONDS),
            self._histogram("inter_token_latency_seconds", _GAPS),
            self._counter("unconstrained_generations", _MODEL),
            self._histogram("request_queue_time_seconds", _SECONDS),
            self._histogram("request_prefill_time_seconds", _SECONDS),
            self._histogram("request_decode_time_seconds", _SECONDS),
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
        """Counts an HTTP response, whatever was asked for."""
        self._http.labels(str(status)).inc()

    def watch(self, upstream: Upstream) -> Upstream:
        """The same upstream, with its generations timed."""
        return TimedUpstream(upstream, self.timings)

    def show(self, collector: Collector) -> None:
        """Adds a collector, which is read at each scrape. To be called once for each."""
        self._registry.register(collector)

    def render(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def _counter(self, name: str, *labels: str) -> Counter:
        return Counter(f"fortieth_{name}", _HELP[name], labels, registry=self._registry)

    def _histogram(self, name: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"fortieth_{name}", _HELP[name], (_MODEL,), buckets=buckets, registry=self._registry)


class Judgements:
    """Counts what the guard found and did, apart from the verdict.

    counter: makes a counter from its name and labels.
    """

    def __init__(self, counter: Callable[..., Counter]) -> None:
        self._invalid = counter("invalid_calls_delivered", _MODEL, "mode")
        self._given_up = counter("given_up_turns", _MODEL, "give_up")
        self._handed_over = counter("handed_over_calls", _MODEL)
        self._turns = counter("call_turns", _MODEL, "verdict", "format", "from_turn")
        self._problems = counter("problems", _MODEL, "rule")
        self._reasks = counter("reasks", _MODEL, "verdict")
        self._empty = counter("empty_answers", _MODEL)
        self._repeated = counter("repetitions_stopped", _MODEL)

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
        if account.calls or account.verdict not in (Verdict.none, Verdict.unjudged):
            turn = str(bucket(account.turn))
            self._turns.labels(model, account.verdict.value, account.format, turn).inc()


@dataclass(slots=True)
class Pace:
    """What the page draws as curves.

    tokens: that came, of all generations.
    firsts: seconds to the first tokens that came last.
    begun: how many generations had one.
    """

    tokens: int = 0
    begun: int = 0
    firsts: deque[float] = field(default_factory=lambda: deque(maxlen=64))

    def first(self, seconds: float) -> None:
        self.begun += 1
        self.firsts.append(seconds)


@dataclass(frozen=True, slots=True)
class GenerationTimings:
    """The metrics that take the times of generations."""

    live: Gauge
    first: Histogram
    gap: Histogram
    unconstrained: Counter
    queue: Histogram
    prefill: Histogram
    decode: Histogram
    pace: Pace = field(default_factory=Pace)


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
            if isinstance(event, UpstreamStarted | UpstreamExtra):  # no token is known to be generated
                yield event
                continue
            now = time.monotonic()
            if isinstance(event, UpstreamFinish):
                self._finished(event)
            else:
                self._timings.pace.tokens += event.tokens
                if begun:
                    gaps.observe((now - self._last) / max(1, event.tokens))
                else:
                    begun = True
                    self._timings.first.labels(self._model).observe(now - self._last)
                    self._timings.pace.first(now - self._last)
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
    """An upstream whose generations are timed; everything else is passed on to it."""

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


ANSWERS = ("ready", *AT_REST)  # states of the engine in which requests are served
_GAUGES = {
    "num_requests_running": ("Requests with a place in the batch", "running"),
    "num_requests_waiting": ("Requests that wait for a place in the batch", "waiting"),
    "decode_batch_size_last": ("Sequences decoded in the last engine step", "batch_size"),
    "kv_cache_bytes": ("Bytes of the KV caches of running requests", "cache_bytes"),
    "engine_memory_bytes": ("Bytes of all MLX arrays", "memory_bytes"),
    "engine_resident_memory_bytes": ("Bytes of resident memory of the engine process", "rss_bytes"),
}
_COUNTERS = {
    "engine_restarts": ("Restarts of the engine process", "restarts"),
    "engine_step_faults": ("Engine steps that failed", "faults"),
    "engine_steps": ("Steps of the live engine process", "steps"),
    "prefill_tokens": ("Prompt tokens computed by the live engine process", "prefilled_tokens"),
    "decoded_tokens": ("Tokens decoded by the live engine process", "tokens_generated"),
    "constraint_failures": ("Grammars that failed during a generation", "constraint_failures"),
    "expired_requests": ("Requests that passed their deadline in the engine", "expired"),
}


class EngineCollector(Collector):
    """The engine's figures at the time of the scrape. Counters start over with the engine process."""

    def __init__(self, stats: Callable[[], EngineStats]) -> None:
        self._stats = stats

    def describe(self) -> list[Metric]:
        """An empty list: the names are not needed before the first scrape, when the engine is up."""
        return []

    def collect(self) -> Iterator[Metric]:
        stats = self._stats()
        yield GaugeMetricFamily(
            "fortieth_engine_up", "1 while the engine can serve requests", float(stats.state in ANSWERS)
        )
        yield GaugeMetricFamily(
            "fortieth_engine_resting",
            "1 while the engine process is ended for want of requests",
            float(stats.state == "resting"),
        )
        for name, (text, figure) in _GAUGES.items():
            yield GaugeMetricFamily(f"fortieth_{name}", text, float(getattr(stats, figure)))
        for name, (text, figure) in _COUNTERS.items():
            yield CounterMetricFamily(f"fortieth_{name}", text, float(getattr(stats, figure)))
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
