"""What a StreamParser finds, in the order of the text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby

from repair.regions import Region
from repair.types import Fix


@dataclass(frozen=True, slots=True)
class Text:
    """Content, verbatim."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Thinking, without its markers."""

    text: str


@dataclass(frozen=True, slots=True)
class Calls:
    """A call region. raw: all its bytes. bare: nothing but its JSON marks it as a call. more: it is the
    beginning of a section, of which the next event is more.
    """

    region: Region
    raw: str
    bare: bool = False
    more: bool = False


@dataclass(frozen=True, slots=True)
class Junk:
    """Bytes that mean nothing beside an accepted call (a stray closing marker, an echo)."""

    raw: str
    fix: Fix


@dataclass(frozen=True, slots=True)
class Draft:
    """The end of the reasoning from the first call in it on, when no answer follows."""

    text: str


Event = Text | Reasoning | Calls | Junk | Draft


def join_texts(events: Iterable[Event]) -> list[Event]:
    """The same events, with what was cut only by the pieces of the stream put together again."""
    result: list[Event] = []
    for kind, run in groupby(events, type):
        group = list(run)
        if kind is Text or kind is Reasoning:
            result.append(kind("".join(one.text for one in group if isinstance(one, Text | Reasoning))))
        else:
            result += group
    return result


def join_sections(events: Iterable[Event]) -> list[Event]:
    """The same events, with the calls of each section in one region again."""
    result: list[Event] = []
    for event in events:
        last = result[-1] if result else None
        if isinstance(event, Calls) and isinstance(last, Calls) and last.more:
            begun, more = last.region, event.region
            region = replace(
                more, start=begun.start, body_start=begun.body_start, calls=(*begun.calls, *more.calls)
            )
            result[-1] = replace(event, region=region, raw=last.raw + event.raw)
        else:
            result.append(event)
    return result
