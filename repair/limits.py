"""Every bound of the package, in one place. Text beyond a bound is refused, never cut."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """call_chars: one call's body. nesting: containers inside one another. calls: of one turn.

    tools: of one request. name_chars: a tool's name in the text. proposal_chars: bodies that are
    handed to json-repair, which is not linear on hostile input. candidates: closing markers that
    are tried when a broken body holds several. problems: reported per call.
    """

    call_chars: int = 4_000_000
    nesting: int = 100
    calls: int = 128
    tools: int = 1024
    name_chars: int = 256
    proposal_chars: int = 20_000
    candidates: int = 8
    problems: int = 20
    coercions: int = 20_000


LIMITS = Limits()
