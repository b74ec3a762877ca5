"""What the page shows, as JSON values: the model, samples of the machine, requests, sessions."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from engine.types import CacheStats, EngineStats
from proxy import __version__
from proxy.conversation.model_card import ModelCard
from proxy.guard.guard import Guard
from proxy.records.activity import Activity, EndedRequest, RunningRequest
from proxy.records.ledger import to_record
from proxy.records.metrics import Pace
from proxy.records.session_stats import SessionStats, kept_object, row_object
from proxy.upstreams.base import Upstream

# Of all sessions, those seen last.
SESSIONS = 50
# Times to a first token in one sample; of more the newest.
_FIRSTS = 32
_CACHE = (
    "ram_bytes",
    "ram_budget",
    "disk_bytes",
    "disk_limit",
    "segments",
    "stored",
    "from_ram",
    "from_disk",
    "from_nothing",
    "reused_tokens",
    "prompt_tokens",
    "evicted",
    "evicted_disk",
    "readonly",
)


@dataclass(frozen=True, slots=True)
class PageSources:
    """Where the figures come from.

    keeps_ledger: the ledger can be read over HTTP.
    redact: what models and clients wrote is left out.
    """

    guard: Guard
    pace: Pace
    session_stats: SessionStats
    keeps_ledger: bool = False
    redact: bool = False

    @property
    def activity(self) -> Activity:
        return self.guard.activity

    @property
    def upstream(self) -> Upstream:
        return self.guard.upstream


def server_object(sources: PageSources) -> dict[str, Any]:
    """What does not change while a server runs."""
    return {
        "version": __version__,
        "mode": sources.guard.policy.mode.value,
        "ledger": sources.keeps_ledger,
        "models": [_card_object(card) for card in sources.upstream.models],
    }


def _card_object(card: ModelCard) -> dict[str, Any]:
    return {"id": card.id, "context": card.context_length, "family": card.family, "format": card.format}


class Sampler:
    """Makes one sample after the other. Rates are since the last one.

    clock: in seconds, steady.
    """

    def __init__(self, sources: PageSources, clock: Callable[[], float] = time.monotonic) -> None:
        self._sources = sources
        self._clock = clock
        self._at = clock()
        self._tokens = sources.pace.tokens
        self._begun = sources.pace.begun

    def sample(self) -> dict[str, Any]:
        """at: seconds since the epoch. tokens_s: tokens a second of all answers. ttft: seconds to each first
        token since the last sample.
        """
        pace, now = self._sources.pace, self._clock()
        seconds = max(now - self._at, 1e-3)
        rate = (pace.tokens - self._tokens) / seconds
        fresh = min(pace.begun - self._begun, len(pace.firsts), _FIRSTS)
        firsts = list(pace.firsts)[len(pace.firsts) - fresh :]
        self._at, self._tokens, self._begun = now, pace.tokens, pace.begun
        return {
            "at": round(time.time(), 2),
            "tokens_s": round(rate, 1),
            "ttft": [round(first, 4) for first in firsts],
            "running": len(self._sources.activity.running),
        }


def totals_object(sources: PageSources) -> dict[str, Any]:
    totals = sources.activity.totals
    return {one.name: getattr(totals, one.name) for one in fields(totals)}


def engine_object(sources: PageSources) -> dict[str, Any] | None:
    """The figures of an engine of the server's own, and of its prefix cache; None where there is none."""
    stats = sources.upstream.capabilities.stats
    if stats is None:
        return None
    told: EngineStats = stats()
    cache: CacheStats = told.cache
    return {
        "state": told.state,
        "running": told.running,
        "waiting": told.waiting,
        "restarts": told.restarts,
        "memory_bytes": told.memory_bytes,
        "cache": {name: getattr(cache, name) for name in _CACHE},
    }


def running_object(one: RunningRequest) -> dict[str, Any]:
    return {
        "number": one.number,
        "at": round(one.at, 2),
        "request_id": one.request_id,
        "model": one.model,
        "session": one.session,
        "turn": one.turn,
        "stream": one.stream,
        "phase": one.phase.value,
    }


def ended_object(one: EndedRequest, redact: bool) -> dict[str, Any]:
    """As an entry of the ledger has it, but for the number, which is the page's own."""
    return {"number": one.number, "at": round(one.at, 3), **to_record(one.record, redact)}


def session_objects(sources: PageSources, kept: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The sessions seen last. kept: what the engine keeps of a session, by its id."""
    rows = sources.session_stats.rows[:SESSIONS]
    told = [{**row_object(row), "cache": kept_object(kept.get(row.id))} for row in rows]
    if sources.redact:
        for row in told:
            for report in (row["last"], row["last_miss"]):
                if report:
                    report["before"] = report["now"] = ""
    return told


def encoded(value: Any) -> str:
    """JSON in ASCII: texts of models may hold halves of surrogate pairs, which no UTF-8 can."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))
