"""Parameters in tags, `<parameter=k>text</parameter>`: the reader that the XML-like formats share.

The formats know no escaping, so a tag is structure only where the grammar lets one stand: a closing tag
must be followed by the next parameter or the end of the call.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from repair.regions import SPECIAL_TOKENS, match_literal, skip_space
from repair.schema import escape
from repair.strict import decode_strict
from repair.tools import Tool
from repair.types import Bare, Fix, FixKind, Problem


@dataclass(frozen=True, slots=True)
class MarkupGrammar:
    """How parameters are written in tags.

    open: matches a parameter's opening tag, with the group "key". The group "typed", if there is one, tells
        whether the value is a string ("true", "string") or JSON (anything else).
    close: the closing tag of a parameter.
    ends: closing tags of the call itself, the right one first.
    outer: markers that bound the call from outside.
    newline: one line break after the opening tag belongs to the format, and one before the closing tag where
        the call writes the first: else the value ends in it.
    cdata: markers inside which a value is verbatim.
    parameter: the literal that begins an opening tag, where closing tags may begin like it.
    value: where a key has a tag of its own, the literal that opens the value. `open` has a group "lost" where
        that literal is missing, and a group "wrong" where a key's literal replaces it.
    half: matches an opening tag without that of its value.
    """

    open: re.Pattern[str]
    close: str
    ends: tuple[str, ...]
    outer: tuple[str, ...] = ()
    newline: bool = True
    cdata: tuple[str, str] | None = None
    parameter: str = ""
    value: str = ""
    half: re.Pattern[str] | None = None


@dataclass(slots=True)
class Parameters:
    """Parameters that were read.

    tree: key -> Bare text, or the value where the format tells its type.
    end: index after the call's own closing tag.
    closed: something proves that no parameter is missing at the end.
    spaced: the line break that stood behind an opening tag, "" where none did.
    ended: keys of values that end in a line break without having begun with one.
    """

    end: int
    tree: dict[str, Any] = field(default_factory=dict)
    fixes: list[Fix] = field(default_factory=list)
    closed: bool = True
    problem: Problem | None = None
    spaced: str = ""
    ended: list[str] = field(default_factory=list)

    def refuse(self, rule: str, message: str, end: int) -> Parameters:
        self.problem = Problem("", rule, message)
        self.end = end
        return self


def read_parameters(text: str, at: int, tool: Tool | None, grammar: MarkupGrammar) -> Parameters:
    """All parameters from `at` to the end of the call."""
    result = _read_all(text, at, tool, grammar)
    if result.spaced:
        for key in result.ended:
            result.tree[key] = Bare(result.tree[key].text.removesuffix(result.spaced))
    return result


def _read_all(text: str, at: int, tool: Tool | None, grammar: MarkupGrammar) -> Parameters:
    result = Parameters(at)
    while True:
        at = skip_space(text, at)
        opening = grammar.open.match(text, at)
        if opening is None:
            return _end(text, at, grammar, result)
        key = opening.group("key").strip()
        if key in result.tree:
            return result.refuse("duplicate_parameter", f"{key!r} is given twice", at)
        fix = _value_tag(opening, key, grammar)
        if fix is not None:
            if tool is None or key not in tool.keys:
                return result.refuse("ambiguous_parameter", f"{key!r} is no parameter, and has no value", at)
            result.fixes.append(fix)
        at = _read_one(text, opening.end(), key, tool, grammar, result)
        if result.problem:
            return result
        if fix is not None and tool and result.tree[key].text.strip() in tool.keys:
            return result.refuse(
                "ambiguous_parameter", f"the value of {key!r} is a key without its value", at
            )
        if "typed" in grammar.open.groupindex:
            result.tree[key] = _typed(result.tree[key], opening.group("typed"))


def _value_tag(opening: re.Match[str], key: str, grammar: MarkupGrammar) -> Fix | None:
    """The fix for what stands where the opening tag of the value is due; None where that tag is there."""
    groups = opening.groupdict()
    if groups.get("wrong") is not None:
        return Fix(FixKind.corrupted_marker, escape(key), groups["wrong"], grammar.value)
    return (
        Fix(FixKind.missing_tag, escape(key), "", grammar.value) if groups.get("lost") is not None else None
    )


def _read_one(
    text: str, start: int, key: str, tool: Tool | None, grammar: MarkupGrammar, result: Parameters
) -> int:
    """Reads one value; returns the index after its closing tag."""
    if grammar.cdata and text.startswith(grammar.cdata[0], skip_space(text, start)):
        return _read_verbatim(text, skip_space(text, start), key, grammar, result)
    at = text.find(grammar.close, start)
    while at >= 0:
        after = at + len(grammar.close)
        following = skip_space(text, after)
        run = at
        while text.startswith(grammar.close, following):
            run, following = following, skip_space(text, following + len(grammar.close))
        if _is_structure(text, following, grammar):
            return _take(text, start, at, run, key, tool, grammar, result)
        at = text.find(grammar.close, run + len(grammar.close))
    ends = [pos for one in (*grammar.ends, *grammar.outer) if (pos := text.find(one, start)) >= 0]
    if not ends:
        result.refuse("truncated", f"the value of {key!r} does not end", len(text))
        return len(text)
    bound = min(ends)
    if grammar.close in text[start:bound]:
        result.refuse("ambiguous_end", f"where the value of {key!r} ends is not certain", bound)
        return bound
    result.fixes.append(Fix(FixKind.missing_closer, escape(key), "", grammar.close))
    _store(text, start, _before_line_break(text, start, bound), key, tool, grammar, result)
    return bound


def _before_line_break(text: str, start: int, end: int) -> int:
    line_break = "\r\n" if text.endswith("\r\n", start, end) else "\n"
    return end - len(line_break) if text.endswith(line_break, start, end) else end


def _read_verbatim(text: str, start: int, key: str, grammar: MarkupGrammar, result: Parameters) -> int:
    opening, closing = grammar.cdata or ("", "")
    end = text.find(closing, start)
    after = skip_space(text, end + len(closing))
    if end < 0 or not text.startswith(grammar.close, after):
        result.refuse("truncated", f"the value of {key!r} does not end", len(text))
        return len(text)
    result.tree[key] = Bare(text[start + len(opening) : end])
    return after + len(grammar.close)


def _is_structure(text: str, at: int, grammar: MarkupGrammar) -> bool:
    """Whether a closing tag that is followed by text[at:] can end a value.

    A parameter that opens directly after it counts, declared or not: validation judges it.
    """
    if at >= len(text) or match_literal(text, at, (*grammar.ends, *grammar.outer, *SPECIAL_TOKENS)):
        return True
    return grammar.open.match(text, at) is not None or _is_cut(text, at, grammar)


def _is_cut(text: str, at: int, grammar: MarkupGrammar) -> bool:
    """Whether the text ends inside a closing tag of the call, and not inside what may begin another
    parameter.
    """
    rest = text[at:].rstrip() if len(text) - at < 64 else ""
    if len(rest) <= 1 or grammar.parameter.startswith(rest):
        return False
    return any(one.startswith(rest) for one in (*grammar.ends, *grammar.outer))


def _take(
    text: str,
    start: int,
    first: int,
    last: int,
    key: str,
    tool: Tool | None,
    grammar: MarkupGrammar,
    result: Parameters,
) -> int:
    """Takes a value that ends at the last of a run of closing tags, the others being data; or at the first,
    if each is on its own line after one line of text without any markup.
    """
    end = last
    before = text[start:first].strip()
    plain = bool(before) and "<" not in before and "\n" not in before
    if first != last and text[first - 1 : first] == "\n" and plain:
        result.fixes.append(Fix(FixKind.extra_closer, escape(key), grammar.close, ""))
        end = first
    _store(text, start, end, key, tool, grammar, result)
    return last + len(grammar.close)


def _store(
    text: str, start: int, end: int, key: str, tool: Tool | None, grammar: MarkupGrammar, result: Parameters
) -> None:
    value = text[start:end]
    for inner in grammar.open.finditer(value):
        name = inner.group("key").strip()
        if tool is not None and name in tool.keys and (name != key or _closes(value, inner.start(), grammar)):
            message = f"the value of {key!r} holds the opening tag of {name!r}: data, or a parameter"
            result.refuse("ambiguous_parameter", message, end)
            return
    doubt = _doubled(value, tool, grammar)
    if doubt:
        result.refuse("ambiguous_parameter", f"the value of {key!r} {doubt}", end)
        return
    result.tree[key] = Bare(_own(value, key, result) if grammar.newline else value)


def _own(value: str, key: str, result: Parameters) -> str:
    """A value without the line breaks that lay the call out."""
    if not value.startswith(("\n", "\r\n")):
        result.ended += [key] if value.endswith("\n") else []
        return value
    result.spaced = "\r\n" if value.startswith("\r\n") else "\n"
    return value.removeprefix(result.spaced).removesuffix(result.spaced)


def _doubled(value: str, tool: Tool | None, grammar: MarkupGrammar) -> str:
    """Why what was read as one value may be several, where keys have their own tags; "" where it is one."""
    if grammar.value and value.lstrip().startswith(grammar.value):
        return f"begins with {grammar.value!r}: data, or a tag too many"
    for inner in grammar.half.finditer(value) if grammar.half else ():
        name = inner.group("key").strip()
        if tool is not None and name in tool.keys and _closes(value, inner.start(), grammar):
            return f"holds the tags of {name!r}: data, or a parameter"
    return ""


def _typed(value: Bare, string: str | None) -> Any:
    if string in ("true", "string"):
        return value.text
    if string is None:
        return value
    try:
        read, end = decode_strict(value.text)
    except ValueError:
        return value
    return value if value.text[end:].strip() else read


def _closes(value: str, at: int, grammar: MarkupGrammar) -> bool:
    return value[:at].rstrip().endswith(grammar.close)


def _end(text: str, at: int, grammar: MarkupGrammar, result: Parameters) -> Parameters:
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
