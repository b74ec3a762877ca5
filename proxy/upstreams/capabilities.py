"""What an upstream can do besides answering, as a value: no code asks what kind of upstream it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.types import EngineStats, SessionInfo
from proxy.conversation.request import ChatRequest
from proxy.prompts.think_time import Prefiller


class SessionKeeper(Protocol):
    """Keeps the prefixes of sessions. Each method raises EngineUnavailable."""

    async def sessions(self) -> Sequence[SessionInfo]: ...

    async def pin_session(self, id: str, pinned: bool = True) -> bool: ...

    async def drop_session(self, id: str) -> bool: ...

    def prefetch_session(self, id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Abilities of an upstream; None means that it lacks one.

    structured_calls: it can send calls otherwise than as text, so that a call in its text has leaked.
    constraint: it can hold what it decodes to a grammar.
    sessions: it keeps prefixes by session.
    prefiller: it computes prompts before they come.
    count_tokens: returns the tokens of the prompt that a request becomes; raises RequestError.
    stats: returns the figures of an engine of its own.
    """

    structured_calls: bool = False
    constraint: bool = False
    sessions: SessionKeeper | None = None
    prefiller: Prefiller | None = None
    count_tokens: Callable[[ChatRequest], Awaitable[int]] | None = None
    stats: Callable[[], EngineStats] | None = None
