"""The workload of a ledger: the conversations of a server's clients, as the server's ledger has kept them."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from proxy.ab.recorded import RecordedRequest, to_items
from proxy.ab.workload import Workload
from proxy.codecs.base import Operation
from proxy.codecs.registry import CODECS
from proxy.conversation.errors import RequestError, StartError
from proxy.conversation.request import ChatRequest
from proxy.records.kept_requests import KeptRequest, RecordedEntry, read_requests
from proxy.upstreams.remote.mapping import completion_params

# Of a request in OpenAI's form: what the run itself says of every request.
_OWN = (
    "messages",
    "tools",
    "stream",
    "stream_options",
    "temperature",
    "seed",
    "max_tokens",
    "max_completion_tokens",
)


def ledger_workload(path: Path) -> Workload:
    """The conversations of a ledger, told apart by their sessions; and what the ledger says of their turns.

    Raises StartError where there are none.
    """
    lines: list[list[RecordedRequest]] = []
    said: Counter[str] = Counter()
    left_out = 0
    try:
        for entry in read_requests(path):
            request = _decoded(entry.request)
            if request is None or request.raw is not None or not request.messages:
                left_out += 1
                continue
            lines.append([_recorded(request, entry)])
            said.update(_said(entry))
    except (sqlite3.Error, OSError, ValueError) as error:
        raise StartError(f"{path} cannot be read as a ledger: {error}") from error
    items = to_items(lines)
    if not items:
        raise StartError(
            f"{path} holds no request that can be replayed: a server keeps them with ledger_requests = true"
        )
    told = f"{len(items)} sessions with {len(lines)} requests of the ledger {path.name}"
    return Workload(told + (f", {left_out} requests left out" if left_out else ""), items, dict(said))


def _decoded(kept: KeptRequest) -> ChatRequest | None:
    """The request, as the codec of its path reads it; None where it cannot be read alone."""
    for codec in CODECS:
        for route in codec.routes:
            if route.operation is Operation.answer and route.path == kept.path:
                try:
                    return codec.decode(kept.body).request
                except RequestError:
                    return None
    return None


def _recorded(request: ChatRequest, entry: RecordedEntry) -> RecordedRequest:
    params = completion_params(request, open_server=True)
    extra = {name: value for name, value in params.items() if name not in _OWN and name != "extra_body"}
    return RecordedRequest(tuple(params["messages"]), tuple(params.get("tools", ())), extra, entry.session)


def _said(entry: RecordedEntry) -> Mapping[str, int]:
    """The figures of one record."""
    record: dict[str, Any] = json.loads(entry.record)
    return {
        "requests": 1,
        f"requests with the verdict {entry.verdict}": 1,
        "calls delivered": int(record.get("calls") or 0),
        "calls delivered against their schemas": int(record.get("invalid") or 0)
        + int(record.get("handed_over") or 0),
        "prompt tokens": int((record.get("usage") or {}).get("prompt_tokens") or 0),
    }
