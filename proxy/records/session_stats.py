"""Statistics of the sessions seen last: tokens asked for, tokens reused, and what to do about misses."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

from engine.types import SessionInfo
from proxy.conversation.cache_report import CacheReport, MissCause
from proxy.records.request_record import RequestRecord

_CAPACITY = 1024

ADVICE = {
    MissCause.none: "",
    MissCause.cold: (
        "this was the first prompt of the conversation; --warm-prompts computes such beginnings ahead"
    ),
    MissCause.evicted: (
        "the prefix was evicted: raise cache_ram_gb, or give the cache a folder on disk (--cache-dir)"
    ),
    MissCause.ram: (
        "the conversation is larger than the cache's RAM: raise cache_ram_gb, "
        "or give the cache a folder on disk (--cache-dir)"
    ),
    MissCause.fingerprint: (
        "another model or another version of a library left this prefix: it is computed anew once"
    ),
    MissCause.late: (
        "the disk was slower than computing: put --cache-dir on a faster one, or raise cache_ram_gb"
    ),
    MissCause.boundary: (
        "the model's state cannot be cut where the prompt differs: it is kept at the ends of turns only"
    ),
    MissCause.tools: (
        "the tools, or whether they may be called, have changed: send the same with each request"
    ),
    MissCause.header: "header lines of the system message have changed: turn the rule header-line on",
    MissCause.line: (
        "an id or a time in the system message has changed: "
        "turn the rules system-ids and system-clock on, or put what changes into a later message"
    ),
    MissCause.system: "the system message has changed: put what changes into a later message",
    MissCause.hoisted: "a later system message was moved to the head: turn the rule system-in-place on",
    MissCause.reasoning: (
        "reasoning is missing from an answer: send it back; some templates drop that of earlier turns"
    ),
    MissCause.spelling: "an answer came back in another spelling: turn the rule own-turns on",
    MissCause.answer: (
        "an answer came back with another meaning: after a repaired call that happens once, "
        "where the client edits answers each time"
    ),
    MissCause.edit: (
        "the client changed or cut its history: a prefix is reused as far as the history is the same"
    ),
    MissCause.template: "the chat template writes earlier messages differently when later ones follow",
}


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session of one model.

    source: what named it.
    turn: the highest turn so far.
    prompt, cached, generated: tokens of all its requests.
    last_seen: seconds since the epoch.
    cache: the report of the last prompt.
    miss: the report of the last prompt that missed.
    """

    id: str
    model: str
    source: str
    requests: int = 0
    turn: int = 0
    prompt: int = 0
    cached: int = 0
    generated: int = 0
    drifted: bool = False
    last_seen: float = 0.0
    cache: CacheReport | None = None
    miss: CacheReport | None = None

    def after(self, account: RequestRecord, now: float) -> SessionRow:
        usage, report = account.usage, account.cache
        missed = report is not None and report.cause not in (MissCause.none, MissCause.cold)
        return replace(
            self,
            source=account.session_source,
            requests=self.requests + 1,
            turn=max(self.turn, account.turn),
            prompt=self.prompt + usage.prompt_tokens,
            cached=self.cached + usage.cached_tokens,
            generated=self.generated + usage.completion_tokens,
            drifted=account.drifted,
            last_seen=now,
            cache=report or self.cache,
            miss=report if missed else self.miss,
        )


class SessionStats:
    """A Sink that sums up records by session. Beyond `capacity` sessions the one seen longest ago is
    forgotten.
    """

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._capacity = capacity
        self._rows: OrderedDict[tuple[str, str], SessionRow] = OrderedDict()

    def record(self, account: RequestRecord) -> None:
        key = (account.model, account.session)
        row = self._rows.pop(key, None) or SessionRow(account.session, account.model, account.session_source)
        self._rows[key] = row.after(account, time.time())
        if len(self._rows) > self._capacity:
            self._rows.popitem(last=False)

    def forget(self, id: str) -> bool:
        """Forgets a session of whatever model; returns whether there was one."""
        keys = [key for key in self._rows if key[1] == id]
        for key in keys:
            del self._rows[key]
        return bool(keys)

    @property
    def rows(self) -> tuple[SessionRow, ...]:
        """The rows, the session seen last first."""
        return tuple(reversed(self._rows.values()))


def kept_object(kept: SessionInfo | None) -> dict[str, Any] | None:
    """What the engine keeps of a session, as JSON values."""
    if kept is None:
        return None
    return {
        "branches": kept.branches,
        "tokens": kept.tokens,
        "ram_bytes": kept.ram_bytes,
        "tier": kept.tier,
        "pinned": kept.pinned,
        "idle_s": round(kept.idle_s, 1),
    }


def row_object(row: SessionRow) -> dict[str, Any]:
    """The row as JSON values."""
    return {
        "object": "fortieth.session",
        "id": row.id,
        "model": row.model,
        "source": row.source,
        "turns": row.turn,
        "requests": row.requests,
        "prompt_tokens": row.prompt,
        "cached_tokens": row.cached,
        "completion_tokens": row.generated,
        "reuse": round(row.cached / row.prompt, 4) if row.prompt else 0.0,
        "drifted": row.drifted,
        "last_seen": round(row.last_seen, 3),
        "last": row.cache and report_object(row.cache),
        "last_miss": row.miss and report_object(row.miss),
    }


def report_object(report: CacheReport) -> dict[str, Any]:
    """The report as JSON values, with advice."""
    return {
        "tier": report.tier,
        "reused": report.reused,
        "total": report.total,
        "cause": report.cause.value,
        "advice": ADVICE[report.cause],
        "at": report.at,
        "message": report.message,
        "before": report.before,
        "now": report.now,
    }
