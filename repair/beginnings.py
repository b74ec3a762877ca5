"""Tells whether a text begins like a call that no reading has accepted; one of the signs of an attempt.

Words may follow: models chat on after a call. A text that shows or explains calls begins with words of its
own.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection

from repair.endings import FENCE_LINE, HEAD, MARKED_HEAD, ends_in_call, is_call_shape, is_closer, match_marker
from repair.formats import FORMATS, bare_python
from repair.limits import LIMITS
from repair.regions import SPECIAL_TOKENS
from repair.strict import decode_strict
from repair.tools import ToolSet

_BROKEN_MARKER = re.compile(
    r"(?:<[|/\uff5c]?[\w:|\uff5c\u2581 -]{0,30}?|\[{0,2})"
    r"(?:(?:tool|function)s?[\s_\u2581-]{0,2}(?:call|use|sep)|invoke[ =]"
    r"|cal{1,3}i{1,2}ng[ _]?(?:tool|\w{0,6}:))"
    r"|<[\w:|-]{1,24}calls?>|```tool_c(?:ode|all)\s",
    re.IGNORECASE,
)
_TOKEN = re.compile(r"[<\[][^\s<>\[\]]{3,40}[>\]]")
_SKIPPED = re.compile(r"[\s\ufeff\u200b-\u200d\u2060\x00-\x1f]{1,40}")
_WORD = re.compile(r"[\w.-]+")
_NAMED = re.compile(r"(?:functions\.)?(?P<name>[\w.-]{1,80})\(")
_LISTED = re.compile(r"\[\s{0,9}[\w.\ufffd-]{1,80}\(\s{0,9}(?:\w{1,80}\s?=|\))")
_LISTED_NAME = re.compile(r"\[\s{0,9}(?:functions\.)?([\w.-]{3,80})\Z")
_TOLD = (">", "\u273f")  # with what begins a marker that holds the call's name, or says that it follows
# what follows no marker that is only spoken of
_GARBLED = re.compile(r"\s{0,9}[\"':,]|(?<=[>\]])\w")
# the end of a marker, right before another one or a call; a quotation has a space there
_REMAINS = re.compile(r"(?:[\w|\uff5c]{0,3}>|(?:(?:\w{0,6}ing )?tool)?: ?)(?=[<\w])")
# a call as JSON that ends in its name
_BEGUN_HEAD = re.compile(r"\{\s{0,40}\"name\"\s{0,9}:\s{0,9}\"([\w.:/-]{2,128})\Z")
_TOLD_NAME = re.compile(r">>>([\w./-]{2,64})\Z")
_FILLED = re.compile(r"[{}(]|=[\"']|<[\w:|]{0,12}(?:param|arg)")
# a sentence that goes on is about the call
_LINE_END = re.compile(r"[;,\s]{0,20}\n(?!\s{0,20}[a-z])|\s*\Z")


def begins_call(text: str, tools: ToolSet, json_asked: bool = False) -> bool:
    """Whether `text`, in which no call has been read, begins with a call: with the marker of any family, with
    a broken one and a declared tool's name, or with a declared tool's call on lines of its own.
    json_asked: the answer was to be JSON.
    """
    if not tools:
        return False
    at = _first(text)
    beginning = text[at : at + LIMITS.attempt_chars]
    marker = match_marker(beginning)
    if marker is not None:
        return _is_filled(beginning, marker)
    remains = _REMAINS.match(beginning)
    behind = beginning[remains.end() :] if remains else ""
    marker = match_marker(behind)
    if marker is not None and _is_filled(behind, marker):
        return True
    slip = _is_slip(beginning)
    if slip and is_closer(text[text.rfind("<") :]):
        return True
    broken = _BROKEN_MARKER.match(beginning) is not None
    if slip or broken or _is_behind_remains(beginning, tools):
        return not set(_WORD.findall(beginning)).isdisjoint(tools.names)
    told = _TOLD_NAME.match(beginning)
    if told is not None and any(name.startswith(told.group(1)) for name in tools.names):
        return True
    return (not json_asked and _is_object(text, at, tools)) or _is_python(text, at, tools)


def _is_slip(text: str) -> bool:
    """Whether `text` begins with a marker that lacks one character, or has one twice."""
    token = _TOKEN.match(text)
    return token is not None and token.group() in _slips()


@functools.cache
def _slips() -> frozenset[str]:
    openers = {one for form in FORMATS.values() for one in form.OPENERS if _TOKEN.fullmatch(one)}
    lacking = {f"{one[:at]}{one[at + 1 :]}" for one in openers for at in range(1, len(one) - 1)}
    doubled = {f"{one[:at]}{one[at:][:1]}{one[at:]}" for one in openers for at in range(1, len(one) - 1)}
    return frozenset((lacking | doubled) - openers)


def _is_filled(text: str, marker: re.Match[str]) -> bool:
    """Whether what follows a marker at the beginning of `text` is no talk about it."""
    filled = _FILLED.search(text, marker.end()) or _GARBLED.match(text, marker.end())
    return marker.group()[0] in _TOLD or filled is not None


def opens_section(text: str, openers: Collection[str]) -> bool:
    """Whether `text` begins with one of the markers, which stands alone on its line."""
    at = _first(text)
    line = text[at : text.find("\n", at) + 1]
    return line.endswith("\n") and line.strip() in openers


def _is_behind_remains(beginning: str, tools: ToolSet) -> bool:
    """Whether a marker or a declared tool's call stands right behind what may be left of a marker."""
    remains = _REMAINS.match(beginning)
    if remains is not None:
        body = beginning[remains.end() :]
        named = _NAMED.match(body)
        return match_marker(body) is not None or (named is not None and named.group("name") in tools.names)
    head = MARKED_HEAD.match(beginning)
    behind = beginning[: head.start("json")] if head is not None else ""
    return behind[:1] in ("<", "|", ">", "[", "\u273f") and not behind[-1].isspace()


