"""Reads JSON text tolerantly: strictly first, then with changes that leave only one reading.

Nothing here looks at a schema. Every change is a Fix; what has two readings is Unreadable.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NoReturn

from repair.limits import LIMITS
from repair.schema import escape
from repair.strict import encode, encode_any, finite
from repair.types import Bare, Fix, FixKind


@dataclass(frozen=True, slots=True)
class Reading:
    """A value, the index after it, and the changes made. Leaves may be Bare only where that is allowed."""

    value: Any
    end: int
    fixes: tuple[Fix, ...]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why there is no single reading. at: index into the text. rule: as in Problem."""

    rule: str
    message: str
    at: int


class ReadError(Exception):
    """There is no single reading; `reason` says why. Only for readers built on Reader."""

    def __init__(self, rule: str, message: str, at: int) -> None:
        super().__init__(message)
        self.reason = Unreadable(rule, message, at)


_BLANK = re.compile(r"(?:[\s\x00-\x1f\ufeff]|\\[nrt])*")
_CHUNK = {'"': re.compile(r'[^"\\\x00-\x1f]*'), "'": re.compile(r"[^'\\\x00-\x1f]*")}
_CONTROLS = re.compile(r"[\x00-\x1f]+")
_HEX4 = re.compile(r"[0-9A-Fa-f]{4}")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.+-])", re.ASCII)
_LEADING_ZERO = re.compile(r"-?0\d+(?:\.\d+)?(?![\w.+-])", re.ASCII)
_WORD = re.compile(r"[A-Za-z_$][\w$.-]*", re.ASCII)
_KEY = re.compile(r"[A-Za-z_$][\w$-]*(?=\s*:)", re.ASCII)
_NEXT_KEY = re.compile(r'"[^"\\\x00-\x1f]{1,256}"\s*:')
_PYTHON_ESCAPES = frozenset("xNUav/01234567\n")
_NO_SCALAR = ("", "{", "[", "(", "}", "]", ")", ",")
_SIMPLE = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None}
_PYTHON: dict[str, Any] = {"True": True, "False": False, "None": None}


