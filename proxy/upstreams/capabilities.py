"""What an upstream can do besides answering, as a value: no code asks what kind of upstream it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


class Tokenizer(Protocol):
    """Knows the model's tokens. Each method raises RequestError."""

    async def tokenize(self, request: ChatRequest) -> tuple[int, ...]:
        """The tokens of the prompt that the request becomes."""
        ...

    async def detokenize(self, tokens: tuple[int, ...]) -> str:
        """Their text, special tokens included."""
        ...

    async def spell(self, tokens: tuple[int, ...]) -> tuple[str, ...]:
        """Each token as the vocabulary writes it."""
        ...


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Abilities of an upstream; None means that it lacks one.

    structured_calls: it can send calls otherwise than as text, so that a call in its text has leaked.
    constraint: it can hold what it decodes to a grammar.
    hosted_tools: its provider may execute tools itself.
    sessions: it keeps prefixes by session.
    prefiller: it computes prompts before they come.
    tokenizer: it tells the tokens of prompts, and their text.
    stats: returns the figures of an engine of its own.
    measure: raises ContextTooLong for a request that is certain to be too long, by its size alone, so that
        nothing need be made of it.
    """

    structured_calls: bool = False
    constraint: bool = False
    hosted_tools: bool = False
    sessions: SessionKeeper | None = None
    prefiller: Prefiller | None = None
    tokenizer: Tokenizer | None = None
    stats: Callable[[], EngineStats] | None = None
    measure: Callable[[ChatRequest], None] | None = None
