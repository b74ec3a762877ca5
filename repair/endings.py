"""Tells whether a text ends in the shape of a call that no format has read; one of the signs of an attempt.

An agent's run would end there without notice. Such a turn is asked again, and never executed. Only the end of
the text decides, since words after a call make an example of it.
"""

from __future__ import annotations

import functools
import json
import re
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from typing import Any

from repair.definitions import ends_in_definitions, is_definition
from repair.formats import FORMATS, FRAME_ENDS
from repair.placement import Line
from repair.regions import SPECIAL_TOKENS
from repair.strict import decode_strict
from repair.tools import ToolSet
from repair.types import ToolCall

_FENCE = "```"
_FENCE_LINE = re.compile(r"^[ \t]{0,9}```", re.MULTILINE)
_BARS = "\uff5c\u2016\u2223\u2502\u2503\u00a6\u01c0"  # what models write for the bar of a marker
_FOLDED = str.maketrans({**dict.fromkeys(_BARS, "|"), "\u2581": "_"})
_MARKERS = 64  # markers of a text that are looked at, the last ones
_LINE_CHARS = 4000  # characters of a line that are looked at, before a marker
_JSON_CHARS = 1_000_000  # characters at the end of a text in which JSON is looked for
_LEAST_OPENER = 4  # characters of the beginning of a marker that end a turn
_PROBE, _PROBE_KEY = "probename", "probekey"
_TRIES = 4  # beginnings of JSON that are tried, from the last one on
_NAME = re.compile(r"[\w.:/\ufffd-]{1,128}")
_KEYS = ({"name", "arguments"}, {"name", "parameters"})
# where JSON begins a line, or stands right behind what may be a broken marker
_LINE = re.compile(r"^[ \t]{0,3}[^\s{}\"]{0,40}?(?P<json>\[?\s{0,40}\{|\[)", re.MULTILINE)
_INFO = re.compile(r"[\w+-]{0,20}[ \t]{0,9}\r?\n")
#: the line that opens a fence with which a text begins
FENCE_LINE = re.compile(r"\s{0,20}```[\w+-]{0,20}[ \t]{0,9}\r?\n")
_OBJECT_HEAD = (
    r"\{\s{0,40}[\"']name[\"']\s{0,9}:\s{0,9}[\"']([\w.:/\ufffd-]{1,128})[\"']\s{0,9},\s{0,40}"
    r"[\"'](?:arguments|parameters)[\"']\s{0,9}:"
)
#: a call as JSON up to its arguments, at the beginning of a line
HEAD = re.compile(rf"^[ \t]{{0,3}}\[?\s{{0,9}}{_OBJECT_HEAD}", re.MULTILINE)
#: the same, or right behind what may be a broken marker; groups: the JSON, the name
MARKED_HEAD = re.compile(
    rf"^[ \t]{{0,3}}[^\s{{}}\"`]{{0,40}}?(?P<json>(?:\[\s{{0,9}})?{_OBJECT_HEAD})", re.MULTILINE
)
_TOOLS = re.compile(r"</?tools>\s{0,20}|<\w{0,20}:?tools?>\s{0,20}|</\w{0,20}:?tools?>")


def _loose(marker: str) -> str:
    """A pattern for the marker with any bars in place of its own, and any joints, in a folded text."""
    return re.escape(fold(marker)).replace(r"\|", r"\|{1,2}").replace("_", "[_ ]")


def fold(text: str) -> str:
    """The text, of the same length, with one bar for all characters that look like it, and one joint. The
    text is folded and not the patterns, because classes of such characters take much memory in each place.
    """
    return text if text.isascii() else text.translate(_FOLDED)


