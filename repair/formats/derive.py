"""Makes a new wire format for a chat template that writes none of the known ones.

The template is asked for turns whose names and values nobody else uses (Probe). What stands between them is
the format: literals of one of the shapes. A format is accepted only if turns with other names and with hard
values are read back exactly; several candidates are tried, and none is a guess.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from repair.formats.row import Row

#: makes calls, and the text before them, into the turn that the model would have written; None where the
#: template refuses, or leaves something out
Write = Callable[[tuple["Probe", ...], str], "WrittenTurn | None"]
TEXT = "Qtextsentinel."


@dataclass(frozen=True, slots=True)
class WrittenTurn:
    """A turn as a template writes it. prompt: the part of the prompt before it."""

    text: str
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class Probe:
    """One call. id: as a client gave it."""

    name: str
    arguments: dict[str, object]
    id: str = "qcall0001"


ONE = Probe("qprobe_alpha", {"qkone": "Qvone", "qktwo": 41712})
TWO = Probe("qprobe_beta", {"qkone": "Qvone", "qktwo": 41712}, "qcall0002")

_JSON = re.compile(r'\{\s*"qkone"\s*:\s*"Qvone"\s*,\s*"qktwo"\s*:\s*41712\s*\}')
_PYTHON = re.compile(r"(?P<name>qprobe_\w+)\(\s*qkone=(['\"])Qvone\2\s*,\s*qktwo=41712\s*\)")
_OBJECT = re.compile(r'\{(?P<before>[^{}]*)"(?P<key>\w+)"\s*:\s*\Z')
_NAME_KEY = re.compile(r'"(?P<key>\w+)"\s*:\s*"qprobe_\w+"')
_TAGGED = re.compile(
    r"qkone(?P<middle>.{1,80}?)Qvone(?P<between>.{1,160}?)qktwo(?P<other>.{1,80}?)41712", re.DOTALL
)
_MARKS = frozenset("<>[]{}|@#$%^&*=\\/~`")
_MARK_KINDS = ("Ps", "Pe", "Pi", "Pf", "So", "Sm")  # of Unicode: brackets, quotation marks and symbols


@dataclass(frozen=True, slots=True)
class _Span:
    """One call in a turn: text[start:end] is what `shape` writes of it, everything else is literal."""

    start: int
    end: int
    row: Row


def cut_turn(full: str, before: str, opened: str, plain: str) -> WrittenTurn:
    """The last turn of a rendered conversation.

    before: the conversation up to it.
    opened: with the prompt for an answer.
    plain: with a turn that says TEXT.

    What ends every turn is not part of this one, whatever ends the text inside it: that of calls may have an
    end of its own.
    """
    before = before[: _common_head(before, full)]
    turn, head = full[len(before) :], plain[len(before) :].partition(TEXT)[0]
    prompt = opened[len(before) :] if opened.startswith(before) else ""
    lead = next((one for one in (prompt, head) if one and turn.startswith(one)), None)
    lead = turn[: _common_head(turn, prompt or head)] if lead is None else lead
    told, tail = turn[len(lead) :], plain.rpartition(TEXT)[2]
    if tail and told.endswith(tail):
        return WrittenTurn(told.removesuffix(tail), lead)
    return WrittenTurn(told[: len(told) - _turn_end(told, tail)], lead)


def _turn_end(told: str, tail: str) -> int:
    """The length of the token that ends a turn of calls and a turn of text alike."""
    shared = _common_tail(told, tail)
    end = told[len(told) - shared :]
    named = any(map(_is_mark, end)) and any(map(str.isalnum, end))
    return shared if named else 0


def derive(write: Write) -> Iterator[Row]:
    """Rows that fit what the template writes of ONE, and of ONE and TWO, likely ones first."""
    written, pair, told = write((ONE,), ""), write((ONE, TWO), ""), write((ONE,), TEXT)
    if written is None:
        return
    one, both, prompt = written.text, pair.text if pair else None, written.prompt
    begin = one
    if told is not None and TEXT in told.text:
        begin = told.text.partition(TEXT)[2]  # only the call follows the text
    seen: set[Row] = set()
    for text, two in ((begin, both), (one, both), (begin, None), (one, None)):
        for row in _rows(text, two, prompt):
            if row not in seen and _is_marked(row):
                seen.add(row)
                yield row


def _rows(one: str, both: str | None, prompt: str) -> Iterator[Row]:
    for span in _spans(one, 0):
        before, after = one[: span.start], one[span.end :]
        between = _between(both, span) if both is not None else None
        for row in _literals(span.row, before, between, after):
            for led in _with_start(row, prompt):
                yield led if led.section else replace(led, call=led.call.lstrip())


def _spans(text: str, at: int) -> Iterator[_Span]:
    """The ways in which the first call after `at` may be written."""
    python = _PYTHON.search(text, at)
    if python:
        yield _Span(python.start(), python.end(), Row("derived", "python"))
    arguments = _JSON.search(text, at)
    if arguments:
        yield from _json_spans(text, at, arguments)
    tagged = _TAGGED.search(text, at)
    if tagged and not arguments:
        yield from _tagged_spans(text, at, tagged)


def _json_spans(text: str, at: int, found: re.Match[str]) -> Iterator[_Span]:
    head = _OBJECT.search(text[at : found.start()])
    close = re.compile(r"[^{}]*\}").match(text, found.end())
    if head and close:
        start = at + head.start()
        named = _NAME_KEY.search(head.group("before")) or _NAME_KEY.search(close.group())
        if named:
            row = Row("derived", "objects", name_key=named.group("key"), arguments_key=head.group("key"))
            yield _Span(start, close.end(), row)
        elif head.group("key").startswith("qprobe_") and not head.group("before").strip():
            yield _Span(start, close.end(), Row("derived", "objects", name_key=""))
    yield _Span(found.start(), found.end(), Row("derived", "named"))


def _tagged_spans(text: str, at: int, found: re.Match[str]) -> Iterator[_Span]:
    """Where a parameter's literals begin and end is tried at every mark that its surroundings share."""
    before, behind = text[at : found.start()], text[found.end() :]
    between = found.group("between")
    shared = _common_tail(before, between)
    for start in range(len(between) - shared, len(between)):
        if not _is_cut(between, start) or between[start].isalnum() or between[start].isspace():
            continue
        opening, ending = between[start:], between[:start]
        kept = _common_head(ending, behind)
        if kept < len(ending.rstrip()) or not opening:
            continue
        middle = _with_type(found.group("middle"), found.group("other"))
        if middle is None:
            return
        first = at + len(before) - len(opening)
        parameter, parameter_end = f"{opening}{{key}}{middle}", ending
        for shape in ("pairs", "tags"):
            row = Row("derived", shape, parameter=parameter, parameter_end=parameter_end)
            yield _Span(first, found.end() + kept, row)


