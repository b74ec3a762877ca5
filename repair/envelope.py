"""Takes the object around a call apart: `{"name": ..., "arguments": ...}` in all its spellings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from repair.strict import decode_strict, encode_any
from repair.types import Fix, FixKind, Problem

_NAMES = ("name", "tool_name", "function_name", "tool", "function")
_ARGUMENTS = ("arguments", "parameters")
_ALIASES = ("args", "input", "params", "tool_input", "tool_arguments", "kwargs")
#: members that say nothing about the call
IGNORED = {"id", "type", "tool_call_id", "call_id", "index"}
_BLANK = re.compile(r"[ \t\n\r]*")
_HEAD = re.compile(r'"(?:arguments|parameters|args|input|params|tool_input)"\s*:\s*')
_COMMON = re.compile(
    r'[ \t\n\r]*\{[ \t\n\r]*"name"[ \t\n\r]*:[ \t\n\r]*"([A-Za-z0-9_.:/-]+)"[ \t\n\r]*,[ \t\n\r]*'
    r'"(?:arguments|parameters)"[ \t\n\r]*:[ \t\n\r]*'
)
_COMMON_END = re.compile(r"[ \t\n\r]*\}[ \t\n\r]*\Z")
ABSENT = object()


@dataclass(frozen=True, slots=True)
class Envelope:
    """A call's envelope.

    name: as emitted.
    arguments: their value, or ABSENT.
    text: the arguments' own bytes, where they are strict JSON.
    beside: the arguments stood beside the name; they count only if all of them are the tool's own.
    """

    name: str
    arguments: Any
    text: str | None
    fixes: tuple[Fix, ...] = ()
    beside: bool = False


def split_members(text: str) -> dict[str, tuple[Any, str]]:
    """Members of the JSON object that is all of `text`: key -> (value, its own bytes).

    Raises ValueError where `text` is not one strict JSON object.
    """
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        raise ValueError("no object")
    members: dict[str, tuple[Any, str]] = {}
    at = _skip(text, at + 1)
    while text[at : at + 1] != "}":
        key, at = decode_strict(text, at)
        at = _skip(text, at)
        if not isinstance(key, str) or key in members or text[at : at + 1] != ":":
            raise ValueError("no member")
        start = _skip(text, at + 1)
        value, end = decode_strict(text, start)
        members[key] = (value, text[start:end])
        at = _skip(text, end)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
            if text[at : at + 1] == "}":
                raise ValueError("a comma before the end")
        elif text[at : at + 1] != "}":
            raise ValueError("no end")
    if _skip(text, at + 1) != len(text):
        raise ValueError("text after the object")
    return members


def _skip(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return match.end() if match else at


def open_strict(text: str) -> Envelope | Problem:
    """The envelope that is all of `text`. Raises ValueError where `text` is not strict JSON."""
    head = _COMMON.match(text)
    if head is not None:  # as nearly every model writes it: only the arguments are decoded
        arguments, end = decode_strict(text, head.end())
        if _COMMON_END.match(text, end):
            return Envelope(head.group(1), arguments, text[head.end() : end])
    members = split_members(text)
    values = {key: value for key, (value, _) in members.items()}
    sources = {key: source for key, (_, source) in members.items()}
    return _open(values, sources)


def open_value(value: Any, text: str) -> Envelope | Problem:
    """The envelope that the tolerant reader made of `text`; the arguments keep their bytes if strict."""
    if not isinstance(value, dict):
        return Problem("", "not_object", "a call must be an object with a name and arguments")
    envelope = _open(value, {})
    head = _HEAD.search(text)
    if isinstance(envelope, Problem) or head is None:
        return envelope
    try:
        arguments, end = decode_strict(text, head.end())
    except ValueError:
        return envelope
    if not isinstance(arguments, dict) or encode_any(arguments) != encode_any(envelope.arguments):
        return envelope
    return Envelope(envelope.name, arguments, text[head.end() : end], envelope.fixes)


def _open(members: Mapping[str, Any], sources: Mapping[str, str]) -> Envelope | Problem:
    inner = members.get("function")
    if isinstance(inner, dict):
        extra = set(members) - IGNORED - {"function"}
        if extra:
            return misplaced(extra)
        envelope = _open(inner, {})
        if isinstance(envelope, Problem):
            return envelope
        fix = Fix(FixKind.wrapper_key, "", "function", "")
        return Envelope(envelope.name, envelope.arguments, None, (fix, *envelope.fixes))
    names = [key for key in _NAMES if isinstance(members.get(key), str)]
    if not names:
        return Problem("", "missing_name", "the call names no tool")
    given = [key for key in (*_ARGUMENTS, *_ALIASES) if key in members]
    extra = set(members) - IGNORED - set(given) - set(names)
    if len(names) > 1 or len(given) > 1:
        return Problem("", "ambiguous_call", f"several of the same: {', '.join((*names, *given))}")
    if extra and not given and names[0] == "name":
        beside = {key: members[key] for key in members if key != "name"}
        fix = Fix(FixKind.wrapper_key, "", "", "arguments")
        return Envelope(members["name"], beside, None, (fix,), beside=True)
    if extra:
        return misplaced(extra)
    if not given:
        return Envelope(members[names[0]], ABSENT, None)
    key = given[0]
    fixes = (Fix(FixKind.wrapper_key, "", key, "arguments"),) if key in _ALIASES else ()
    return Envelope(members[names[0]], members[key], sources.get(key), fixes)


def misplaced(extra: set[str]) -> Problem:
    """The problem of members that belong neither to the call nor to its arguments."""
    listed = ", ".join(sorted(extra)[:10])
    return Problem("", "misplaced", f"members that belong neither to the call nor to its arguments: {listed}")
