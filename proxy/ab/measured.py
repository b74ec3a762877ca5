"""What is kept of each turn and of each conversation of an A/B run."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any


class Delivered(StrEnum):
    """What a client got in one turn.

    valid: calls, all of which their schemas allow.
    invalid: a call that its schema, or the list of tools, does not allow.
    unreadable: a call whose arguments are not JSON.
    call_text: text that was meant as a call.
    lost: the finish reason says that there are calls, and there are none.
    cut: the token limit ended the turn before there was a call.
    none: text without a call.
    error: the server refused the request, or its stream broke off.
    """

    valid = "valid"
    invalid = "invalid"
    unreadable = "unreadable"
    call_text = "call text"
    lost = "lost"
    cut = "cut"
    none = "none"
    error = "error"


#: a turn like this ends an agent's run, or sends it astray
BROKEN = frozenset({Delivered.invalid, Delivered.unreadable, Delivered.call_text, Delivered.lost})


@dataclass(frozen=True, slots=True)
class MeasuredTurn:
    """One turn. Times are seconds.

    arm: its label.
    streams: how many conversations ran at a time.
    item: the conversation's key.
    number: the request's number in its conversation, from 1.
    tool_turn: the number of the tool turn, from 1; of a turn in which no call is due, that of the one before.
    call_due: whether a call was due; None where the workload does not know.
    exact: whether the calls are those that were due; None where the workload does not know.
    started: seconds since the epoch.
    ttft: to the first text, reasoning or call; None where none came.
    gap, longest_gap: between two pieces of the answer, the median and the longest; None with fewer than two.
    attempts: how often the server asked its model, where it tells; the judge does not see it.
    example: the answer as it came and what is wrong with it, where something is; "" elsewhere.
    """

    arm: str
    streams: int
    item: str
    number: int
    tool_turn: int
    call_due: bool | None
    delivered: Delivered
    flaw: str
    exact: bool | None
    started: float
    ttft: float | None
    seconds: float
    gap: float | None = None
    longest_gap: float | None = None
    pieces: int = 0
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    attempts: int | None = None
    finish: str = ""
    example: str = ""

    @property
    def broken(self) -> bool:
        return self.delivered in BROKEN

    @property
    def usable(self) -> bool:
        """Whether an agent can go on from it."""
        return not self.broken and self.delivered is not Delivered.error


@dataclass(frozen=True, slots=True)
class MeasuredItem:
    """One conversation that was played to its end on one arm.

    round: the number of the round of conversations that ran at the same time on each arm in turn, from 0.
    ended: `done`, `context` (it outgrew the model) or `failed`.
    reason: why it ended early; "" where it did not.
    tasks, tasks_done: None where the workload does not know.
    """

    arm: str
    streams: int
    item: str
    round: int
    started: float
    seconds: float
    ended: str
    reason: str = ""
    tasks: int | None = None
    tasks_done: int | None = None


@dataclass(frozen=True, slots=True)
class MeasuredMemory:
    """Bytes of RAM that the processes of an arm's server held. at: seconds since the epoch."""

    arm: str
    at: float
    bytes: int


@dataclass(frozen=True, slots=True)
class Results:
    """All that was measured. Only conversations that were played to their end are in it."""

    turns: tuple[MeasuredTurn, ...] = ()
    items: tuple[MeasuredItem, ...] = ()
    memory: tuple[MeasuredMemory, ...] = ()

    def turns_of(self, arm: str, streams: int) -> tuple[MeasuredTurn, ...]:
        return tuple(turn for turn in self.turns if turn.arm == arm and turn.streams == streams)

    def items_of(self, arm: str, streams: int) -> tuple[MeasuredItem, ...]:
        return tuple(item for item in self.items if item.arm == arm and item.streams == streams)

    @property
    def levels(self) -> tuple[int, ...]:
        """The numbers of conversations at a time, in ascending order."""
        return tuple(sorted({item.streams for item in self.items}))


def to_row(value: MeasuredTurn | MeasuredItem | MeasuredMemory) -> dict[str, Any]:
    """The fields as values that JSON, CSV and SQLite can hold."""
    row = {one.name: getattr(value, one.name) for one in fields(value)}
    return {name: str(held) if isinstance(held, StrEnum) else held for name, held in row.items()}


def read_turn(row: dict[str, Any]) -> MeasuredTurn:
    """The turn of a row of to_row(). Truth values may be 0 and 1."""
    truths = {name: None if row[name] is None else bool(row[name]) for name in ("call_due", "exact")}
    return MeasuredTurn(**{**row, **truths, "delivered": Delivered(row["delivered"])})
