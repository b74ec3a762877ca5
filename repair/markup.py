"""Parameters in tags, `<parameter=k>text</parameter>`: the reader that the XML-like formats share.

The formats know no escaping, so a tag is structure only where the grammar lets one stand: a closing tag
must be followed by the next parameter or the end of the call, and a key must be one of the tool's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from repair.regions import SPECIAL_TOKENS, match_literal, skip_space
from repair.schema import escape
from repair.tools import Tool
from repair.types import Bare, Fix, FixKind, Problem


@dataclass(frozen=True, slots=True)
class Grammar:
    """open: matches a parameter's opening tag, group "key". close: its closing tag. ends: closing tags
    of the call itself, the right one first. outer: markers that bound the call from outside.
    typed: the opening tag's group "text" tells whether the value is a string ("true") or JSON.
    """

    open: re.Pattern[str]
    close: str
    ends: tuple[str, ...]
    outer: tuple[str, ...] = ()


@dataclass(slots=True)
class Parameters:
    """tree: key -> Bare text. end: index after the call's own closing tag. closed: something proves that
    no parameter is missing at the end.
    """

    end: int
    tree: dict[str, Bare] = field(default_factory=dict)
    fixes: list[Fix] = field(default_factory=list)
    closed: bool = True
    problem: Problem | None = None

    def refuse(self, rule: str, message: str, end: int) -> Parameters:
        self.problem = Problem("", rule, message)
        self.end = end
        return self


def read_parameters(text: str, at: int, tool: Tool | None, grammar: Grammar) -> Parameters:
    """All parameters from `at` to the end of the call."""
    result = Parameters(at)
    while True:
        at = skip_space(text, at)
        opening = grammar.open.match(text, at)
        if opening is None:
            return _end(text, at, grammar, result)
        key = opening.group("key").strip()
        if key in result.tree:
            return result.refuse("duplicate_parameter", f"{key!r} is given twice", at)
        at = _read_one(text, opening.end(), key, tool, grammar, result)
        if result.problem:
            return result


def _read_one(
    text: str, start: int, key: str, tool: Tool | None, grammar: Grammar, result: Parameters
) -> int:
    """One value; returns the index after its closing tag."""
    at = text.find(grammar.close, start)
    while at >= 0:
        after = at + len(grammar.close)
        following = skip_space(text, after)
        run = at
        while text.startswith(grammar.close, following):
            run, following = following, skip_space(text, following + len(grammar.close))
        if _is_structure(text, following, tool, grammar):
            return _take(text, start, at, run, key, tool, grammar, result)
        at = text.find(grammar.close, run + len(grammar.close))
    ends = [pos for one in (*grammar.ends, *grammar.outer) if (pos := text.find(one, start)) >= 0]
    if not ends:
        result.refuse("truncated", f"the value of {key!r} does not end", len(text))
        return len(text)
    bound = min(ends)
    result.fixes.append(Fix(FixKind.missing_closer, escape(key), "", grammar.close))
    _store(text, start, bound, key, tool, grammar, result)
    return bound


def _is_structure(text: str, at: int, tool: Tool | None, grammar: Grammar) -> bool:
    """Whether a closing tag that is followed by text[at:] can end a value."""
    if at >= len(text) or match_literal(text, at, (*grammar.ends, *grammar.outer, *SPECIAL_TOKENS)):
        return True
    opening = grammar.open.match(text, at)
    if opening is None:
        return _is_cut(text, at, grammar)
    key = opening.group("key").strip()
    return tool is None or key in tool.keys or not tool.schema.closed_keys


def _is_cut(text: str, at: int, grammar: Grammar) -> bool:
    """Whether the text ends inside a closing tag of the call."""
    rest = text[at:].rstrip() if len(text) - at < 64 else ""
    return len(rest) > 1 and any(one.startswith(rest) for one in (*grammar.ends, *grammar.outer))


def _take(
    text: str,
    start: int,
    first: int,
    last: int,
    key: str,
    tool: Tool | None,
    grammar: Grammar,
    result: Parameters,
) -> int:
    """A value that ends at the first of a run of closing tags, or at the last where the others are data."""
    end = last
    doubled = first != last
    if doubled and text[first - 1 : first] == "\n" and not grammar.open.search(text, start, first):
        result.fixes.append(Fix(FixKind.extra_closer, escape(key), grammar.close, ""))
        end = first
    _store(text, start, end, key, tool, grammar, result)
    return last + len(grammar.close)


def _store(
    text: str, start: int, end: int, key: str, tool: Tool | None, grammar: Grammar, result: Parameters
) -> None:
    value = text[start:end]
    for inner in grammar.open.finditer(value):
        name = inner.group("key").strip()
        if tool is not None and name in tool.keys and (name != key or _closes(value, inner.start(), grammar)):
            message = f"the value of {key!r} holds the opening tag of {name!r}: data, or a parameter"
            result.refuse("ambiguous_parameter", message, end)
            return
    value = value.removeprefix("\r\n") if value.startswith("\r\n") else value.removeprefix("\n")
    value = value.removesuffix("\r\n") if value.endswith("\r\n") else value.removesuffix("\n")
    result.tree[key] = Bare(value)


def _closes(value: str, at: int, grammar: Grammar) -> bool:
    return value[:at].rstrip().endswith(grammar.close)


def _end(text: str, at: int, grammar: Grammar, result: Parameters) -> Parameters:
    found = match_literal(text, at, grammar.ends)
    if found:
        if found != grammar.ends[0]:
            result.fixes.append(Fix(FixKind.corrupted_marker, "", found, grammar.ends[0]))
        result.end = at + len(found)
        return result
    result.end = at
    if match_literal(text, at, (*grammar.outer, *SPECIAL_TOKENS)):
        result.fixes.append(Fix(FixKind.missing_tag, "", "", grammar.ends[0]))
        return result
    if _is_cut(text, at, grammar):
        result.fixes.append(Fix(FixKind.missing_tag, "", text[at:], grammar.ends[0]))
        result.end = len(text)
        result.closed = False
        return result
    if at >= len(text):
        return result.refuse("truncated", "the call ends before its closing tag", at)
    return result.refuse(
        "syntax", f"a parameter or the end of the call is due, got {text[at : at + 40]!r}", at
    )