def begun_tool(text: str, tools: ToolSet, read: str = "") -> str:
    """The tool that is named first in a text that begins with a call, in a fence or not: a declared one, or
    any where the text is a call as JSON. "" for any other text, and where none is named.

    read: the name of the first call that was read in it, which may be of no declared tool.
    """
    fence = FENCE_LINE.match(text)
    body = text[fence.end() :] if fence else text
    at = _first(body)
    beginning = body[at : at + LIMITS.attempt_chars]
    head = MARKED_HEAD.match(beginning)
    if head is not None and (head.group(2) in tools.names or ends_in_call(text, tools)):
        return head.group(2)
    if match_marker(beginning) is None and not begins_call(body, tools):
        return ""
    named = _declared(tools.names).search(beginning)
    return named.group() if named else read


@functools.lru_cache(maxsize=256)
def _declared(tools: tuple[str, ...]) -> re.Pattern[str]:
    """A pattern for one of the names as a word of its own."""
    names = "|".join(re.escape(name) for name in sorted(tools, key=len, reverse=True))
    return re.compile(rf"(?<![\w-])(?:{names})(?![\w-])")


def _first(text: str) -> int:
    """Where the text begins, behind white space, a byte-order mark and a template's tokens."""
    at = 0
    while True:
        start = at
        blank = _SKIPPED.match(text, at)
        at = blank.end() if blank else at
        token = next((one for one in SPECIAL_TOKENS if text.startswith(one, at)), "")
        at += len(token)
        if at == start:
            return at


def _is_object(text: str, at: int, tools: ToolSet) -> bool:
    """Whether a declared tool's call as JSON, or a list of calls, stands on lines of its own; or a broken one
    stands there.
    """
    if text[at : at + 1] not in ("{", "["):
        return False
    begun = _BEGUN_HEAD.match(text, at)
    if begun is not None:
        return any(name.startswith(begun.group(1)) for name in tools.names)
    try:
        value, end = decode_strict(text, at)
    except ValueError:
        head = HEAD.match(text, at)
        return head is not None and head.group(1) in tools.names
    told = any(name in text[at:end] for name in tools.names)
    return told and is_call_shape(value) and _LINE_END.match(text, end) is not None


def _is_python(text: str, at: int, tools: ToolSet) -> bool:
    """The same for calls as Python writes them; a list of them may be of any tool, and have no end."""
    if text.startswith("[", at):
        begun = _LISTED_NAME.match(text, at)
        if begun is not None:
            return any(name.startswith(begun.group(1)) for name in tools.names)
        listed = _LISTED.match(text, at)
        if listed is None:
            return False
        region = bare_python.parse(text, at, tools)
        return region is None or _LINE_END.match(text, region.end) is not None
    named = _NAMED.match(text, at)
    if named is None or named.group("name") not in tools.names:
        return False
    region = bare_python.parse(text, at, tools)
    return region is not None and bool(region.calls) and _LINE_END.match(text, region.end) is not None