def _with_type(first: str, second: str) -> str | None:
    """What stands between key and value, of a text and of a number; with a placeholder for the type if it is
    told.
    """
    if first == second:
        return first
    for placeholder, text, number in (("{string}", "true", "false"), ("{type}", "string", "number")):
        for other in (number, "integer"):
            if first.count(text) == 1 and first.replace(text, other) == second:
                return first.replace(text, placeholder)
    return None


def _between(both: str, span: _Span) -> str | None:
    """What stands between two calls of the span's kind; None where the second is left out."""
    first = next((one for one in _spans(both, 0) if one.row == span.row), None)
    if first is None or TWO.name not in both:
        return None
    second = next((one for one in _spans(both, first.end) if one.row == span.row), None)
    return both[first.end : second.start] if second else None


def _literals(row: Row, before: str, between: str | None, after: str) -> Iterator[Row]:
    """The row with what stands around its calls split: into what belongs to each call, and to all."""
    before, after = _named(before, ONE), after.rstrip("\n") if not after.strip() else after
    listed = before.rstrip().endswith("[") and after.lstrip().startswith("]")
    if listed and row.shape in ("objects", "python"):
        section, ends = before.rstrip()[:-1], after.lstrip()[1:]
        joint = between if between is not None else ", "
        yield replace(row, section=section.lstrip(), section_end=ends, listed=True, joint=joint)
    if between is None:
        yield replace(row, call=before, call_end=after)
        return
    for start, middle in _indexed(before, _named(between, TWO)):
        shared = _common_head(middle, after)
        call = _common_tail(start, middle[shared:])
        if "{name}" in start and "{name}" not in middle[len(middle) - call :]:
            continue
        if "{name}" not in start and row.shape not in ("objects", "python"):
            continue
        yield replace(
            row,
            section=start[: len(start) - call].lstrip(),
            call=start[len(start) - call :],
            call_end=middle[:shared],
            joint=middle[shared : len(middle) - call],
            section_end=after[shared:],
        )


