"""The verdicts of the guard on a turn, its modes, and the ways of giving up."""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """What the guard made of the turn, or in mode `observe` would have made of it.

    none: the turn holds no call.
    unjudged: the guard is off, and tools may be called: whatever was called, nothing was looked at.
    clean: all calls were valid as emitted.
    repaired: all calls are valid after repairs.
    reasked: the model was asked again, and what it then said was delivered.
    failed: no call could be saved.
    """

    none = "none"
    unjudged = "unjudged"
    clean = "clean"
    repaired = "repaired"
    reasked = "reasked"
    failed = "failed"


class GuardMode(StrEnum):
    """How the guard treats calls.

    off: calls are passed on as the model emitted them.
    observe: as off, but calls are judged for the record.
    repair: calls are validated, and repaired where that is safe.
    full: calls that cannot be repaired are asked for again.
    constrain: as full, and decoding is constrained to valid calls from the first attempt on.
    """

    off = "off"
    observe = "observe"
    repair = "repair"
    full = "full"
    constrain = "constrain"


class GiveUp(StrEnum):
    """What the client gets for calls that could not be saved.

    text: the model's own text, and what happened in words.
    error: an error that says what failed.
    client: the calls, in a form that a validating client refuses and tells the model; where that is not
        certain, text.
    passthrough: the calls as the model emitted them, whatever is wrong with them; else text.
    """

    text = "text"
    error = "error"
    client = "client"
    passthrough = "passthrough"
