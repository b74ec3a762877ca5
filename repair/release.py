"""Decides when a streamed call may be sent: when no text that may still follow can change what it is.

A region is certain if it was read from left to right without a change, and its end was seen. The strict and
the tolerant reader look at nothing after the value that they read, and an end marker in its due place ends
the region whatever comes. Everything else (broken JSON, whose end is searched for; lost or doubled markers;
prose inside an envelope) depends on the rest of the turn.
"""

from __future__ import annotations

import functools
import re
from enum import Enum

from repair.formats import NAMED_OPENERS, is_unmarked, region_ends
from repair.formats.harmony import NAME as HARMONY
from repair.formats.step3 import NAME as STEP3
from repair.formats.step3 import SECTION, SECTION_END
from repair.lenient import Reading, read_value
from repair.regions import Format, Region, skip_space
from repair.strict import decode_strict
from repair.types import Body, RawCall


class Certainty(Enum):
    """What a region is before its turn has ended. soon: the next character after it decides."""

    yes = "yes"
    soon = "soon"
    no = "no"


def judge_release(text: str, region: Region, form: Format, inside: bool = False) -> Certainty:
    """Whether `region`, read by `form` from a text that may go on, is certain. inside: it is the rest of a
    section that was opened before.
    """
    if not region.closed or any(one.fixes or one.problems for one in region.calls):
        return Certainty.no
    if not region.calls or not all(is_read(one) for one in region.calls):
        return Certainty.no
    raw = text[region.start : region.end]
    opened = raw.startswith(SECTION) or (inside and form.NAME == STEP3)
    if opened and not raw.endswith(SECTION_END):
        return Certainty.no
    after = skip_space(text, region.end)
    if form.NAME == HARMONY and raw.endswith(form.CLOSERS):
        behind = text[after : after + 1]
        return Certainty.soon if not behind else Certainty.no if behind in "\"':," else Certainty.yes
    if raw.endswith(region_ends(form)):
        return Certainty.yes
    if is_unmarked(form) and text.startswith(_next_openers(form), after):
        return Certainty.yes
    return Certainty.no


def is_read(call: RawCall) -> bool:
    """Whether the body was read as it is, so that its end was not searched for."""
    if call.body is Body.tree or call.strict:
        return True
    try:
        _, end = decode_strict(call.text)
    except ValueError:
        reading = read_value(call.text)
        return isinstance(reading, Reading) and reading.end == len(call.text)
    return end == len(call.text)


def _next_openers(form: Format) -> tuple[str, ...]:
    before, _ = NAMED_OPENERS.get(form.NAME, ("", ""))
    return (*form.OPENERS, *((before,) if before else ()))


@functools.lru_cache(maxsize=256)
def _any_of(literals: tuple[str, ...]) -> re.Pattern[str]:
    ordered = sorted(set(literals), key=lambda one: (-len(one), one))
    return re.compile("|".join(re.escape(one) for one in ordered) or r"(?!)")


def possible_ends(formats: tuple[Format, ...]) -> re.Pattern[str]:
    """Literals without which no region of `formats` becomes certain."""
    literals: list[str] = []
    for one in formats:
        literals += region_ends(one)
        literals += _next_openers(one) if is_unmarked(one) else ()
    return _any_of(tuple(literals))


ANYTHING = re.compile(r"\S")
NOTHING = re.compile(r"(?!)")
_TRIES = 8
_OVERLAP = 80  # more than the longest marker


class Wait:
    """Text that waits for what decides about it: a match of `wanted` in what arrives.

    The number of fruitless looks at the whole is limited: after a few, the text must have doubled. So all of
    them together cost no more than a few times the text, however small the pieces.
    """

    def __init__(self, text: str, wanted: re.Pattern[str], before: Wait | None = None) -> None:
        self._pieces = [text]
        self._size = len(text)
        self._wanted = wanted
        again = before is not None and before._wanted is wanted
        self._tries: int = before._tries + 1 if again and before else 0
        self._tried = self._size
        self._tail = self._unmatched(text)
        self._seen = False

    def _unmatched(self, text: str) -> str:
        """The end of `text` in which a match may have begun, and whether there was one before it."""
        at = 0
        for found in self._wanted.finditer(text):
            at, self._seen = found.end(), True
        return text[max(at, len(text) - _OVERLAP) :]

    def add(self, piece: str) -> bool:
        """Adds a piece; returns whether it is time to look at the text again."""
        self._pieces.append(piece)
        self._size += len(piece)
        self._tail = self._unmatched(self._tail + piece)
        return self._seen and (self._tries < _TRIES or self._size >= 2 * self._tried)

    def text(self) -> str:
        return "".join(self._pieces)