_OPENING = sorted(
    {one for form in FORMATS.values() for one in form.OPENERS if one[0] in "<[]\u273f"},
    key=lambda one: (-len(one), one),
)
_FOLDED_OPENING = sorted(map(fold, _OPENING))
#: the marker of a call, in a folded text; every alternative begins with one of four characters, so that other
#: text is skipped at once
MARKER = "|".join(
    (
        *map(_loose, _OPENING),
        r"<\|{0,2}[\w:]{0,20}\|{0,2}(?:tool|function)s?[_ -]{0,2}(?:call|use)s?",
        r"<\|{0,2}\s?DSML",
        r"<\|open\|>\w{0,16}call tool=",
        r"<(?:\w{1,10}:)?invoke name=",
        r"\u273f\w{1,12}\u273f",
        r"<(?:function|tool)>\s{0,9}<name>",
        r"<\|(?:start|channel)\|>[^{}\n]{0,80}to=?functions\.",
    )
)
_MARKER = re.compile(MARKER, re.IGNORECASE)
# what may stand before a marker that begins a line: white space, the end of another marker; a quotation has a
# space behind its bracket
_BEFORE = re.compile(r"\s*(?:[\w|\uff5c]{0,3}>)?")
WORD_MARKER = (
    r"functools[\[{]|to=functions\.|(?:to|=)?functions\.[\w.-]{1,64} ?<\|"
    r"|>>>[\w./\ufffd-]{1,64}\n[\s\ufeff]{0,20}[{\[\"]"
)
_WORD_MARKER = re.compile(WORD_MARKER, re.IGNORECASE)
_CLOSING = sorted(
    {one for form in FORMATS.values() for one in form.CLOSERS if one[-1:] in ">]"}
    - {*FRAME_ENDS, "<|call|>"},
    key=lambda one: (-len(one), one),
)
_CLOSED = re.compile(rf"(?P<last>(?:{'|'.join(map(_loose, _CLOSING))})\s{{0,20}})+\Z")
_OF_CALLS = re.compile(r"tool|call|action|<\||</(?:\w+:)?invoke", re.IGNORECASE)  # not of any XML
_CLOSED_CHARS = 600  # characters at the end of a text in which closing markers are looked for
_FILLED = re.compile(r"\s{0,20}(?:\[\s{0,20})?\{\s{0,20}\"name\"\s{0,9}:\s{0,9}\"[\w.:/-]{1,128}\"\s{0,9},")


def ends_in_call(text: str, tools: ToolSet, json_asked: bool = False) -> bool:
    """Whether `text`, in which no call has been read, ends in the shape of a call. json_asked: the answer was
    to be JSON.
    """
    tail = _without_tokens(text)
    if not tail or not tools:
        return False
    fenced = _last_fence(tail)
    if fenced is not None:
        bodies = (fenced, _whole_fence(tail))
        return any(
            (not json_asked and _is_json_call(_TOOLS.sub("", body).strip(), tools))
            or (bool(body.strip()) and _is_marked(body.strip(), tools))
            for body in bodies
        )
    if ends_in_definitions(tail):
        return True
    plain = _TOOLS.sub("", tail[-_JSON_CHARS:]).strip()
    return (
        (not json_asked and _is_json_call(plain, tools))
        or _is_marked(tail, tools)
        or _is_closed(tail, tools, json_asked)
        or _is_named(tail, tools)
        or _is_begun(tail, tools)
    )


def ends_in_marker(text: str) -> bool:
    """Whether `text` ends in what the marker of a call opens, at the beginning of a line and outside of a
    fence, whatever tools there are.
    """
    tail = _without_tokens(text)
    return bool(tail) and _last_fence(tail) is None and _is_marked(tail, ToolSet(()))


def find_marker(text: str, anywhere: bool = False) -> bool:
    """Whether `text` begins with the marker of a call of any family, or holds one."""
    if anywhere:
        text = fold(text)
        return any(one.search(text) for one in (_MARKER, _WORD_MARKER))
    return match_marker(text) is not None


def match_marker(text: str) -> re.Match[str] | None:
    """The marker of a call of any family with which `text` begins."""
    text = fold(text)
    return _MARKER.match(text) or _WORD_MARKER.match(text)


def is_closer(text: str) -> bool:
    """Whether `text` is one closing marker of a call, of any family, and nothing else."""
    found = _CLOSED.fullmatch(fold(_without_tokens(text)).strip())
    return found is not None and found.start("last") == found.start() and "call" in found.group().lower()


def begins_marker(text: str) -> bool:
    """Whether `text` is the beginning of a marker of a call, as any family writes it."""
    folded = fold(text)
    at = bisect_left(_FOLDED_OPENING, folded)
    return at < len(_FOLDED_OPENING) and _FOLDED_OPENING[at].startswith(folded)


def _last_markers(text: str) -> list[re.Match[str]]:
    """The last markers of calls in `text`, in order."""
    if not any(one in text for one in ("<", "[", ">>>", "to=", "\u273f")):
        return []
    text = fold(text)
    found = deque(_MARKER.finditer(text), maxlen=_MARKERS)
    worded = deque(_WORD_MARKER.finditer(text), maxlen=_MARKERS)
    return sorted((*found, *worded), key=lambda one: one.start())[-_MARKERS:]


