"""The calls of a refused turn one by one, so that those which are right need not be asked for again."""

from __future__ import annotations

import re
from dataclasses import dataclass

from repair.events import Calls, Draft, Event, Text
from repair.ladder import emit_plain, repair_call
from repair.names import resolve_name
from repair.regions import is_blank
from repair.stream import StreamParser
from repair.tools import ToolSet
from repair.types import Accepted, Body, Problem, RawCall, Rejected, ToolCall

_NAMED = re.compile(r'\s*\{\s*"name"\s*:\s*"([^"\\\x00-\x1f]+)"')
_KEYED = re.compile(r'\s*\{\s*"([^"\\\x00-\x1f]+)"\s*:')
_HEAD = re.compile(
    r'\s*\{\s*"name"\s*:\s*"([^"\\\x00-\x1f]+)"\s*,\s*"(?:arguments|parameters)"\s*:\s*(.*)\}\s*',
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Part:
    """One call. name: the declared tool that it names, "" where it names none."""

    name: str
    raw: RawCall
    outcome: Accepted | Rejected


@dataclass(frozen=True, slots=True)
class Parts:
    """A turn's calls in order. said: the text around them. cut: the end of the turn was cut off, so that more
    calls may have been meant.
    """

    calls: tuple[Part, ...]
    said: str = ""
    cut: bool = False


def take_apart(
    text: str,
    tools: ToolSet,
    problems: tuple[Problem, ...],
    *,
    format: str = "auto",
    generation_prompt: str = "",
    cut: bool = False,
) -> Parts | None:
    """The calls of a whole turn that was refused for `problems`. cut: the upstream's `length`.

    None where something else than single calls is wrong with it: then it can only be asked for as a whole.
    """
    parser = StreamParser(tools, format, generation_prompt=generation_prompt)
    events = [*parser.feed(text), *parser.close()]
    regions = [event for event in events if isinstance(event, Calls)]
    said = "".join(event.text for event in events if isinstance(event, Text))
    if not regions or any(isinstance(event, Draft) for event in events):
        return None
    if any(event.bare for event in regions) and (len(regions) > 1 or not is_blank(said)):
        return None
    parts: list[Part] = []
    found: list[Problem] = []
    truncated = Problem("", "truncated", "the output limit was reached inside a call")
    for event in regions:
        open_end = cut and event is _last(events) and not event.region.closed
        found += [truncated] if open_end else []
        for raw in event.region.calls:
            outcome = repair_call(raw, tools)
            found += outcome.problems if isinstance(outcome, Rejected) else ()
            parts.append(Part(_named(raw, tools), raw, Rejected((truncated,)) if open_end else outcome))
    if sorted(map(str, found)) != sorted(map(str, problems)):
        return None
    return Parts(tuple(parts), said, cut)


def _last(events: list[Event]) -> Event | None:
    return events[-1] if events else None


def _named(raw: RawCall, tools: ToolSet) -> str:
    written = raw.name
    if not written and raw.body in (Body.call, Body.keyed):
        found = (_NAMED if raw.body is Body.call else _KEYED).match(raw.text)
        written = found.group(1) if found else ""
    resolved = resolve_name(written, tools) if written else None
    return "" if resolved is None or isinstance(resolved, Problem) else resolved[0].name


def emit_as_it_is(raw: RawCall, tools: ToolSet) -> ToolCall | None:
    """The call with its arguments as the model wrote them, broken or not; None where they cannot be told."""
    plain = emit_plain(raw, tools)
    if plain is not None:
        return plain
    if raw.body is Body.arguments and raw.name:
        return ToolCall(raw.name, raw.text)
    head = _HEAD.fullmatch(raw.text) if raw.body is Body.call else None
    return ToolCall(head.group(1), head.group(2).strip()) if head else None
