"""What every workload gives the run: conversations that are played turn by turn."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from corpora.world.base import Call
from proxy.ab.client import StreamedAnswer
from proxy.ab.judge import JudgedTurn


@dataclass(frozen=True, slots=True)
class DueRequest:
    """The next request of a conversation.

    messages, tools: in OpenAI's form.
    due: the calls that are right, in order, none where text is; None where it is not known.
    tool_turn: see MeasuredTurn.
    extra: further fields of the request.
    """

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]]
    due: tuple[Call, ...] | None
    tool_turn: int
    extra: Mapping[str, Any] = field(default_factory=dict)


class Dialogue(Protocol):
    """One conversation under way on one arm."""

    @property
    def independent(self) -> bool:
        """Whether the next request stays the same when this one fails."""
        ...

    def next(self) -> DueRequest | None:
        """The next request; None when the conversation is over."""
        ...

    def take(self, answer: StreamedAnswer, judged: JudgedTurn) -> None:
        """The answer to the request that next() gave; it is called once for each."""
        ...

    def tasks(self) -> tuple[int, int] | None:
        """How many tasks there are, and how many were done; None where the workload does not know."""
        ...


@dataclass(frozen=True, slots=True)
class WorkItem:
    """One conversation.

    seed: of the sampler, the same on every arm.
    turns: how many requests, about; for estimates.
    """

    key: str
    seed: int
    turns: int
    open: Callable[[], Dialogue]


@dataclass(frozen=True, slots=True)
class Workload:
    """The conversations of a run, in order. told: what it is, for the report. recorded: what a ledger said of
    the same turns, by the words of its table; empty elsewhere.
    """

    told: str
    items: tuple[WorkItem, ...]
    recorded: Mapping[str, int] = field(default_factory=dict)


def digest_of(items: Iterable[WorkItem]) -> str:
    """Tells workloads apart, by the keys, seeds and first requests of all conversations, and by all requests
    where they do not depend on answers. Raises RecursionError for a request that is nested too deep to be
    sent.
    """
    found = hashlib.sha256()
    for item in items:
        found.update(json.dumps([item.key, item.seed]).encode())
        dialogue = item.open()
        due = dialogue.next()
        while due is not None:
            found.update(json.dumps([due.messages, due.tools, due.extra]).encode())
            due = dialogue.next() if dialogue.independent else None
    return found.hexdigest()