def _without_tokens(text: str) -> str:
    tail = text.rstrip()
    while tail.endswith(SPECIAL_TOKENS):
        token = next(one for one in SPECIAL_TOKENS if tail.endswith(one))
        tail = tail[: -len(token)].rstrip()
    return tail


def _last_fence(tail: str) -> str | None:
    """The contents of the fence that ends the text."""
    if not tail.endswith(_FENCE):
        return None
    marks = [found.end() for found in _FENCE_LINE.finditer(tail)]
    if marks and marks[-1] == len(tail) and len(marks) % 2 == 0:
        start = marks[-2]  # other fence marks stand in strings
    elif tail.count(_FENCE) % 2 == 0:
        start = tail.rfind(_FENCE, 0, -len(_FENCE)) + len(_FENCE)
    else:
        return None
    body = tail[start : -len(_FENCE)]
    info = _INFO.match(body)
    return body[info.end() :] if info else body


def _whole_fence(tail: str) -> str:
    """The contents of the fence that is the whole text, which may hold others; else ""."""
    begun = FENCE_LINE.match(tail)
    return tail[begun.end() : -len(_FENCE)] if begun else ""


def _is_json_call(text: str, tools: ToolSet) -> bool:
    """Whether the text ends in an object that is a call and nothing else, or in several or a list of them."""
    if text[-1:] in ("}", "]"):
        starts = [found.start("json") for found in _LINE.finditer(text)][-_TRIES:]
        for start in reversed(starts):
            try:
                value, end = decode_strict(text, start)
            except ValueError:
                continue
            if not text[end:].strip("}] \t\r\n"):
                return is_call_shape(value) or (not text[:start].strip() and is_definition(value, tools))
    heads = list(MARKED_HEAD.finditer(text)) if "{" in text else []
    if not heads:
        return False
    last = heads[-1]
    named = last.group(2) in tools.names or not text[: last.start()].strip()
    return named and _is_broken(text, last.start("json"))


def _is_broken(text: str, at: int) -> bool:
    """Whether the JSON at `at` has no end, so that everything after it may belong to it."""
    try:
        decode_strict(text, at)
    except ValueError:
        return "\n\n" not in text[at:]
    return False


def is_call_shape(value: Any) -> bool:
    """Whether it is only a name and its arguments, wrapped as by OpenAI or not, or a list of such objects."""
    if isinstance(value, list):
        return bool(value) and all(is_call_shape(one) for one in value)
    if not isinstance(value, dict):
        return False
    if isinstance(value.get("tool_calls"), list) and len(value) == 1:
        return is_call_shape(value["tool_calls"])
    if isinstance(value.get("function"), dict) and set(value) <= {"function", "type", "id"}:
        return is_call_shape(value["function"])
    name, arguments = value.get("name"), value.get("arguments", value.get("parameters"))
    if set(value) not in _KEYS or not isinstance(name, str) or not _NAME.fullmatch(name):
        return False
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return False
    # the parameters of a definition are a schema
    return isinstance(arguments, dict) and not isinstance(arguments.get("properties"), dict)


def _is_marked(tail: str, tools: ToolSet) -> bool:
    """Whether a marker of a call, of any family or nearly one, opens the end of the text."""
    found = [one for one in _last_markers(tail) if not _is_quoted(tail, one.start())]
    if not found:
        return False
    first = found[-1]
    for one in reversed(found):  # the outermost of the markers that end the text together
        if one.start() < first.start() and "\n\n" in tail[one.end() : first.start()]:
            break
        first = one
    rest = tail[first.start() :]
    if rest[-1] == ">" or (rest[-1] in "}])" and "\n\n" not in rest):
        before = tail[tail.rfind("\n", 0, first.start()) + 1 : first.start()]
        begins_line = _BEFORE.fullmatch(before) is not None
        filled = _FILLED.match(tail, first.end()) is not None
        return begins_line or filled or any(name in rest for name in tools.names)
    return first.end() == len(tail)


@dataclass(frozen=True, slots=True)
class _Head:
    """What a format writes around a call's name, up to its arguments, without white space. openers: any of
    which begins a call.
    """

    openers: tuple[str, ...]
    before: str
    after: str

    def is_begun(self, rest: str, tools: ToolSet, any_name: bool) -> bool:
        """Whether `rest` is a beginning of this. any_name: of tools that are not declared, too."""
        squeezed = "".join(rest.split())
        if self.before.startswith(squeezed):
            return True
        named = squeezed.removeprefix(self.before)
        if named == squeezed:
            return False
        if any(name.startswith(named) for name in tools.names):
            return True
        found = _NAME.match(named) if any_name else None
        names = [named[:end] for end in range(1, found.end() + 1)] if found else tools.names
        return any(
            named.startswith(name) and self.after.startswith(named[len(name) :]) and name in rest
            for name in names
        )


