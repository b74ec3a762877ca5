"""The ladder that a call climbs: name, syntax, coercion, full validation. The first rung to hold ends it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from repair.coerce import coerce, has_bare
from repair.envelope import ABSENT, Envelope, misplaced, open_strict, open_value, split_members
from repair.lenient import Reading, Unreadable, read_body
from repair.limits import LIMITS
from repair.names import resolve_name
from repair.propose import read_missing_separators, read_over_escaped, read_unescaped_quotes
from repair.strict import decode_strict, depth, encode, refuse_surrogates
from repair.structure import is_only_placement
from repair.tools import Tool, ToolSet
from repair.types import Accepted, Bare, Body, Fix, FixKind, Problem, RawCall, Rejected, ToolCall
from repair.validate import find_problems, is_valid

WRAPPERS = ("arguments", "parameters", "args", "input", "params", "kwargs")
_LEAKED = re.compile(r"</(?P<tag>[\w.-]{1,80})>\s{0,9}</(?:invoke|function|tool_call)>\Z")
_EMPTY = ("", "null", "None")
_REPLACEMENT = "\ufffd"
_UNDECODABLE = "the call holds U+FFFD, which stands for bytes that are no UTF-8"
_NAMED_HEAD = re.compile(
    r'\s*\{\s*"name"\s*:\s*"([^"\\\x00-\x1f]+)"\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)'
)


def repair_call(raw: RawCall, tools: ToolSet) -> Accepted | Rejected:
    """Repairs one delimited call as far as there is only one reading, and validates it in full.

    Accepted.call.arguments is the model's own text wherever that validates.
    """
    if raw.problems:
        return Rejected(raw.problems)
    if len(raw.text) > LIMITS.call_chars:
        return _refuse("too_long", f"a call of {len(raw.text)} characters; at most {LIMITS.call_chars}")
    if _REPLACEMENT in raw.text and not tools.replacement:
        return _refuse("undecodable", _UNDECODABLE)
    match raw.body:
        case Body.tree:
            outcome = _with_tool(raw.name, tools, lambda tool: _judge(tool, dict(raw.tree or {}), None, ()))
        case Body.arguments:
            outcome = _with_tool(raw.name, tools, lambda tool: _climb(tool, raw.text, raw.closed))
        case _:
            outcome = _from_envelope(raw, tools)
    if isinstance(outcome, Rejected):
        return outcome
    broken = _broken_texts(outcome.call, tools)
    return Rejected(broken) if broken else Accepted(outcome.call, raw.fixes + outcome.fixes)


def _broken_texts(call: ToolCall, tools: ToolSet) -> tuple[Problem, ...]:
    tool = tools.get(call.name)
    if tool is None or not tool.definition.texts:
        return ()
    return tool.text_problems(json.loads(call.arguments))


def _refuse(rule: str, message: str) -> Rejected:
    return Rejected((Problem("", rule, message),))


def _with_tool(name: str, tools: ToolSet, climb: Any) -> Accepted | Rejected:
    resolved = resolve_name(name, tools)
    if isinstance(resolved, Problem):
        return Rejected((resolved,))
    tool, fixes = resolved
    outcome: Accepted | Rejected = climb(tool)
    if isinstance(outcome, Accepted) and fixes:
        return Accepted(outcome.call, fixes + outcome.fixes)
    return outcome


def _from_envelope(raw: RawCall, tools: ToolSet) -> Accepted | Rejected:
    try:
        envelope = open_strict(raw.text) if raw.body is Body.call else _keyed(raw.text)
        return _open(envelope, tools, ())
    except ValueError:
        pass
    reading = read_body(raw.text, raw.closed)
    if isinstance(reading, Reading):
        opened = open_value(reading.value, raw.text) if raw.body is Body.call else _keyed_value(reading.value)
        return _open(opened, tools, _below_arguments(reading.fixes))
    escaped = read_over_escaped(raw.text)
    if escaped is not None and raw.body is Body.call:
        return _open(open_value(escaped.value, ""), tools, escaped.fixes)
    head = _NAMED_HEAD.match(raw.text)
    tail = raw.text.rstrip()
    if raw.body is Body.call and head is not None and tail.endswith("}"):
        text = tail[head.end() : -1]
        return _with_tool(head.group(1), tools, lambda tool: _proposed(tool, text, reading))
    return Rejected((Problem("", reading.rule, reading.message),))


def _keyed(text: str) -> Envelope | Problem:
    members = split_members(text)
    opened = _keyed_value({name: value for name, (value, _) in members.items()})
    if isinstance(opened, Problem):
        return opened
    return replace(opened, text=members[opened.name][1])


def _keyed_value(value: Any) -> Envelope | Problem:
    if not isinstance(value, dict) or len(value) != 1:
        return Problem("", "not_object", "a call must be an object with the tool's name as its only key")
    ((name, arguments),) = value.items()
    return Envelope(name, arguments, None)


def _below_arguments(fixes: tuple[Fix, ...]) -> tuple[Fix, ...]:
    """The fixes of an envelope, with their paths made paths into the arguments."""
    return tuple(
        replace(fix, path="/" + "/".join(fix.path.split("/")[2:]) if fix.path.count("/") > 1 else "")
        for fix in fixes
    )


def _open(envelope: Envelope | Problem, tools: ToolSet, fixes: tuple[Fix, ...]) -> Accepted | Rejected:
    if isinstance(envelope, Problem):
        return Rejected((envelope,))
    fixes += envelope.fixes

    def judge(tool: Tool) -> Accepted | Rejected:
        extra = set(envelope.arguments) - set(tool.keys) if envelope.beside else set()
        if extra or (envelope.beside and "name" in tool.keys):
            return Rejected((misplaced(extra or set(envelope.arguments)),))
        return _judge(tool, envelope.arguments, envelope.text, fixes)

    return _with_tool(envelope.name, tools, judge)


def _climb(tool: Tool, text: str, closed: bool) -> Accepted | Rejected:
    """Judges the text of the arguments alone: strictly, tolerantly, by proposal."""
    if text.strip() in _EMPTY:
        return _judge(tool, ABSENT if not text.strip() else None, None, ())
    try:
        value, end = decode_strict(text)
        if not text[end:].strip(" \t\r\n"):
            return _judge(tool, value, text.strip(" \t\r\n"), ())
    except ValueError:
        pass
    reading = read_body(text, closed)
    if isinstance(reading, Reading):
        return _judge(tool, reading.value, None, reading.fixes)
    same = _same_again(text, reading)
    if same is not None:
        return _judge(tool, same.value, None, same.fixes)
    return _proposed(tool, text, reading)


def _same_again(text: str, reading: Unreadable) -> Reading | None:
    """Several objects where one is due: if they are equal, they count as one."""
    if reading.rule != "trailing_text":
        return None
    values: list[str] = []
    at, first = 0, None
    while text[at:].strip():
        try:
            value, at = decode_strict(text, at)
        except ValueError:
            return None
        first = value if not values else first
        values.append(encode(value))
        if values[0] != values[-1]:
            return None
    return Reading(first, at, (Fix(FixKind.duplicate_object, "", text[:80], values[0][:80]),))


def _proposed(tool: Tool, text: str, reading: Unreadable) -> Accepted | Rejected:
    """Judges the proposals: all that validate must say the same."""
    accepted: dict[str, Accepted] = {}
    for proposal in _proposals(tool, text):
        outcome = _judge(tool, proposal.value, None, proposal.fixes)
        if isinstance(outcome, Accepted):
            accepted[outcome.call.arguments] = outcome
    if len(accepted) == 1:
        return accepted.popitem()[1]
    return Rejected((Problem("", reading.rule, reading.message),))


def _proposals(tool: Tool, text: str) -> Iterator[Reading]:
    found = (read_over_escaped(text), read_unescaped_quotes(text, tool), read_missing_separators(text))
    yield from (reading for reading in found if reading is not None)


def _judge(tool: Tool, value: Any, text: str | None, fixes: tuple[Fix, ...]) -> Accepted | Rejected:
    """Judges arguments as a value. text: their own bytes, which are passed on untouched if they validate."""
    if tool.schema.branching and depth(value) > LIMITS.branching:
        return _refuse("nesting", f"nested deeper than {LIMITS.branching} levels under a branching schema")
    leaked = _leaked(value) if isinstance(value, dict) else ""
    if leaked:
        return _refuse("leaked_closer", f"{leaked!r} ends in its own closing tag and that of a call")
    if text is not None and is_valid(value, tool.schema):
        return Accepted(ToolCall(tool.name, text), fixes)
    if value is ABSENT or value is None:
        return _empty(tool, value, fixes)
    if isinstance(value, str):
        return _decoded(tool, value, fixes)
    if isinstance(value, dict):
        outcome = _coerced(tool, value, fixes)
        if isinstance(outcome, Rejected):
            return _unwrapped(tool, value, fixes) or outcome
        return outcome
    return Rejected(find_problems(value, tool.schema))


def _leaked(value: dict[str, Any]) -> str:
    """The key of a text that ends in the closing tags of its own parameter and of a call, which nothing in it
    has opened; "" where there is none. They were the format's, and what else is not part of the value cannot
    be told.
    """
    for key, item in value.items():
        found = _LEAKED.search(item[-200:]) if isinstance(item, str) and item.endswith(">") else None
        if (
            found
            and found.group("tag") in (key, "parameter", "param")
            and f"<{found.group('tag')}" not in item
        ):
            return key
    return ""


def _empty(tool: Tool, value: Any, fixes: tuple[Fix, ...]) -> Accepted | Rejected:
    if not is_valid({}, tool.schema):
        return Rejected(find_problems({}, tool.schema))
    before = "" if value is ABSENT else "null"
    return Accepted(ToolCall(tool.name, "{}"), (*fixes, Fix(FixKind.empty_arguments, "", before, "{}")))


def _decoded(tool: Tool, text: str, fixes: tuple[Fix, ...]) -> Accepted | Rejected:
    """Judges arguments that were encoded twice, by decoding them once."""
    if not text.strip():
        return _empty(tool, ABSENT, fixes)
    fix = Fix(FixKind.double_encoded, "", encode(text)[:80], text[:80])
    reading: Reading | Unreadable
    try:
        value, end = decode_strict(text)
        own = text if not text[end:].strip() else None
        reading = Reading(value, end, ()) if own is not None else read_body(text, closed=False)
    except ValueError:
        own, reading = None, read_body(text, closed=False)
    if isinstance(reading, Unreadable):
        return Rejected((Problem("", reading.rule, reading.message),))
    if not isinstance(reading.value, dict):
        return Rejected(find_problems(text, tool.schema))
    return _judge(tool, reading.value, own.strip() if own else None, (*fixes, fix, *reading.fixes))


def _coerced(tool: Tool, value: dict[str, Any], fixes: tuple[Fix, ...]) -> Accepted | Rejected:
    done = coerce(value, tool.schema)
    if has_bare(done.value):
        return Rejected(_untyped(done.value))
    problems = find_problems(done.value, tool.schema)
    if problems:
        return Rejected(problems)
    try:
        refuse_surrogates(done.value)
    except ValueError:
        return _refuse("unicode", "half a surrogate pair in a string")
    fixes = fixes + done.fixes
    broken = any(fix.kind is FixKind.missing_closer for fix in fixes)
    if broken and not is_only_placement(done.value, tool.schema):
        return _refuse("ambiguous_structure", "a closing bracket is missing, and it has several places")
    return Accepted(ToolCall(tool.name, encode(done.value)), fixes)


def _untyped(value: dict[str, Any]) -> tuple[Problem, ...]:
    problems = [
        Problem(f"/{key}", "untyped", f"{item.text[:80]!r} has no single reading under its schema")
        for key, item in value.items()
        if isinstance(item, Bare)
    ]
    return tuple(problems) or (Problem("", "untyped", "a nested value has no single reading"),)


def _unwrapped(tool: Tool, value: dict[str, Any], fixes: tuple[Fix, ...]) -> Accepted | None:
    """Judges `{"parameters": {...}}` as the inner object, where no parameter has that name."""
    if len(value) != 1:
        return None
    ((key, inner),) = value.items()
    if key not in WRAPPERS or key in tool.keys:
        return None
    fix = Fix(FixKind.wrapper_key, "", key, "")
    if isinstance(inner, Bare):
        inner = inner.text
    if isinstance(inner, str):
        outcome = _decoded(tool, inner, (*fixes, fix)) if inner.strip() else None
        return outcome if isinstance(outcome, Accepted) else None
    if not isinstance(inner, dict) or (
        {"type", "properties"} <= set(inner) and "properties" not in tool.keys
    ):
        return None
    outcome = _coerced(tool, inner, (*fixes, fix))
    return outcome if isinstance(outcome, Accepted) else None


def emit_plain(raw: RawCall, tools: ToolSet) -> ToolCall | None:
    """The call exactly as the model wrote it, if it parses strictly; nothing is repaired or validated.

    For comparison with plain serving. Untyped text is typed by the schema, else it is a string.
    """
    if raw.fixes or raw.problems:
        return None
    try:
        if raw.body is Body.arguments:
            value, end = decode_strict(raw.text)
            done = isinstance(value, dict) and not raw.text[end:].strip()
            return ToolCall(raw.name, raw.text.strip()) if done else None
        if raw.body is Body.tree:
            return _emit_tree(raw, tools)
        envelope = open_strict(raw.text) if raw.body is Body.call else _keyed(raw.text)
    except ValueError:
        return None
    if isinstance(envelope, Problem) or not isinstance(envelope.arguments, dict) or envelope.fixes:
        return None
    return ToolCall(envelope.name, envelope.text or encode(envelope.arguments))


def _emit_tree(raw: RawCall, tools: ToolSet) -> ToolCall:
    tool = tools.get(raw.name)
    value: Any = dict(raw.tree or {})
    if tool is not None:
        value = coerce(value, tool.schema).value
    return ToolCall(raw.name, encode(_as_strings(value)))


def _as_strings(value: Any) -> Any:
    if isinstance(value, Bare):
        return value.text
    if isinstance(value, dict):
        return {key: _as_strings(item) for key, item in value.items()}
    return [_as_strings(item) for item in value] if isinstance(value, list) else value
