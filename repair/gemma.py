"""Reads Gemma's arguments: unquoted keys, strings between two equal quoting tokens, JSON scalars."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from repair.limits import LIMITS
from repair.regions import SPECIAL_TOKENS, skip_space
from repair.schema import escape
from repair.strict import decode_strict, encode
from repair.types import Bare, Fix, FixKind, Problem

_KEY = re.compile(r"(?P<key>[\w.$ -]{1,256}?)\s*:")
#: the quoting tokens of the family; one that is not this format's own is no part of a word either
_TOKENS = ('<|"|>', "<escape>")
_SINGLE = re.compile(r"'(?P<text>[^'\\\n]*)'")
_PLAIN_END = re.compile(r"[,}\])]")


@dataclass(frozen=True, slots=True)
class Quotes:
    """The quoting token, which stands before and after a string. The text between needs no escaping."""

    token: str


@dataclass(slots=True)
class Members:
    """Arguments that were read. tree: the arguments. end: index after the closing brace."""

    end: int
    tree: dict[str, Any] = field(default_factory=dict)
    fixes: list[Fix] = field(default_factory=list)
    problem: Problem | None = None


class _GemmaUnclear(Exception):
    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.problem = Problem("", rule, message)


def read_members(text: str, at: int, keys: tuple[str, ...], quotes: Quotes, ends: tuple[str, ...]) -> Members:
    """The arguments whose opening bracket stands at `at`.

    keys: the tool's own, which bound unquoted text.
    ends: what may follow the closing bracket, beside the end of the text.
    """
    result = Members(at)
    reader = _GemmaReader(text, keys, quotes, ends, result)
    try:
        result.tree, result.end = reader.members(at, "", 0)
    except _GemmaUnclear as reason:
        result.problem = reason.problem
        result.end = len(text)
    return result


class _GemmaReader:
    def __init__(
        self, text: str, keys: tuple[str, ...], quotes: Quotes, ends: tuple[str, ...], result: Members
    ) -> None:
        self.text = text
        self.token = quotes.token
        self.ends = (*ends, *SPECIAL_TOKENS)
        self.result = result
        names = "|".join(re.escape(key) for key in keys)
        self.next_key = re.compile(rf",\s*(?:{names})\s*:") if names else re.compile(r"(?!)")

    def after(self, at: int) -> str:
        """The next character that is not white space."""
        at = skip_space(self.text, at)
        return self.text[at : at + 1]

    def members(self, at: int, path: str, level: int) -> tuple[dict[str, Any], int]:
        self.check(level)
        closer = {"{": "}", "(": ")"}[self.text[at]]
        tree: dict[str, Any] = {}
        at = skip_space(self.text, at + 1)
        while not self.text.startswith(closer, at):
            key, at = self.key(at)
            if key in tree:
                raise _GemmaUnclear("duplicate_parameter", f"{key!r} is given twice")
            tree[key], at = self.value(skip_space(self.text, at), path + escape(key), level, closer)
            at = self.separator(at, closer)
        return tree, at + 1

    def check(self, level: int) -> None:
        if level > LIMITS.nesting:
            raise _GemmaUnclear("nesting", f"nested deeper than {LIMITS.nesting} levels")

    def key(self, at: int) -> tuple[str, int]:
        if self.text.startswith(self.token, at):
            key, at = self.quoted(at, key=True)
            at = skip_space(self.text, at)
            if not self.text.startswith(":", at):
                raise _GemmaUnclear("syntax", f"a colon is due after the key {key!r}")
            return key, at + 1
        if self.text[at : at + 1] in ('"', "'"):
            key, end = self.plain_quoted(at, escape(""))
            end = skip_space(self.text, end)
            if not isinstance(key, str) or not self.text.startswith(":", end):
                raise _GemmaUnclear("syntax", f"a colon is due after a key, got {self.text[at : at + 30]!r}")
            return key, end + 1
        found = _KEY.match(self.text, at)
        if found is None:
            rule = "syntax" if at < len(self.text) else "truncated"
            raise _GemmaUnclear(rule, f"a key is due, got {self.text[at : at + 30]!r}")
        return found.group("key").strip(), found.end()

    def separator(self, at: int, closer: str) -> int:
        """Skips a comma; the index of the next member or of the closer."""
        at = skip_space(self.text, at)
        if self.text.startswith(",", at):
            at = skip_space(self.text, at + 1)
            if self.text.startswith(closer, at):
                self.result.fixes.append(Fix(FixKind.trailing_comma, "", "," + closer, closer))
            return at
        if self.text.startswith(closer, at):
            return at
        rule = "syntax" if at < len(self.text) else "truncated"
        raise _GemmaUnclear(rule, f"a comma or the end is due, got {self.text[at : at + 30]!r}")

    def value(self, at: int, path: str, level: int, closer: str) -> tuple[Any, int]:
        if self.text.startswith(self.token, at):
            return self.quoted(at)
        char = self.text[at : at + 1]
        if char == "{":
            return self.members(at, path, level + 1)
        if char == "[":
            return self.items(at, path, level + 1)
        if char == "":
            raise _GemmaUnclear("truncated", "the text ends where a value is due")
        if char in ('"', "'"):
            return self.plain_quoted(at, path)
        try:
            value, end = decode_strict(self.text, at)
        except ValueError:
            return self.words(at, path, closer, level)
        following = self.after(end)
        return (value, end) if following in (",", closer) else self.words(at, path, closer, level)

    def plain_quoted(self, at: int, path: str) -> tuple[Any, int]:
        """A string in JSON's or Python's quotes. A backslash in it has two readings, an escape or Gemma's raw
        text; so has a quote, which may end the string or not.
        """
        if self.text[at] == "'":
            found = _SINGLE.match(self.text, at)
            if found is None or self.after(found.end()) not in (",", ":", "}", "]", ")"):
                raise _GemmaUnclear(
                    "quotes", f"where a quoted text ends is not certain: {self.text[at : at + 30]!r}"
                )
            value = found.group("text")
            self.result.fixes.append(Fix(FixKind.bare_word, path, found.group(), encode(value)))
            return value, found.end()
        try:
            value, end = decode_strict(self.text, at)
        except ValueError as error:
            message = f"a string in plain quotes cannot be read: {self.text[at : at + 30]!r}"
            raise _GemmaUnclear("escape", message) from error
        if "\\" in self.text[at:end]:
            raise _GemmaUnclear("escape", "a backslash in plain quotes: an escape, or a backslash")
        self.result.fixes.append(Fix(FixKind.bare_word, path, self.text[at:end], encode(value)))
        return value, end

    def items(self, at: int, path: str, level: int) -> tuple[list[Any], int]:
        self.check(level)
        items: list[Any] = []
        at = skip_space(self.text, at + 1)
        while not self.text.startswith("]", at):
            item, at = self.value(at, f"{path}/{len(items)}", level, "]")
            items.append(item)
            at = self.separator(at, "]")
        return items, at + 1

    def quoted(self, at: int, key: bool = False) -> tuple[str, int]:
        """A string, which ends at the quoting token that structure follows; any other quoting token is part
        of it.
        """
        start = at + len(self.token)
        end = self.text.find(self.token, start)
        while end >= 0:
            after = end + len(self.token)
            following = self.after(after)
            if following == ":" if key else following in (",", "}", "]", ")"):
                return self.text[start:end], after
            end = self.text.find(self.token, after)
        raise _GemmaUnclear("truncated", "a string does not end")

    def words(self, at: int, path: str, closer: str, level: int) -> tuple[Any, int]:
        """Unquoted text, typed by the schema: up to the next of the tool's keys, or the end of the call."""
        end = self.words_end(at, closer) if level == 0 else self.plain_end(at)
        text = self.text[at:end].strip()
        lost = text.endswith(self.token)
        text = text.removesuffix(self.token) if lost else text
        if not text or any(token in text for token in _TOKENS):
            raise _GemmaUnclear("syntax", f"a value cannot be read: {text[:40]!r}")
        self.result.fixes.append(Fix(FixKind.bare_word, path, self.text[at:end], encode(text)))
        return (text if lost else Bare(text)), end

    def plain_end(self, at: int) -> int:
        found = _PLAIN_END.search(self.text, at)
        if found is None:
            raise _GemmaUnclear("truncated", "the text ends inside a value")
        return found.start()

    def words_end(self, at: int, closer: str) -> int:
        following = self.next_key.search(self.text, at)
        end = self.text.find(closer, at)
        while end >= 0 and not (following and following.start() < end):
            after = skip_space(self.text, end + 1)
            if after >= len(self.text) or self.text.startswith(self.ends, after):
                return end
            end = self.text.find(closer, end + 1)
        if following is None:
            raise _GemmaUnclear("truncated", "the text ends inside a value")
        return following.start()


def write_value(value: Any, quotes: Quotes) -> str:
    """A value as Gemma writes it."""
    if isinstance(value, Mapping):
        members = (f"{_write_key(key, quotes)}:{write_value(item, quotes)}" for key, item in value.items())
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(write_value(item, quotes) for item in value) + "]"
    return quotes.token + value + quotes.token if isinstance(value, str) else encode(value)


def _write_key(key: str, quotes: Quotes) -> str:
    return key if re.fullmatch(r"[\w.$-]{1,256}", key) else quotes.token + key + quotes.token