@functools.cache
def _heads() -> tuple[_Head, ...]:
    """Of all formats whose calls begin with a marker."""
    found = []
    for form in FORMATS.values():
        text = "".join(form.render((ToolCall(_PROBE, json.dumps({_PROBE_KEY: 0})),)).split())
        before, _, after = text.partition(_PROBE)
        openers = tuple(one.strip() for one in form.OPENERS if before.startswith("".join(one.split())))
        if openers:
            found.append(_Head(openers, before, after.partition(_PROBE_KEY)[0]))
    return tuple(found)


def _is_begun(tail: str, tools: ToolSet) -> bool:
    """Whether the text ends in the beginning of a call, as one of the formats writes it: the model stopped
    before the arguments. Inside a line it has to be the call of a declared tool.
    """
    end = tail[-_CLOSED_CHARS:]
    last = end[end.rfind("\n") + 1 :].strip()
    least = 3 if last.startswith(("<|", "<\uff5c")) else _LEAST_OPENER
    if len(last) >= least and (begins_marker(last) or begins_marker(tail)):
        return True
    for head in _heads():
        at = max(map(end.rfind, head.openers))
        if at < 0:
            continue
        begins_line = not end[end.rfind("\n", 0, at) + 1 : at].strip()
        begun = head.is_begun(end[at:], tools, begins_line)
        if begun and not _is_quoted(tail, len(tail) - len(end) + at):
            return True
    return False


def _is_closed(tail: str, tools: ToolSet, json_asked: bool) -> bool:
    """Whether the text ends in closing markers of a call whose beginning was lost: several of them, or one
    behind the end of JSON. Behind words a lone one is a slip of the pen.
    """
    if tail[-1] not in ">]":
        return False
    found = _CLOSED.search(fold(tail), max(0, len(tail) - _CLOSED_CHARS))
    if found is None:
        return False
    body = tail[: found.start()].rstrip()
    if not json_asked and _is_json_call(_TOOLS.sub("", body[-_JSON_CHARS:]).strip(), tools):
        return True
    ends = body.endswith(("}", "]")) and not body.endswith("[]")
    several = found.start("last") > found.start()
    told = any(name in body for name in tools.names)
    return (ends or several) and (told or _OF_CALLS.search(found.group()) is not None)


def _is_quoted(text: str, at: int) -> bool:
    """Whether what stands at `at` is inside something on its line."""
    line = Line()
    start = max(0, at - _LINE_CHARS)
    before = text[text.rfind("\n", start, at) + 1 if "\n" in text[start:at] else start : at]
    if _BEFORE.fullmatch(before):
        return False
    line.add(before)
    return line.quotes


def _is_named(tail: str, tools: ToolSet) -> bool:
    """Whether a declared tool's name, as a tag or before its arguments, opens the last paragraph."""
    if not any(name in tail for name in tools.names):
        return False
    if tail.endswith(_FENCE) and tail.count(_FENCE) % 2 == 0:
        return False
    opened = _named_opening(tools.names)
    for found in deque(opened.finditer(tail), maxlen=_TRIES):
        rest = tail[found.start() :]
        tag = found.group("tag")
        if tag:
            closer = f"</{tag}>"
            if rest.endswith((closer, "/>")) or closer not in rest:
                return True
        elif rest[-1] in ")]}" and "\n" not in rest.strip():
            return True
    return False


@functools.lru_cache(maxsize=256)
def _named_opening(tools: tuple[str, ...]) -> re.Pattern[str]:
    """A pattern for one of the names at the beginning of a line, as a tag or before its arguments."""
    names = "|".join(re.escape(name) for name in sorted(tools, key=len, reverse=True))
    return re.compile(
        rf"^[ \t]{{0,3}}(?:<(?P<tag>{names})(?=[\s>/])"
        rf"|(?:\[\s{{0,9}})?(?:{names})\s?\((?=\w{{1,64}}=|\{{|\s?\))"
        rf"|(?:{names})(?:\[ARGS\])?\s{{0,3}}(?=\{{\s{{0,9}}\"))",
        re.MULTILINE,
    )
