"""Every bound of the package, in one place. Text beyond a bound is refused, never cut."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the package.

    call_chars: characters of one call's body.
    nesting: containers inside one another.
    branching: the same under a schema with references inside `anyOf` or `oneOf`, where validation may cost 2
        to the power of the nesting.
    calls: calls of one turn.
    tools: tools of one request.
    proposal_chars: characters of a body that is handed to json-repair, which is not linear on hostile input.
    problems: problems reported for one call.
    coercions: nodes visited for one call (branches of `anyOf` multiply).
    attempt_chars: the beginning of a message that is searched for a call in broken markers.
    repeats: equal calls in a row before the next one is a loop.
    """

    call_chars: int = 4_000_000
    nesting: int = 100
    branching: int = 16
    calls: int = 128
    tools: int = 1024
    proposal_chars: int = 20_000
    problems: int = 20
    coercions: int = 20_000
    attempt_chars: int = 600
    repeats: int = 4


LIMITS = Limits()