class Reader:
    """One pass over `text`.

    stops: literals that end every open container whose values are complete.
    closed: the end of the text does so too.
    bare: unquoted words are values too, typed by the schema.
    """

    def __init__(
        self, text: str, at: int, stops: tuple[str, ...] = (), closed: bool = False, bare: bool = False
    ) -> None:
        self.text = text
        self.at = at
        self.stops = stops
        self.closed = closed
        self.bare = bare
        self.fixes: list[Fix] = []
        self._open: list[str] = []

    def fail(self, rule: str, message: str) -> NoReturn:
        raise ReadError(rule, message, self.at)

    def fix(self, kind: FixKind, path: str, before: str = "", after: str = "") -> None:
        self.fixes.append(Fix(kind, path, before, after))

    def blank(self) -> None:
        match = _BLANK.match(self.text, self.at)
        if match is None or match.end() == self.at:
            return
        run = match.group()
        self.at = match.end()
        if run.strip(" \t\r\n"):
            if "\\" in run:
                self.fix(FixKind.escaped_whitespace, "", run, " ")
            kind = FixKind.byte_order_mark if "\ufeff" in run else FixKind.raw_control
            if run.replace("\\n", "").replace("\\r", "").replace("\\t", "").strip(" \t\r\n"):
                self.fix(kind, "", run, "")

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def value(self, path: str) -> Any:
        self.blank()
        char = self.peek()
        match char:
            case "{" if self.bare:
                return self.braces(path)
            case "{":
                return self.members(path)
            case "[":
                return self.items(path, "]")
            case "(" if self.bare:
                return self.items(path, ")")
            case '"' | "'":
                return self.string(path)
            case "":
                self.fail("truncated", "the text ends where a value is due")
        return self.scalar(path)

    def scalar(self, path: str) -> Any:
        if number := _NUMBER.match(self.text, self.at):
            self.at = number.end()
            return self.number(number.group())
        if number := _LEADING_ZERO.match(self.text, self.at):
            self.at = number.end()
            return Bare(number.group())
        word = _WORD.match(self.text, self.at)
        if word is None:
            self.fail("syntax", f"a value is due, got {self.text[self.at : self.at + 20]!r}")
        name = word.group()
        if name not in _WORDS and name not in _PYTHON and not self.bare:
            self.fail("syntax", f"{name!r} is no JSON value")
        if name in ("NaN", "Infinity", "undefined"):
            self.fail("not_finite", f"{name} is no JSON value")
        self.at = word.end()
        if name in _PYTHON:
            self.fix(FixKind.python_literal, path, name, encode(_PYTHON[name]))
            return _PYTHON[name]
        return _WORDS[name] if name in _WORDS else Bare(name)

    def number(self, text: str) -> int | float:
        try:
            return int(text) if text.lstrip("-").isdigit() else finite(text)
        except ValueError:
            self.fail("not_finite", f"the number {text[:40]} is beyond any reader")

    def string(self, path: str) -> str:
        quote = self.peek()
        start = self.at
        chunk = _CHUNK[quote]
        parts: list[str] = []
        invalid = valid = False
        self.at += 1
        while True:
            match = chunk.match(self.text, self.at)
            assert match is not None
            parts.append(match.group())
            self.at = match.end()
            char = self.peek()
            if char == quote:
                self.at += 1
                break
            if char == "":
                self.at = start
                self.fail("truncated", "the text ends inside a string")
            if char != "\\":
                parts.append(self.controls(path))
                continue
            text, sort = self.escaped(quote)
            parts.append(text)
            invalid, valid = invalid or sort == "invalid", valid or sort == "valid"
        if invalid and valid:
            self.at = start
            self.fail("escape", "valid and invalid escapes in one string: two readings")
        if invalid:
            self.fix(FixKind.invalid_escape, path, self.text[start : self.at], encode("".join(parts)))
        if quote == "'":
            self.fix(FixKind.single_quotes, path, self.text[start : self.at], encode("".join(parts)))
        return "".join(parts)

    def controls(self, path: str) -> str:
        match = _CONTROLS.match(self.text, self.at)
        assert match is not None
        self.at = match.end()
        self.fix(FixKind.raw_control, path, match.group(), encode(match.group())[1:-1])
        return match.group()

    def escaped(self, quote: str) -> tuple[str, str]:
        """The text of the escape at the backslash, and whether it is neutral, valid or invalid.

        A quote or slash may be escaped by any writer. The letters, and a doubled backslash, tell that this
        writer escapes, so that a single backslash beside them has two readings.
        """
        char = self.text[self.at + 1 : self.at + 2]
        if char == "u":
            return self.unicode(), "valid"
        if char == "'" and quote == '"' and not self.bare:
            self.fail("escape", r"\' in a string: two readings")
        if (quote == "'" or self.bare) and char in _PYTHON_ESCAPES:
            self.fail("escape", f"\\{char} means one thing in JSON and another in Python")
        self.at += 2
        if char in ('"', "/", "'"):
            return char, "neutral"
        if char == "\\":
            return "\\", "valid"
        if char in _SIMPLE:
            return _SIMPLE[char], "valid"
        if char == "":
            self.fail("truncated", "the text ends inside a string")
        return "\\" + char, "invalid"

    def unicode(self) -> str:
        """One `\\uXXXX`, or two that make a surrogate pair; anything else is broken."""
        unit = _HEX4.match(self.text, self.at + 2)
        if unit is None:
            self.fail("escape", "a broken unicode escape")
        self.at += 6
        code = int(unit.group(), 16)
        if 0xD800 <= code < 0xDC00 and self.text[self.at : self.at + 2] == "\\u":
            low = _HEX4.match(self.text, self.at + 2)
            if low and 0xDC00 <= int(low.group(), 16) < 0xE000:
                self.at += 6
                return chr(0x10000 + ((code - 0xD800) << 10) + int(low.group(), 16) - 0xDC00)
        if 0xD800 <= code < 0xE000:
            self.fail("escape", "half a surrogate pair")
        return chr(code)

    def enter(self, closer: str) -> None:
        self.at += 1
        self._open.append(closer)
        if len(self._open) > LIMITS.nesting:
            self.fail("nesting", f"nested deeper than {LIMITS.nesting} levels")

    def ended(self, path: str, comma: bool) -> bool:
        """Whether the innermost container ends here; consumes its closer if there is one."""
        self.blank()
        closer = self._open[-1]
        char = self.peek()
        if char == closer:
            self.at += 1
            if comma:
                self.fix(FixKind.trailing_comma, path, "," + closer, closer)
        elif comma and (char or not self.closed):
            return False
        elif self.stopped() or (char in ("}", "]") and char in self._open):
            if comma:
                self.fail("truncated", "the text ends after a comma")
            self.fix(FixKind.missing_closer, path, "", closer)
        elif char == "":
            self.fail("truncated", "the text ends before the value does")
        else:
            return False
        self._open.pop()
        return True

    def stopped(self) -> bool:
        if self.at >= len(self.text):
            return self.closed
        return bool(self.stops) and self.text.startswith(self.stops, self.at)

    def members(self, path: str) -> dict[str, Any]:
        self.enter("}")
        result: dict[str, Any] = {}
        item: Any = None
        comma = False
        while not self.ended(path, comma):
            if result and not comma:
                self.missing_comma(path, item)
            key = self.key(path)
            self.blank()
            if self.peek() != ":":
                rule = "syntax" if self.peek() else "truncated"
                self.fail(rule, f"a colon is due, got {self.text[self.at : self.at + 20]!r}")
            self.at += 1
            item = self.value(path + escape(key))
            if key in result:
                if encode_any(result[key]) != encode_any(item):
                    self.fail("duplicate_key", f"{key!r} is given twice with different values")
                self.fix(FixKind.duplicate_key, path + escape(key), encode_any(item), "")
            result[key] = item
            comma = self.comma()
        return result

    def braces(self, path: str) -> Any:
        """Python's braces: a set of scalars, or else an object."""
        start, taken = self.at, len(self.fixes)
        try:
            self.at += 1
            self.blank()
            first = None if self.peek() in _NO_SCALAR else self.value(path)
            self.blank()
        except ReadError:
            first = None
        if first is not None and self.peek() in (",", "}"):
            return self.rest_of_set(path, start, first)
        self.at = start
        del self.fixes[taken:]
        return self.members(path)

    def rest_of_set(self, path: str, start: int, first: Any) -> Bare:
        found = [first]
        while self.comma():
            self.blank()
            if self.peek() == "}":
                break
            if self.peek() in _NO_SCALAR:
                self.fail("syntax" if self.peek() else "truncated", "a set holds scalars alone")
            found.append(self.value(path))
        if self.peek() != "}":
            rule = "syntax" if self.peek() else "truncated"
            self.fail(rule, f"the end of a set is due, got {self.text[self.at : self.at + 20]!r}")
        if len(set(found)) < len(found):
            self.fail("duplicate_item", "a set holds the same twice: once, or as often as it is written")
        self.at += 1
        return Bare(self.text[start : self.at], items=tuple(found))

    def missing_comma(self, path: str, before: Any) -> None:
        """Accepts a quoted key and its colon after a value that is no string: only a comma can be missing."""
        if isinstance(before, str) or not _NEXT_KEY.match(self.text, self.at):
            self.fail("syntax", f"a comma is due, got {self.text[self.at : self.at + 20]!r}")
        self.fix(FixKind.missing_comma, path, "", ",")

    def key(self, path: str) -> str:
        char = self.peek()
        if char and char in "\"'":
            return self.string(path)
        match = _KEY.match(self.text, self.at)
        if match is None:
            rule = "syntax" if char else "truncated"
            self.fail(rule, f"a key is due, got {self.text[self.at : self.at + 20]!r}")
        self.at = match.end()
        self.fix(FixKind.unquoted_key, path, match.group(), encode(match.group()))
        return match.group()

    def comma(self) -> bool:
        self.blank()
        if self.peek() != ",":
            return False
        self.at += 1
        return True

    def items(self, path: str, closer: str) -> list[Any]:
        self.enter(closer)
        result: list[Any] = []
        comma = False
        while not self.ended(path, comma):
            if result and not comma:
                self.fail("syntax", f"a comma is due, got {self.text[self.at : self.at + 20]!r}")
            result.append(self.value(f"{path}/{len(result)}"))
            comma = self.comma()
        return result


def read_value(
    text: str, at: int = 0, stops: tuple[str, ...] = (), closed: bool = False
) -> Reading | Unreadable:
    """Reads the value at `at` tolerantly. Numbers with a leading zero become Bare leaves."""
    reader = Reader(text, at, stops, closed)
    try:
        value = reader.value("")
    except ReadError as stop:
        return stop.reason
    return Reading(value, reader.at, tuple(reader.fixes))


_TAIL = re.compile(r'(?:[\s\x00-\x1f\ufeff}\]]|"")*')


def read_body(text: str, closed: bool) -> Reading | Unreadable:
    """Reads all of `text` as one value; closers and empty quotes may be left over after it."""
    reading = read_value(text, closed=closed)
    if isinstance(reading, Unreadable):
        return reading
    tail = _TAIL.match(text, reading.end)
    if tail is None or tail.end() != len(text):
        rest = text[reading.end :].lstrip()
        return Unreadable("trailing_text", f"text after the value: {rest[:40]!r}", reading.end)
    left = tail.group().strip(" \t\r\n")
    fixes = reading.fixes + ((Fix(FixKind.extra_closer, "", left, ""),) if left else ())
    return Reading(reading.value, len(text), fixes)
