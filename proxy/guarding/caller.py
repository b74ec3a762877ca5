"""Who asks: what a request's headers say to the guard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.chat import UNNAMED, ChatRequest, GuardMode, Role, SessionId
from proxy.errors import BadRequest
from proxy.sessions.identity import from_headers

GUARD_HEADER = "x-fortieth-guard"


@dataclass(frozen=True, slots=True)
class Caller:
    """mode: asked for in the request's header, None where it says nothing. session: as the headers name it.
    request_id: the client's own or "". until: when the request's time is up, on the event loop's clock.
    """

    mode: GuardMode | None = None
    session: SessionId = UNNAMED
    request_id: str = ""
    until: float | None = None


NOBODY = Caller()


def read_caller(headers: Mapping[str, str], until: float | None = None) -> Caller:
    """headers: names in lower case. Raises BadRequest for a mode that does not exist."""
    return Caller(
        _mode(headers.get(GUARD_HEADER, "")), from_headers(headers), headers.get("x-request-id", ""), until
    )


def _mode(value: str) -> GuardMode | None:
    wanted = value.strip().lower()
    if not wanted:
        return None
    if wanted not in list(GuardMode):
        known = ", ".join(GuardMode)
        raise BadRequest(f"{GUARD_HEADER} must be one of {known}, got {value[:40]!r}", param=GUARD_HEADER)
    return GuardMode(wanted)


def turn_of(request: ChatRequest) -> int:
    """The number of the turn that is asked for, from 1: the answers of the history, and one."""
    return 1 + sum(message.role is Role.assistant for message in request.messages)
