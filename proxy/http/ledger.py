"""The ledger over HTTP: the answers to requests to /v1/fortieth/requests."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping
from typing import Any

from proxy.conversation.errors import BadRequest, NotFound, UpstreamUnavailable
from proxy.conversation.verdict import Verdict
from proxy.records.ledger import Entry, Ledger, find_entry, read_entries

_DEFAULT_LIMIT = 50
_MAX_LIMIT = 1000


async def list_requests(ledger: Ledger | None, query: Mapping[str, str]) -> dict[str, Any]:
    """The entries, newest first; with `after=ID`, later ones, oldest first; with `before=ID`, earlier ones.
    Raises RequestError.
    """
    kept = _there(ledger)
    limit = _number(query, "limit", _DEFAULT_LIMIT, _MAX_LIMIT)
    after, before = (_number(query, name, 0, 2**62) for name in ("after", "before"))
    model, session = query.get("model", ""), query.get("session", "")
    verdict = _verdict(query)

    def read() -> list[Entry]:
        entries = read_entries(
            kept.path,
            limit=limit,
            after=after,
            before=before,
            model=model,
            session=session,
            verdict=verdict,
        )
        return list(entries)

    try:
        entries = await asyncio.to_thread(read)
    except (OSError, sqlite3.Error) as error:
        raise UpstreamUnavailable(f"the ledger cannot be read: {error}") from error
    return {"object": "list", "data": [entry_object(one) for one in entries], "dropped": kept.dropped}


async def show_request(ledger: Ledger | None, id: str) -> dict[str, Any]:
    """The entry with this number or request id. Raises RequestError."""
    kept = _there(ledger)
    try:
        entry = await asyncio.to_thread(find_entry, kept.path, id)
    except (OSError, sqlite3.Error) as error:
        raise UpstreamUnavailable(f"the ledger cannot be read: {error}") from error
    if entry is None:
        raise NotFound(f"the ledger has no request {id[:80]!r}")
    return entry_object(entry)


def entry_object(entry: Entry) -> dict[str, Any]:
    """One entry as JSON values."""
    return {"object": "fortieth.request", "id": entry.id, "at": entry.at, **entry.record}


def _there(ledger: Ledger | None) -> Ledger:
    if ledger is None:
        raise NotFound("this server keeps no ledger: start it with --ledger PATH")
    return ledger


def _verdict(query: Mapping[str, str]) -> str:
    name = query.get("verdict", "")
    if name and name not in list(Verdict):
        raise BadRequest(f"verdict must be one of {', '.join(Verdict)}, got {name[:40]!r}", param="verdict")
    return name


def _number(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= most):
        raise BadRequest(f"{name} must be an integer in [0, {most}], got {text[:40]!r}", param=name)
    return int(text)
