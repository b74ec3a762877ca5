"""Reads and writes Python call syntax, `f(a='x', b=[1, 2])`, which the pythonic formats share."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from repair.lenient import Reader, ReadError
from repair.limits import LIMITS
from repair.regions import Region, skip_space
from repair.schema import escape
from repair.types import Bare, Body, Fix, FixKind, Problem, RawCall

HEAD = re.compile(r"(?P<name>[A-Za-z_][\w.-]{0,255})\s*\(")
_KEY = re.compile(r"(?P<key>[A-Za-z_]\w{0,255})\s*=(?!=)\s*")
_NATIVE = {FixKind.single_quotes, FixKind.python_literal}


@dataclass(slots=True)
class PythonCalls:
    """Calls that were read, in order. end: index after the last, or after the closing bracket."""

    end: int
    calls: list[RawCall] = field(default_factory=list)


def may_be_call(text: str, at: int) -> bool:
    """Whether a name and an opening bracket stand at `at`."""
    return HEAD.match(text, skip_space(text, at)) is not None


def read_python_calls(text: str, at: int, listed: bool, inside: bool = False) -> PythonCalls | None:
    """Calls in square brackets (listed), or one after another on lines of their own. None where there is no
    call.

    A call that cannot be read is the last, with a problem. inside: `at` is the next call of a list that was
    opened before.
    """
    position = skip_space(text, at)
    if listed and not inside:
        if text[position : position + 1] != "[":
            return None
        position = skip_space(text, position + 1)
    result = PythonCalls(position)
    while len(result.calls) <= LIMITS.calls:
        head = HEAD.match(text, position)
        if head is None:
            break
        call, position = _read_call(text, head)
        result.calls.append(call)
        result.end = position
        if call.problems:
            return result
        position = skip_space(text, position)
        comma = text[position : position + 1] == ","
        position = skip_space(text, position + 1) if comma else position
    if not listed:
        return result if result.calls else None
    if text[position : position + 1] == "]":
        result.end = position + 1
        return result
    if not result.calls:
        return None
    rule = "truncated" if position >= len(text) else "syntax"
    message = f"the list of calls does not end: {text[position : position + 40]!r}"
    result.calls.append(RawCall("", Body.tree, "", False, {}, problems=(Problem("", rule, message),)))
    return result


def read_first_python(text: str, at: int, inside: bool) -> Region | None:
    """The first call of the list at `at`, if another call follows it.

    inside: the list was opened before, and `at` is its next call.
    """
    start = skip_space(text, at)
    if not inside:
        if text[start : start + 1] != "[":
            return None
        start = skip_space(text, start + 1)
    head = HEAD.match(text, start)
    if head is None:
        return None
    call, end = _read_call(text, head)
    comma = skip_space(text, end)
    after = skip_space(text, comma + 1)
    if text[comma : comma + 1] != "," or not HEAD.match(text, after):
        return None
    return Region(at, after, at, (call,))


def _read_call(text: str, head: re.Match[str]) -> tuple[RawCall, int]:
    name = head.group("name")
    reader = Reader(text, head.end(), bare=True)
    tree: dict[str, object] = {}
    try:
        while True:
            reader.blank()
            if reader.peek() == ")":
                break
            for key, value in _arguments(reader).items():
                if key in tree:
                    reader.fail("duplicate_parameter", f"{key!r} is given twice")
                tree[key] = value
            if not reader.comma() and reader.peek() != ")":
                rule = "syntax" if reader.peek() else "truncated"
                reader.fail(rule, f"a comma is due, got {text[reader.at : reader.at + 30]!r}")
    except ReadError as error:
        reason = error.reason
        problem = Problem("", reason.rule, reason.message)
        return RawCall(name, Body.tree, text[head.start() :], False, {}, problems=(problem,)), reader.at
    end = reader.at + 1
    fixes = tuple(fix for fix in reader.fixes if fix.kind not in _NATIVE)
    return RawCall(name, Body.tree, text[head.start() : end], True, tree, fixes), end


def _arguments(reader: Reader) -> dict[str, object]:
    """The next named argument, or those of an unpacked object, `**{...}`."""
    if reader.text.startswith("**", reader.at):
        reader.at += 2
        value = reader.value("")
        if not isinstance(value, dict):
            reader.fail("syntax", "an object is due behind '**'")
        reader.fix(FixKind.wrapper_key, "", "**", "")
        return value
    key = _KEY.match(reader.text, reader.at)
    if key is None:
        rule = "syntax" if reader.peek() else "truncated"
        reader.fail(rule, f"a named argument is due, got {reader.text[reader.at : reader.at + 30]!r}")
    reader.at = key.end()
    return {key.group("key"): _value(reader, key.group("key"))}


def _value(reader: Reader, key: str) -> object:
    value = reader.value(escape(key))
    number = isinstance(value, Bare) and (value.text[:1].isdigit() or value.text[:1] == "-")
    if isinstance(value, Bare) and value.items is None and not number:
        reader.fixes.append(Fix(FixKind.bare_word, escape(key), value.text, f'"{value.text}"'))
    return value


def render_python(name: str, arguments: dict[str, object]) -> str:
    """One call as Python source; strings are escaped so that JSON and Python read them alike."""
    return f"{name}({', '.join(f'{key}={write_literal(value)}' for key, value in arguments.items())})"


def write_literal(value: object) -> str:
    """A JSON value as Python source."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(key)}: {write_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(write_literal(item) for item in value) + "]"
    return _quoted(value) if isinstance(value, str) else repr(value)


def _quoted(text: str) -> str:
    escapes = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    parts = (escapes.get(char) or (f"\\u{ord(char):04x}" if char < " " else char) for char in text)
    return "'" + "".join(parts) + "'"
