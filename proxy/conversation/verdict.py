"""What the guard made of a turn, and the ways in which it may act."""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """What the guard made of the turn, or in mode `observe` would have made of it.

    reasked: the model was asked again, and what it then said was delivered. failed: no call could be saved.
    """

    none = "none"
    clean = "clean"
    repaired = "repaired"
    reasked = "reasked"
    failed = "failed"


class GuardMode(StrEnum):
    """off: calls are handed over as the model emitted them. observe: so too, and judged for the record.
    repair: validated, and repaired where safe. full: what cannot be repaired is asked for again.
    constrain: full, and decoding is constrained to valid calls from the first attempt on.
    """

    off = "off"
    observe = "observe"
    repair = "repair"
    full = "full"
    constrain = "constrain"


class GiveUp(StrEnum):
    """What the client gets for calls that could not be saved. text: the model's own text, and in words what
    happened. error: an error that says what failed. client: the calls go out
    so that whoever validates refuses them and tells the model; where that is not certain, as text.
    passthrough: the calls as the model emitted them, whatever is wrong with them; else as text.
    """

    text = "text"
    error = "error"
    client = "client"
    passthrough = "passthrough"
