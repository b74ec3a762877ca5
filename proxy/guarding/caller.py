"""Who asks: what a request's headers say to the guard, and which agent session the request belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from proxy.chat import ChatRequest, GuardMode, Role
from proxy.errors import BadRequest

GUARD_HEADER = "x-fortieth-guard"
# The headers by which known agents name their session, the surest first, and the one that names a branch.
_SESSION_HEADERS = (
    ("x-claude-code-session-id", "x-claude-code-agent-id"),
    ("session-id", ""),
    ("session_id", ""),
    ("x-session-id", ""),
    ("x-session-affinity", ""),
    ("x-affinity", ""),
    ("x-litellm-session-id", ""),
    ("x-openwebui-chat-id", ""),
)
_MAX_CHARS = 256


@dataclass(frozen=True, slots=True)
class Caller:
    """mode: asked for in the request's header, None where it says nothing. session: as the headers name it,
    or "". request_id: the client's own or "".
    """

    mode: GuardMode | None = None
    session: str = ""
    request_id: str = ""


NOBODY = Caller()


def read_caller(headers: Mapping[str, str]) -> Caller:
    """headers: names in lower case. Raises BadRequest for a mode that does not exist."""
    return Caller(_mode(headers.get(GUARD_HEADER, "")), _session(headers), headers.get("x-request-id", ""))


def _mode(value: str) -> GuardMode | None:
    wanted = value.strip().lower()
    if not wanted:
        return None
    if wanted not in list(GuardMode):
        known = ", ".join(GuardMode)
        raise BadRequest(f"{GUARD_HEADER} must be one of {known}, got {value[:40]!r}", param=GUARD_HEADER)
    return GuardMode(wanted)


def _session(headers: Mapping[str, str]) -> str:
    for name, branch in _SESSION_HEADERS:
        value = headers.get(name, "")
        if value:
            return f"{value}/{headers.get(branch, '')}"[:_MAX_CHARS] if branch else value[:_MAX_CHARS]
    return ""


def session_of(request: ChatRequest, caller: Caller) -> str:
    """The session's id by header, else by the body's hint, else by how the conversation begins: what stands
    before the first answer is the same in every turn of a loop.
    """
    if caller.session or request.session_hint:
        return caller.session or request.session_hint[:_MAX_CHARS]
    digest = hashlib.sha256()
    for message in request.messages:
        if message.role is Role.assistant:
            break
        digest.update(f"{message.role}\0{message.text}\0".encode("utf-8", "replace"))
    return digest.hexdigest()[:32]


def turn_of(request: ChatRequest) -> int:
    """The number of the turn that is asked for, from 1: the answers of the history, and one."""
    return 1 + sum(message.role is Role.assistant for message in request.messages)
