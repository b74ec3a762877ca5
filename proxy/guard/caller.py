"""What a request's headers say to the guard: mode, give-up, session, request id."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from proxy.codecs.verdict import GIVE_UP_HEADER
from proxy.conversation.errors import BadRequest
from proxy.conversation.message import Role
from proxy.conversation.request import UNNAMED, ChatRequest, SessionId
from proxy.conversation.session_id import from_headers
from proxy.conversation.verdict import GiveUp, GuardMode

GUARD_HEADER = "x-fortieth-guard"

E = TypeVar("E", bound=StrEnum)


def new_call_id() -> str:
    return f"call_{secrets.token_hex(12)}"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request, as its headers tell.

    mode, give_up: asked for in the headers, None where they say nothing.
    session: the session's name in the headers.
    request_id: the client's own, or "".
    until: when the request's time is up, on the event loop's clock.
    call_id: makes the ids of calls.
    """

    mode: GuardMode | None = None
    session: SessionId = UNNAMED
    request_id: str = ""
    until: float | None = None
    give_up: GiveUp | None = None
    call_id: Callable[[], str] = new_call_id


NOBODY = Caller()


def read_caller(
    headers: Mapping[str, str], until: float | None = None, call_id: Callable[[], str] = new_call_id
) -> Caller:
    """Reads a request's headers. headers: names in lower case. Raises BadRequest for an unknown mode."""
    return Caller(
        _choice(headers, GUARD_HEADER, GuardMode),
        from_headers(headers),
        headers.get("x-request-id", ""),
        until,
        _choice(headers, GIVE_UP_HEADER, GiveUp),
        call_id,
    )


def _choice(headers: Mapping[str, str], header: str, choices: type[E]) -> E | None:
    value = headers.get(header, "")
    wanted = value.strip().lower()
    if not wanted:
        return None
    if wanted not in list(choices):
        known = ", ".join(choices)
        raise BadRequest(f"{header} must be one of {known}, got {value[:40]!r}", param=header)
    return choices(wanted)


def turn_of(request: ChatRequest) -> int:
    """The number of the turn that is asked for, from 1: one more than the history has answers."""
    return 1 + sum(message.role is Role.assistant for message in request.messages)
