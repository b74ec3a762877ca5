"""The shapes of wire formats: a reader and a writer for each, and the formats that rows make of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from repair.envelope import IGNORED, split_members
from repair.formats.lfm2 import parse_python
from repair.formats.pairs import Pairs, read_pairs
from repair.formats.row import Row, fill, literal_head, literal_tail, pattern
from repair.markup import MarkupGrammar
from repair.named import Named, read_named
from repair.pythonic import may_be_call, render_python
from repair.reasoning import Pair
from repair.regions import Region, close_region, match_literal, problem_call, read_json_calls, skip_space
from repair.tagged import Tagged, read_tagged
from repair.tools import ToolSet
from repair.types import Body, Fix, RawCall, ToolCall
from repair.values import plain_parameters

Parse = Callable[[str, int, ToolSet], Region | None]
_FENCE = "```json\n"
_BEGUN = 60  # characters of what ends a head, which tell it: a pattern may match 80
_BARS = re.compile(r"[|\uff5c]")
_LEAST_MARKER = 4  # characters: shorter literals stand in other text too


@dataclass(frozen=True)
class RowFormat:
    """One wire format, made of a row."""

    row: Row

    @property
    def NAME(self) -> str:
        return self.row.name

    @cached_property
    def OPENERS(self) -> tuple[str, ...]:
        heads = (self.row.section.strip(), literal_head(self.row.call), *self.row.also)
        return tuple(dict.fromkeys(one for one in heads if one))

    @cached_property
    def CLOSERS(self) -> tuple[str, ...]:
        ends = (self.row.section_end, self.row.call_end, literal_head(self.row.parameter_end))
        own = (one.strip() for one in ends)
        return tuple(dict.fromkeys(one for one in own if one and one not in _BRACKETS))

    @cached_property
    def BETWEEN(self) -> tuple[str, ...]:
        """What stands between a name and its arguments, or before each of them, where that is a marker."""
        between = literal_tail(self.row.call) if self.row.shape == "named" else ""
        before = literal_head(self.row.parameter)
        told = (between, before if _BARS.search(before) else "")  # others are tags of any language
        return tuple(one for one in told if len(one) >= _LEAST_MARKER)

    @property
    def REASONING(self) -> tuple[Pair, ...]:
        return self.row.reasoning

    @cached_property
    def ENDS(self) -> tuple[str, ...]:
        """What ends a whole region."""
        end = (self.row.section_end if self.row.section.strip() else self.row.call_end).strip()
        return (end,) if end and end not in _BRACKETS else ()

    @property
    def begun(self) -> str:
        """A pattern that every further call of a section begins with: all of its head but short names."""
        _, *_, behind = self.row.call.rsplit("}", 1)
        return re.escape(literal_head(self.row.call)) + r"[^\n]{1,60}" + re.escape(behind.strip().lstrip('"'))

    @cached_property
    def form(self) -> Named | Tagged | Pairs | None:
        """How its calls are read, where that is more than a kind of value between markers."""
        return _FORMS[self.row.shape](self.row) if self.row.shape in _FORMS else None

    def parse(self, text: str, at: int, tools: ToolSet) -> Region | None:
        return _PARSERS[self.row.shape](self, text, at, tools)

    def render(self, calls: tuple[ToolCall, ...]) -> str:
        row = self.row
        parts = [
            fill(row.call, name=one.name, index=str(index), id=f"call{index:05}")
            + _ARGUMENTS[row.shape](row, one)
            + row.call_end
            for index, one in enumerate(calls)
        ]
        body = row.joint.join(parts)
        return row.section + (f"[{body}]" if row.listed else body) + row.section_end


_BRACKETS = ("[", "]", "(", ")", "{", "}")


def _parse_objects(form: RowFormat, text: str, at: int, tools: ToolSet) -> Region | None:
    """Objects that hold name and arguments, one or several, or an array of them."""
    opener = match_literal(text, at, form.OPENERS)
    if opener is None:
        return None
    row, body = form.row, at + len(opener)
    kind = Body.call if row.name_key else Body.keyed
    if "{name}" in row.call:
        return _parse_told_twice(form, text, at)
    call, section = row.call.strip(), row.section.strip()
    if call and section and opener != call:
        return _parse_within(form, text, at, body, kind)
    region = read_json_calls(text, at, body, form.CLOSERS, form.OPENERS, kind)
    return with_own_keys(row, region) if region else None


def _parse_told_twice(form: RowFormat, text: str, at: int) -> Region | None:
    """An object whose name also stands before it."""
    loose = pattern(form.row.call).replace(r"[^<>\n", r"[^\n")  # something may be glued to the name
    head = re.compile(loose).match(text, at)
    region = read_json_calls(text, at, head.end(), form.CLOSERS) if head else None
    if head is None or region is None:
        return None
    return with_one_name(form.row, head.group("name").strip(), region, text)


def with_one_name(row: Row, name: str, region: Region, text: str) -> Region:
    """A call that has its name in it too: refused where that is another one."""
    if json.dumps(name) not in region.calls[0].text:
        doubt = problem_call(text[region.start : region.end], "ambiguous_call", "a call with two names")
        return replace(region, calls=(*region.calls, doubt))
    return with_own_keys(row, region)


def has_own_keys(row: Row) -> bool:
    """Whether name and arguments have keys that no other format has."""
    return row.name_key not in ("name", "") or row.arguments_key not in ("arguments", "parameters")


def with_own_keys(row: Row, region: Region) -> Region:
    """Calls whose name and arguments have the format's own keys, told apart from each other."""
    if not has_own_keys(row):
        return region
    return replace(region, calls=tuple(_with_own_key(row, call) for call in region.calls))


