"""How much of a prompt came from the prefix cache, and why the rest did not."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class MissCause(StrEnum):
    """Why a prompt did not reuse all that it could have shared with an earlier one of its session.

    none: it reused all of that.
    cold: it is the first prompt of its conversation.

    The engine no longer had the prefix:
    evicted: the engine had to make room.
    ram: the conversation is larger than the engine's RAM for prefixes, and the disk has not got it.
    fingerprint: another model left the prefix.
    late: the disk was too slow.
    boundary: the model's state cannot be cut where the prompts differ.

    The request, or how it was written, has changed:
    tools: the tools, or whether they may be called.
    header: header lines at the head of the system message.
    line: an id or a time in the system message.
    system: anything else in the system message.
    hoisted: a later system message was moved to the head.
    reasoning: reasoning is missing from an answer.
    spelling: an answer was encoded from the client's spelling of it.
    answer: one of our answers came back with another meaning, as repaired ones do.
    edit: a message was changed, or the history was cut.
    template: the template wrote the same messages differently.
    """

    none = "none"
    cold = "cold"
    evicted = "evicted"
    ram = "ram"
    fingerprint = "fingerprint"
    late = "late"
    boundary = "boundary"
    tools = "tools-changed"
    header = "header-line"
    line = "changing-line"
    system = "system-changed"
    hoisted = "system-hoisted"
    reasoning = "reasoning"
    spelling = "spelling"
    answer = "answer-changed"
    edit = "foreign-edit"
    template = "template"


@dataclass(frozen=True, slots=True)
class CacheReport:
    """What the prefix cache did for one prompt.

    reused, total: tokens of the prompt.
    tier: where the reused tokens were kept: ram, disk or none.
    cause: why no more was reused.
    at: the first token that differs from the closest prompt of the session.
    message: the index of the first message that differs; None where none does.
    before, now: the text around that token, in the earlier prompt and in this one.
    """

    reused: int
    total: int
    tier: str = "none"
    cause: MissCause = MissCause.none
    at: int | None = None
    message: int | None = None
    before: str = ""
    now: str = ""
