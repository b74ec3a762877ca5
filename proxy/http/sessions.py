"""Sessions over HTTP: the answers to requests to /v1/fortieth/sessions."""

from __future__ import annotations

import contextlib
from typing import Any

from engine.errors import EngineUnavailable
from engine.types import SessionInfo
from proxy.conversation.errors import NotFound, UpstreamUnavailable
from proxy.conversation.request import ChatRequest
from proxy.prompts.think_time import Prefiller
from proxy.records.session_stats import SessionStats, kept_object, row_object
from proxy.upstreams.capabilities import SessionKeeper


async def list_sessions(session_stats: SessionStats, keeper: SessionKeeper | None) -> dict[str, Any]:
    """All sessions, the one seen last first. `cache` is what the engine keeps of a session, null where that
    is not known.
    """
    kept: dict[str, SessionInfo] = {}
    if keeper is not None:
        with contextlib.suppress(EngineUnavailable):  # everything else is known all the same
            kept = {one.id: one for one in await keeper.sessions()}
    rows = [{**row_object(row), "cache": kept_object(kept.get(row.id))} for row in session_stats.rows]
    return {"object": "list", "data": rows}


async def pin_session(keeper: SessionKeeper | None, id: str, pinned: bool) -> dict[str, Any]:
    """Pins or unpins a session. Raises NotFound where the engine keeps nothing of it."""
    if not await _ask(keeper, "pin" if pinned else "unpin", id):
        raise NotFound(f"nothing is kept of session {id[:80]!r}")
    return {"object": "fortieth.session", "id": id, "pinned": pinned}


async def drop_session(session_stats: SessionStats, keeper: SessionKeeper | None, id: str) -> dict[str, Any]:
    """Deletes a session. Raises NotFound where nobody knows it."""
    dropped = await _ask(keeper, "drop", id) if keeper is not None else False
    if not (session_stats.forget(id) or dropped):
        raise NotFound(f"there is no session {id[:80]!r}")
    return {"object": "fortieth.session", "id": id, "deleted": True}


async def warm_one(prefiller: Prefiller | None, request: ChatRequest) -> dict[str, Any]:
    """Computes a prompt's beginning. Raises RequestError; NotFound where there is no engine to keep it."""
    if prefiller is None:
        raise NotFound("this server's upstream keeps no prefixes")
    done = await prefiller.warm(request)
    return {"object": "fortieth.warmed", "tokens": done.prompt_tokens - 1, "cached": done.cached_tokens}


async def _ask(keeper: SessionKeeper | None, action: str, id: str) -> bool:
    if keeper is None:
        raise NotFound("this server's upstream keeps no prefixes")
    try:
        if action == "drop":
            return await keeper.drop_session(id)
        return await keeper.pin_session(id, action == "pin")
    except EngineUnavailable as error:
        raise UpstreamUnavailable(str(error)) from error