def _with_own_key(row: Row, call: RawCall) -> RawCall:
    try:
        members = split_members(call.text) if not call.problems else {}
    except ValueError:
        return call
    name, _ = members.get(row.name_key, ("", ""))
    given = set(members) - {row.name_key, row.arguments_key}
    if not isinstance(name, str) or row.arguments_key not in members or given - IGNORED:
        return call
    return replace(call, name=name, body=Body.arguments, text=members[row.arguments_key][1])


def _parse_within(form: RowFormat, text: str, at: int, body: int, kind: Body) -> Region | None:
    """Objects in markers of their own, inside a section."""
    row = form.row
    call, ends = row.call.strip(), tuple(one for one in (row.call_end.strip(),) if one)
    region, position = None, skip_space(text, body)
    while text.startswith(call, position):
        start = position + len(call)
        one = read_json_calls(text, position, start, ends, (call,) if ends else (), kind)
        if one is None:
            break
        one = with_own_keys(row, one)
        calls = (*region.calls, *one.calls) if region else one.calls
        region = replace(one, start=at, body_start=body, calls=calls)
        position = skip_space(text, one.end)
        if not one.closed:
            return region
    if region is None or not row.section_end.strip():
        return region
    fixes: list[Fix] = []
    position, closed, problem = close_region(text, region.end, (row.section_end.strip(),), fixes)
    last = replace(region.calls[-1], fixes=(*region.calls[-1].fixes, *fixes))
    calls = (*region.calls[:-1], last, *([problem] if problem else []))
    return replace(region, end=position, closed=closed, calls=calls)


def _named(row: Row) -> Named:
    call, fenced = row.call.rstrip(), False
    if row.call.endswith(_FENCE):
        call, fenced = row.call.removesuffix(_FENCE).rstrip(), True
    opener = literal_head(call)
    head = pattern(call)[len(pattern(opener)) :]
    if row.optional:
        head = head.replace(part := pattern(row.optional), f"(?:{part})?")
    head += r"(?=\s*(?:[{`]|\"\{))" if call.endswith("{name}") else ""
    end = row.call_end.strip().removeprefix("```") if fenced else row.call_end.strip()
    sections = (row.section.strip(), *row.also) if row.section.strip() else ()
    return Named(
        opener,
        re.compile(rf"\s*{head}\s*"),
        (end.strip(),) if end else (),
        sections,
        (row.section_end.strip(),) if row.section_end.strip() else (),
        fenced,
        re.escape(call.rsplit("}", 1)[-1].strip()[-_BEGUN:]) + r"\s{0,9}[{`]",
    )


def _parse_named(form: RowFormat, text: str, at: int, tools: ToolSet) -> Region | None:
    assert isinstance(form.form, Named)
    return read_named(text, at, form.form)


