"""Which agent session a request belongs to: by header, by body, else by how its conversation begins."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from proxy.conversation.message import Role
from proxy.conversation.request import UNNAMED, ChatRequest, SessionId
from proxy.conversation.volatile import without_volatile

# The headers by which known agents name their session, the surest first. Each has the header that names a
# subagent of the session, if there is one.
SESSION_HEADERS = (
    ("x-claude-code-session-id", "x-claude-code-agent-id"),
    ("session-id", ""),
    ("session_id", ""),
    ("x-session-id", ""),
    ("x-session-affinity", ""),
    ("x-affinity", ""),
    ("x-litellm-session-id", ""),
    ("x-openwebui-chat-id", ""),
)
CACHE_KEY = "prompt_cache_key"
USER_ID = "metadata.user_id"
USER = "user"
_MAX_CHARS = 256
# Of a long message its length and so much of its beginning tell the session. To look through all of it would
# take seconds.
_TEXT_BEGINNING = 65_536
# Of a prompt without messages, how much of its beginning tells the session.
_RAW_BEGINNING = 256


def from_headers(headers: Mapping[str, str]) -> SessionId:
    """The session that a known header names, else UNNAMED. headers: names in lower case."""
    for name, branch in SESSION_HEADERS:
        value = headers.get(name, "").strip()
        if value:
            agent = headers.get(branch, "").strip() if branch else ""
            return SessionId(_bounded(f"{value}/{agent}" if agent else value), name)
    return UNNAMED


def from_body(body: Mapping[str, Any]) -> SessionId:
    """The session that the body names, else UNNAMED; a value of a wrong type names none.

    A JSON object in `metadata.user_id` is how one agent sends its session_id. Other text there, like `user`,
    names a user, who may have several sessions.
    """
    metadata = body.get("metadata")
    user_id = metadata.get("user_id") if isinstance(metadata, dict) else None
    session = _session_in(user_id)
    for source, value in (
        (CACHE_KEY, body.get(CACHE_KEY)),
        (USER_ID, session),
        (USER, None if session else user_id),
        (USER, body.get(USER)),
    ):
        if isinstance(value, str) and value.strip():
            return SessionId(_bounded(value.strip()), source)
    return UNNAMED


def _beginning(text: str) -> str:
    return text if len(text) <= _TEXT_BEGINNING else f"{text[:_TEXT_BEGINNING]}\0{len(text)}"


def _session_in(user_id: Any) -> str:
    try:
        value = json.loads(user_id) if isinstance(user_id, str) else None
    except (ValueError, RecursionError):
        return ""
    session = value.get("session_id") if isinstance(value, dict) else None
    return session if isinstance(session, str) else ""


def _bounded(value: str) -> str:
    """The id; of a long one its digest, so that two long ids do not become one."""
    return value if len(value) <= _MAX_CHARS else hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()


def identify(request: ChatRequest, by_headers: SessionId = UNNAMED) -> SessionId:
    """The session of a request: by header, else by the body, else by the conversation's prefix. The sessions
    of a user are told by both.
    """
    if by_headers.id:
        return by_headers
    named = request.session
    if named.source == USER:
        return SessionId(f"{named.id}/{prefix_of(request)}", USER)
    return named if named.id else SessionId(prefix_of(request), UNNAMED.source)


def prefix_of(request: ChatRequest) -> str:
    """The digest of what every turn of a loop begins with: the system messages and the user's first message.

    What changes from turn to turn in a system message does not count. Neither do tools: agents add some on
    the way, and compact their history without any.
    """
    digest = hashlib.sha256()
    if request.raw is not None:
        digest.update(repr(request.raw.content[:_RAW_BEGINNING]).encode("utf-8", "replace"))
    for message in request.messages:
        text = _beginning(message.text)
        if message.role is Role.system:
            text = without_volatile(text)
        elif message.role is Role.assistant:
            break
        digest.update(f"{message.role}\0{text}\0".encode("utf-8", "replace"))
        if message.role is Role.user:
            break
    return digest.hexdigest()[:32]
