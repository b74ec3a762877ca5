"""Calls in tags, `<invoke name="f">` around parameters, alone or in an envelope: the XML-like formats."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from repair.markup import MarkupGrammar, read_parameters
from repair.names import resolve_name
from repair.regions import Region, close_region, match_literal, read_span, skip_space
from repair.tools import Tool, ToolSet
from repair.types import Body, Fix, FixKind, Problem, RawCall


@dataclass(frozen=True, slots=True)
class Tagged:
    """A format of tagged calls.

    openers, closers: markers of the envelope, the right one first.
    aliases: openers that are as right as the first.
    call, parameter: how a call and a parameter begin, both literal.
    head: matches the whole opening tag of a call, with the group "name".
    """

    openers: tuple[str, ...]
    closers: tuple[str, ...]
    call: str
    head: re.Pattern[str]
    grammar: MarkupGrammar
    parameter: str
    aliases: tuple[str, ...] = ()

    @property
    def fragile(self) -> tuple[str, ...]:
        return (*self.closers, self.grammar.ends[0], self.grammar.close)


def read_tagged(text: str, at: int, form: Tagged, tools: ToolSet, inside: bool = False) -> Region | None:
    """The region at `at`: an envelope with calls, or calls that have lost theirs; one call where the format
    has no envelope.

    inside: `at` is the next call of an envelope that was opened before.
    """
    opener = form.openers[0] if inside else match_literal(text, at, form.openers)
    body = at + len(opener) if opener and not inside else at
    position, junk = _first_call(text, body, form) if opener else (at, "")
    if position is None:
        return None
    calls: list[RawCall] = []
    fixes = [Fix(FixKind.junk_in_envelope, "", junk, "")] if junk else []
    if opener and opener not in (form.openers[0], *form.aliases):
        fixes.append(Fix(FixKind.corrupted_marker, "", opener, form.openers[0]))
    closed = True
    while (head := form.head.match(text, position)) is not None:
        if not opener and not _looks_like_body(text, head.end(), form):
            return None
        call, position, closed = _tagged_call(text, head, form, tools)
        calls.append(call)
        if call.problems:
            return Region(at, position, body, tuple(calls), closed=False)
        if not form.openers:
            break
        position = (
            skip_space(text, position)
            if opener or form.head.match(text, skip_space(text, position))
            else position
        )
    if not calls:
        return None
    if opener:
        end, closed, problem = close_region(text, position, form.closers, fixes)
        calls += [problem] if problem else []
    elif form.openers:
        after = skip_space(text, position)
        stray = match_literal(text, after, form.closers)
        end = after + len(stray) if stray else position
        fixes.append(Fix(FixKind.missing_tag, "", "", form.openers[0]))
    else:
        end = position
    calls[-1] = replace(calls[-1], fixes=(*calls[-1].fixes, *fixes))
    return Region(at, end, body, tuple(calls), closed, fragile=form.fragile)


def read_first_tagged(text: str, at: int, form: Tagged, tools: ToolSet) -> Region | None:
    """The first call after text[:at], with the envelope so far, if the opening tag of another call follows
    it.
    """
    head = form.head.match(text, skip_space(text, at))
    if head is None:
        return None
    call, end, closed = _tagged_call(text, head, form, tools)
    after = skip_space(text, end)
    return Region(at, after, at, (call,), closed) if form.head.match(text, after) else None


def _first_call(text: str, body: int, form: Tagged) -> tuple[int | None, str]:
    """Where the first call of the envelope opens, and the prose before it."""
    at = skip_space(text, body)
    if text.startswith(form.call, at):
        return at, ""
    found = text.find(form.call, at, at + 4000)
    junk = text[at:found] if found >= 0 else ""
    return (None, "") if found < 0 or "<" in junk or "{" in junk else (found, junk)


def _looks_like_body(text: str, at: int, form: Tagged) -> bool:
    after = skip_space(text, at)
    return text.startswith((form.parameter, "{", *form.grammar.ends), after) or after >= len(text)


def _tagged_call(text: str, head: re.Match[str], form: Tagged, tools: ToolSet) -> tuple[RawCall, int, bool]:
    name = head.group("name").strip()
    at = skip_space(text, head.end())
    if head.groupdict().get("empty"):
        return RawCall(name, Body.tree, head.group(), True, {}), head.end(), True
    if text[at : at + 1] == "{":
        return _tagged_json(text, name, at, form)
    resolved = resolve_name(name, tools)
    tool: Tool | None = None if isinstance(resolved, Problem) else resolved[0]
    found = read_parameters(text, head.end(), tool, form.grammar)
    problems = (found.problem,) if found.problem else ()
    if isinstance(resolved, Problem):
        problems = (resolved, *problems)
    source = text[head.start() : found.end]
    call = RawCall(name, Body.tree, source, found.closed, found.tree, tuple(found.fixes), problems)
    return call, found.end, found.closed


def _tagged_json(text: str, name: str, at: int, form: Tagged) -> tuple[RawCall, int, bool]:
    """A JSON object in place of the parameters."""
    ends = form.grammar.ends
    span = read_span(text, at, (*ends, *form.closers), (form.call,))
    fixes: list[Fix] = []
    if span.problem:
        return RawCall(name, Body.arguments, span.text, False, problems=(span.problem,)), span.end, False
    end, closed, problem = close_region(text, span.end, ends, fixes)
    problems = problem.problems if problem else ()
    call = RawCall(name, Body.arguments, span.text, span.closed, fixes=tuple(fixes), problems=problems)
    return call, end, closed
