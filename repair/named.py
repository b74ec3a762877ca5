"""Reads calls whose name stands before their JSON; several formats share this reader."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from repair.limits import LIMITS
from repair.regions import (
    Region,
    close_region,
    match_literal,
    problem_call,
    read_span,
    skip_extra_closers,
    skip_space,
)
from repair.types import Body, Fix, FixKind, Problem, RawCall

_FENCE = re.compile(r"```(?:json)?[ \t]*\r?\n?")
_FENCE_END = re.compile(r"\s*(?:```|`{1,2}\s*\Z)")  # a fence's end or its beginning, cut off
_IDENTIFIER = re.compile(r"[\w.-]{0,64}\Z")


@dataclass(frozen=True, slots=True)
class Named:
    """A format of named calls.

    sections, section_ends: markers around all calls, the right one first.
    spellings: how many of the sections are right.
    opener: begins one call.
    head: matches from there to the arguments, with the group "name".
    begun: matches, in at most 80 characters, what ends the head of a call and begins its arguments.
    closers: end one call; empty where the JSON ends it.
    fenced: the JSON may stand in a markdown fence.
    """

    opener: str
    head: re.Pattern[str]
    closers: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    section_ends: tuple[str, ...] = ()
    fenced: bool = False
    begun: str = r"(?!)"
    spellings: int = 1


def read_named(text: str, at: int, form: Named, inside: bool = False) -> Region | None:
    """The region at `at`: a section with its calls, or calls without their section; one call where the format
    has no sections.

    inside: `at` is the next call of a section that was opened before.
    """
    section = form.sections[0] if inside else match_literal(text, at, form.sections)
    body = at + len(section) if section and not inside else at
    calls: list[RawCall] = []
    fixes: list[Fix] = []
    position = skip_space(text, body)
    closed = True
    while text.startswith(form.opener, position) and len(calls) <= LIMITS.calls:
        call, end, closed = _read_call(text, position, form)
        if call is None:
            break
        calls.append(call)
        position = end
        if call.problems or not closed or not form.sections:
            break
        following = skip_space(text, end)
        position = following if text.startswith(form.opener, following) or section else end
    if not calls:
        return None
    if len(calls) > LIMITS.calls:
        calls.append(problem_call("", "too_many_calls", f"more than {LIMITS.calls} calls in one turn"))
    if section and not calls[-1].problems:
        ended = closed or bool(form.section_ends)
        position, closed, problem = close_region(text, position, form.section_ends, fixes)
        closed = closed and ended
        calls += [problem] if problem else []
        if section not in form.sections[: form.spellings]:
            fixes.append(Fix(FixKind.corrupted_marker, "", section, form.sections[0]))
    elif form.sections and not section:
        stray = match_literal(text, skip_space(text, position), form.section_ends)
        position = skip_space(text, position) + len(stray) if stray else position
        fixes.append(Fix(FixKind.missing_tag, "", "", form.sections[0]))
    calls[-1] = replace(calls[-1], fixes=(*calls[-1].fixes, *fixes))
    return Region(at, position, body, tuple(calls), closed)


def read_first_named(text: str, at: int, form: Named) -> Region | None:
    """The first call after text[:at], with the section so far, if the head of another call follows it."""
    start = skip_space(text, at)
    if not text.startswith(form.opener, start):
        return None
    call, end, closed = _read_call(text, start, form)
    after = skip_space(text, end)
    if call is None or not text.startswith(form.opener, after):
        return None
    head = form.head.match(text, after + len(form.opener))
    if head is None or not text.startswith(("{", "`"), skip_space(text, head.end())):
        return None
    return Region(at, after, at, (call,), closed)


def _read_call(text: str, at: int, form: Named) -> tuple[RawCall | None, int, bool]:
    """Reads one call; None where nothing like a call follows the opener."""
    fixes: list[Fix] = []
    start = at + len(form.opener)
    head = form.head.match(text, start)
    if head is None:
        again = text.find(form.opener, start, start + 200)
        if again < 0 or not _IDENTIFIER.match(text[start:again].strip()):
            return None, at, True
        fixes.append(Fix(FixKind.corrupted_marker, "", text[at:again], ""))
        head = form.head.match(text, again + len(form.opener))
        if head is None:
            return None, at, True
    fence = _FENCE.match(text, head.end()) if form.fenced else None
    position = skip_space(text, fence.end() if fence else head.end())
    closers = (*form.closers, *form.section_ends)
    ends = ("```", *closers) if fence else closers
    span = read_span(text, position, ends, (form.opener,) if form.closers else ())
    name = head.group("name").strip()
    problems: tuple[Problem, ...] = (span.problem,) if span.problem else ()
    if problems:
        return RawCall(name, Body.arguments, span.text, False, problems=problems), span.end, False
    position = skip_extra_closers(text, span.end, fixes)
    if fence:
        end = _FENCE_END.match(text, position)
        position = end.end() if end else position
    closed = True
    if form.closers and not match_literal(text, skip_space(text, position), form.section_ends):
        position, closed, problem = close_region(text, position, form.closers, fixes)
        problems = problem.problems if problem else ()
    elif form.closers:
        fixes.append(Fix(FixKind.missing_tag, "", "", form.closers[0]))
    else:
        _, _, problem = close_region(text, position, (), fixes)
        problems = problem.problems if problem else ()
    return (
        RawCall(name, Body.arguments, span.text, span.closed, None, tuple(fixes), problems, span.strict),
        position,
        closed,
    )


def render_named(name: str, arguments: str, opener: str, separator: str, closer: str = "") -> str:
    """One call: opener, name, separator, JSON, closer."""
    return f"{opener}{name}{separator}{arguments}{closer}"
