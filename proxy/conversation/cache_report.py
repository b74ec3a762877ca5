"""What of a prompt was found in the prefix cache, and why the rest was not."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class MissCause(StrEnum):
    """Why a prompt had to be computed where an earlier one of its session could have been gone on from.

    none: it went on. cold: the first prompt of its conversation. The engine may not have had it any more:
    evicted, it had to let go; fingerprint, another model left it; late, the disk was too slow; boundary, this
    model's state cannot be cut where the prompts part. template: the same messages, written otherwise. The
    others name what changed in the request; edit: a message, or the history was cut. answer: one of ours
    came back with another meaning, as repaired ones do.
    """

    none = "none"
    cold = "cold"
    evicted = "evicted"
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
    """reused, total: tokens of the prompt; tier: where they were kept, ram, disk or none. For a miss, at: the
    first token that differs from the closest prompt of the session; message: the index of the first message
    that does, None where none; before and now: the text around that token, then and now.
    """

    reused: int
    total: int
    tier: str = "none"
    cause: MissCause = MissCause.none
    at: int | None = None
    message: int | None = None
    before: str = ""
    now: str = ""
