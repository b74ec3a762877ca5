"""Functions and parameters as tags. Qwen3-Coder, Qwen3.5 and later, Nemotron 3, Step 3.5.

    <tool_call>
    <function=f>
    <parameter=k>
    text, one newline around it
    </parameter>
    </function>
    </tool_call>

Also seen: no outer tag, and a JSON object instead of the parameters (so does Llama 3.x).
"""

from __future__ import annotations

import json
import re
from dataclasses import replace

from repair.markup import Grammar, read_parameters
from repair.names import resolve_name
from repair.regions import Region, close_region, match_literal, read_span, skip_space
from repair.tools import Tool, ToolSet
from repair.types import Body, Fix, FixKind, Problem, RawCall, ToolCall

NAME = "qwen_xml"
OPEN = "<tool_call>"
CLOSE = "</tool_call>"
FUNCTION = "<function="
FUNCTION_END = "</function>"
OPENERS = (OPEN, FUNCTION)
CLOSERS = (CLOSE, FUNCTION_END, "</parameter>")
REASONING = (("<think>", "</think>"),)

_HEAD = re.compile(r"<function=\s*[\"']?(?P<name>[^<>\n\"']{1,256}?)[\"']?\s*>")
_GRAMMAR = Grammar(
    open=re.compile(r"<parameter=\s*[\"']?(?P<key>[^<>\n\"']{1,256}?)[\"']?\s*>"),
    close="</parameter>",
    ends=(FUNCTION_END,),
    outer=(CLOSE,),
)


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    opener = match_literal(text, at, OPENERS)
    if opener is None:
        return None
    return parse_tagged(text, at, opener == OPEN, OPEN, CLOSE, tools)


def parse_tagged(
    text: str, at: int, enveloped: bool, opener: str, closer: str, tools: ToolSet
) -> Region | None:
    """The region at `at`, between `opener` and `closer` if it is enveloped."""
    body = at + len(opener) if enveloped else at
    position, junk = _first_function(text, body, closer) if enveloped else (at, "")
    if position is None:
        return None
    calls: list[RawCall] = []
    fixes = [Fix(FixKind.junk_in_envelope, "", junk, "")] if junk else []
    closed = True
    while (head := _HEAD.match(text, position)) is not None:
        if not enveloped and not _looks_like_body(text, head.end()):
            return None
        call, position, closed = _call(text, head, tools)
        calls.append(call)
        if call.problems:
            return Region(at, position, body, tuple(calls), closed=False)
        if not enveloped:
            break
        position = skip_space(text, position)
    if not calls:
        return None
    if enveloped:
        end, closed, problem = close_region(text, position, (closer,), fixes)
        calls += [problem] if problem else []
    else:
        end = _stray_closer(text, position, closer)
        fixes.append(Fix(FixKind.missing_tag, "", "", opener))
    calls[-1] = replace(calls[-1], fixes=(*calls[-1].fixes, *fixes))
    return Region(at, end, body, tuple(calls), closed, fragile=CLOSERS)


def _first_function(text: str, body: int, closer: str) -> tuple[int | None, str]:
    """Where the first function of the envelope opens, and the prose before it."""
    at = skip_space(text, body)
    if text.startswith(FUNCTION, at):
        return at, ""
    found = text.find(FUNCTION, at)
    junk = text[at:found] if found >= 0 else ""
    if found < 0 or "<" in junk or "{" in junk or len(junk) > 2000:
        return None, ""
    return found, junk


def _looks_like_body(text: str, at: int) -> bool:
    after = skip_space(text, at)
    return text.startswith(("<parameter=", "{", FUNCTION_END), after) or after >= len(text)


def _stray_closer(text: str, at: int, closer: str) -> int:
    after = skip_space(text, at)
    return after + len(closer) if text.startswith(closer, after) else at


def _call(text: str, head: re.Match[str], tools: ToolSet) -> tuple[RawCall, int, bool]:
    name = head.group("name").strip()
    at = skip_space(text, head.end())
    if text[at : at + 1] == "{":
        return _json_call(text, name, at)
    resolved = resolve_name(name, tools)
    tool: Tool | None = None if isinstance(resolved, Problem) else resolved[0]
    found = read_parameters(text, head.end(), tool, _GRAMMAR)
    problems = (found.problem,) if found.problem else ()
    if isinstance(resolved, Problem):
        problems = (resolved, *problems)
    source = text[head.start() : found.end]
    call = RawCall(name, Body.tree, source, found.closed, found.tree, tuple(found.fixes), problems)
    return call, found.end, found.closed


def _json_call(text: str, name: str, at: int) -> tuple[RawCall, int, bool]:
    span = read_span(text, at, (FUNCTION_END, CLOSE), (FUNCTION,))
    fixes: list[Fix] = []
    if span.problem:
        return RawCall(name, Body.arguments, span.text, False, problems=(span.problem,)), span.end, False
    end, closed, problem = close_region(text, span.end, (FUNCTION_END,), fixes)
    problems = problem.problems if problem else ()
    call = RawCall(name, Body.arguments, span.text, span.closed, fixes=tuple(fixes), problems=problems)
    return call, end, closed


def render(calls: tuple[ToolCall, ...]) -> str:
    return "\n".join(f"{OPEN}\n{render_function(one)}\n{CLOSE}" for one in calls)


def render_function(call: ToolCall) -> str:
    """One function block; strings are written as they are, other values as JSON."""
    parts = [f"{FUNCTION}{call.name}>"]
    for key, value in json.loads(call.arguments).items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        parts.append(f"<parameter={key}>\n{text}\n</parameter>")
    return "\n".join([*parts, FUNCTION_END])