def _tagged(row: Row) -> Tagged:
    section = (row.section.strip(), *row.also) if row.section.strip() else ()
    end = row.section_end.strip()
    head = pattern(row.call)
    if head.endswith(">"):  # a call without parameters may close its own tag
        head = rf"{head[:-1]}(?P<empty>\s*/)?\s*>"
    if not literal_tail(row.call):  # the name ends where something else begins
        follows = (literal_head(row.parameter), row.call_end.strip())
        head += rf"\s*(?={'|'.join(map(re.escape, follows))})"
    # a line break on both sides of a value belongs to the format
    wrapped = row.parameter.endswith("\n") or not row.parameter.endswith("}")
    return Tagged(
        section,
        (end,) if end else (),
        literal_head(row.call),
        re.compile(head),
        MarkupGrammar(
            re.compile(pattern(row.parameter)),
            literal_head(row.parameter_end),
            (row.call_end.strip(),),
            (end,) if end else (),
            newline=wrapped and "typed" not in pattern(row.parameter),
            parameter=literal_head(row.parameter),
        ),
        literal_head(row.parameter),
        row.also,
    )


def _parse_tagged(form: RowFormat, text: str, at: int, tools: ToolSet) -> Region | None:
    assert isinstance(form.form, Tagged)
    return read_tagged(text, at, form.form, tools)


def _pairs(row: Row) -> Pairs:
    return Pairs.of(row.section, row.section_end, row.call, row.call_end, row.parameter, row.parameter_end)


def _parse_pairs(form: RowFormat, text: str, at: int, tools: ToolSet) -> Region | None:
    assert isinstance(form.form, Pairs)
    return read_pairs(text, at, form.form, tools)


def _parse_calls(form: RowFormat, text: str, at: int, tools: ToolSet) -> Region | None:
    opener = match_literal(text, at, form.OPENERS)
    if opener is None:
        return None
    body = at + len(opener)
    return parse_python(text, at, body, form.CLOSERS, tools, listed=not may_be_call(text, body))


def _object(row: Row, call: ToolCall) -> str:
    if not row.name_key:
        return f"{{{json.dumps(call.name)}: {call.arguments}}}"
    name = json.dumps(call.name, ensure_ascii=False)
    return f'{{"{row.name_key}": {name}, "{row.arguments_key}": {call.arguments}}}'


def _parameters(row: Row, call: ToolCall) -> str:
    values = json.loads(call.arguments)
    texts = dict(plain_parameters(call.arguments))
    parts = []
    for key, value in values.items():
        told = {"string": "true" if isinstance(value, str) else "false", "type": _type(value)}
        text = texts[key]
        if row.shape == "tags" and not row.parameter.endswith("\n") and "{string}" not in row.parameter:
            text = _wrapped(text) if "{type}" not in row.parameter else text
        parts.append(fill(row.parameter, key=key, **told) + text + fill(row.parameter_end, key=key))
    return "".join(parts)


def _wrapped(text: str) -> str:
    """A value; one with a line break at an end gets the two that a reader removes."""
    return f"\n{text}\n" if text.startswith(("\n", "\r\n")) or text.endswith("\n") else text


def _type(value: object) -> str:
    names: dict[type, str] = {bool: "boolean", int: "number", float: "number", str: "string", list: "array"}
    return "null" if value is None else names.get(type(value), "object")


def _python(row: Row, call: ToolCall) -> str:
    return render_python(call.name, json.loads(call.arguments))


_FORMS: dict[str, Callable[[Row], Named | Tagged | Pairs]] = {
    "named": _named,
    "tags": _tagged,
    "pairs": _pairs,
}
_PARSERS: dict[str, Callable[[RowFormat, str, int, ToolSet], Region | None]] = {
    "objects": _parse_objects,
    "named": _parse_named,
    "tags": _parse_tagged,
    "pairs": _parse_pairs,
    "python": _parse_calls,
}
_ARGUMENTS: dict[str, Callable[[Row, ToolCall], str]] = {
    "objects": _object,
    "named": lambda row, call: call.arguments,
    "tags": _parameters,
    "pairs": _parameters,
    "python": _python,
}