def _named(text: str, probe: Probe) -> str:
    return text.replace(probe.name, "{name}").replace(probe.id, "{id}")


def _indexed(first: str, second: str) -> Iterator[tuple[str, str]]:
    """The literals before two calls, with a placeholder for the call's number if they count."""
    for low, high in (("0", "1"), ("1", "2")):
        ours = [one.start() for one in re.finditer(rf"(?<!\d){low}(?!\d)", first)]
        theirs = [one.start() for one in re.finditer(rf"(?<!\d){high}(?!\d)", second)]
        if ours and theirs:
            counted = f"{first[: ours[-1]]}{{index}}{first[ours[-1] + 1 :]}"
            other = f"{second[: theirs[-1]]}{{index}}{second[theirs[-1] + 1 :]}"
            if _common_tail(counted, other) > _common_tail(first, second):
                yield counted, other
    yield first, second


def _with_start(row: Row, prompt: str) -> Iterator[Row]:
    """The row. Where a call begins with words, the end of the prompt marks it."""
    opener = row.section or row.call
    if opener[:1] and (opener[:1].isalnum() or opener[:1].isspace()):
        marker = re.search(r"<[^<>]+>\w*\s*\Z", prompt)
        if marker:
            lead = marker.group()
            if row.section:
                yield replace(row, section=lead + opener, start=lead)
            else:
                yield replace(row, call=lead + opener, start=lead)
    yield row


def _is_marked(row: Row) -> bool:
    """Whether what opens a call is a marker."""
    return is_marker(re.split(r"\{(?:name|id|index)\}", row.section.strip() or row.call.strip())[0])


def is_marker(text: str) -> bool:
    """Whether a literal is a marker, and not a word that prose could hold."""
    return len(text.strip()) >= 3 and any(map(_is_mark, text))


def _is_mark(char: str) -> bool:
    return char in _MARKS or (not char.isascii() and unicodedata.category(char) in _MARK_KINDS)


def _common_head(one: str, other: str) -> int:
    """How many characters of two texts agree, up to a position at which a marker may end."""
    pairs = enumerate(zip(one, other, strict=False))
    size = next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))
    return next((at for at in range(size, 0, -1) if _is_cut(one, at) and _is_cut(other, at)), 0)


def _common_tail(one: str, other: str) -> int:
    """How many characters of two texts agree at their ends, from a position at which a marker may begin."""
    pairs = enumerate(zip(reversed(one), reversed(other), strict=False))
    size = next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))
    return next(
        (at for at in range(size, 0, -1) if _is_cut(one, len(one) - at) and _is_cut(other, len(other) - at)),
        0,
    )


def _is_cut(text: str, at: int) -> bool:
    """Whether a literal may end here: not inside `<...>` or other brackets, and not inside a word."""
    if at in (0, len(text)):
        return True
    bracket = next((kind for char in reversed(text[:at]) if (kind := _bracket(char))), "Pe")
    return bracket == "Pe" and not (text[at - 1].isalnum() and text[at].isalnum())


def _bracket(char: str) -> str:
    """`Ps` or `Pe` for a bracket that opens or closes a marker, else ""."""
    if char.isascii():
        return {"<": "Ps", ">": "Pe"}.get(char, "")
    kind = unicodedata.category(char)
    return kind if kind in ("Ps", "Pe") else ""
