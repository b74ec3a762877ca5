"""The events of a StreamParser: what it finds, in the order of the text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import groupby

from repair.regions import Region, is_blank
from repair.types import Fix


class Place(StrEnum):
    """What precedes a call.

    line: nothing on its line.
    behind: the end of a sentence, without a space.
    glued: other words, without a space.
    within: the call is inside of something, and so is none.
    """

    line = "line"
    behind = "behind"
    glued = "glued"
    within = "within"


@dataclass(frozen=True, slots=True)
class Text:
    """Content, verbatim."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """The model's reasoning, without its markers."""

    text: str


@dataclass(frozen=True, slots=True)
class Calls:
    """A call region.

    raw: all its bytes.
    bare: only its JSON marks it as a call.
    more: it is the beginning of a section, and the next event continues it.
    place: of the region, or of its section.
    own: it is in a format that the model is known to write.
    """

    region: Region
    raw: str
    bare: bool = False
    more: bool = False
    place: Place = Place.line
    own: bool = False


@dataclass(frozen=True, slots=True)
class Junk:
    """Bytes that mean nothing beside an accepted call (a stray closing marker, an echo)."""

    raw: str
    fix: Fix


@dataclass(frozen=True, slots=True)
class Draft:
    """The end of the reasoning, from the first call in it on, when no answer follows. place: of that call."""

    text: str
    place: Place = Place.line


@dataclass(frozen=True, slots=True)
class Unopened:
    """The end of a reasoning block that nothing has opened, after a call: all before it was reasoning."""

    raw: str


Event = Text | Reasoning | Calls | Junk | Draft | Unopened


def text_of(event: Event) -> str:
    """All bytes of the event."""
    match event:
        case Calls(_, raw) | Junk(raw, _) | Unopened(raw):
            return raw
        case Text(text) | Reasoning(text) | Draft(text):
            return text


def texts_of(events: list[Event]) -> list[str]:
    """The content in `events`."""
    return [one.text for one in events if isinstance(one, Text)]


def thoughts_behind(events: Sequence[Event]) -> str:
    """The reasoning behind the first call."""
    first = next((at for at, one in enumerate(events) if isinstance(one, Calls)), len(events))
    return "".join(one.text for one in events[first:] if isinstance(one, Reasoning))


def without_lead(event: Event, count: int) -> Event | None:
    """The event without its first `count` characters, which belong to the prompt; None if nothing is left."""
    rest = text_of(event)[count:]
    match event:
        case Calls():
            return replace(event, raw=rest)
        case Junk():
            return replace(event, raw=rest)
        case Unopened():
            return Unopened(rest)
        case Text() | Reasoning() | Draft():
            return replace(event, text=rest) if rest else None


def settle_reasoning(events: list[Event], drafts: bool) -> list[Event]:
    """The same events, where the end of a reasoning block may have come without its beginning.

    From the first call to the last such end, everything is reasoning. What was said before that call stays as
    it was, as it may have been shown already. drafts: a call in the reasoning counts as long as no answer
    follows.
    """
    last = next((at for at in reversed(range(len(events))) if isinstance(events[at], Unopened)), None)
    if last is not None:
        first = next((at for at, one in enumerate(events) if isinstance(one, Calls | Draft)), last)
        thought = "".join(text_of(one) for one in events[first:last])
        begun = events[first]
        place = begun.place if isinstance(begun, Calls | Draft) else Place.line
        events = [*events[:first], *([Draft(thought, place)] if thought else []), *events[last + 1 :]]
    at = next((at for at, one in enumerate(events) if isinstance(one, Draft)), None)
    if at is None or (drafts and not any(_answers(one) for one in events[at + 1 :])):
        return events
    return [*events[:at], Reasoning(text_of(events[at])), *events[at + 1 :]]


def _answers(event: Event) -> bool:
    return isinstance(event, Calls) or (isinstance(event, Text) and not is_blank(event.text))


def join_texts(events: Sequence[Event]) -> list[Event]:
    """The same events; text that was cut only by the pieces of the stream is joined again."""
    if len(events) < 2:
        return list(events)
    result: list[Event] = []
    for kind, run in groupby(events, type):
        group = list(run)
        if kind is Text or kind is Reasoning:
            result.append(kind("".join(one.text for one in group if isinstance(one, Text | Reasoning))))
        else:
            result += group
    return result


def join_sections(events: Iterable[Event]) -> list[Event]:
    """The same events; the calls of each section are in one region again."""
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
