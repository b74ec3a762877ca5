"""Formats found in what a template writes: right, or none."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from repair.derived import CHECKS, find_format, is_sound, reads_back
from repair.formats import FORMATS, Wire
from repair.formats.derive import ONE, Probe, Write, WrittenTurn, cut_turn
from repair.formats.row import Row
from repair.formats.rows import ROWS
from repair.formats.shapes import RowFormat
from repair.tools import ToolSet
from repair.turn import Turn
from repair.types import ToolCall, ToolDefinition, Verdict

Calls = tuple[Probe, ...]


def plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def objects(calls: Calls) -> str:
    told = [f'{{"id": "{one.id}", "fn": "{one.name}", "with": {json.dumps(one.arguments)}}}' for one in calls]
    return f"<<do>>[{', '.join(told)}]<</do>>"


def inside(calls: Calls) -> str:
    told = [
        f'<call>{{"name": "{one.name}", "arguments": {json.dumps(one.arguments)}}}</call>' for one in calls
    ]
    return f"<calls>\n{chr(10).join(told)}\n</calls>"


def numbered(calls: Calls) -> str:
    told = [f"[[{one.name}#{at}]]{json.dumps(one.arguments)}[[/]]" for at, one in enumerate(calls)]
    return f"[[calls]]{''.join(told)}[[end]]"


def tags(calls: Calls) -> str:
    told = []
    for one in calls:
        inner = "".join(f'<p k="{key}">{plain(value)}</p>\n' for key, value in one.arguments.items())
        told.append(f'<use tool="{one.name}">\n{inner}</use>')
    return "\n".join(told)


def pairs(calls: Calls) -> str:
    told = []
    for one in calls:
        inner = "".join(f"<k>{key}</k>\n<v>{plain(value)}</v>\n" for key, value in one.arguments.items())
        told.append(f"<run>{one.name}\n{inner}</run>")
    return "\n".join(told)


def python(calls: Calls) -> str:
    told = [
        f"{one.name}({', '.join(f'{key}={value!r}' for key, value in one.arguments.items())})"
        for one in calls
    ]
    return f"<py>[{', '.join(told)}]</py>"


#: of the invented formats that are not called after theirs
SHAPES = {
    **{"inside": "objects", "bracketed": "objects", "braced": "objects"},
    **{"numbered": "named", "arrowed": "named"},
}


def bracketed(calls: Calls) -> str:
    told = [
        f'\u27e6use\u27e7{{"tool": "{one.name}", "input": {json.dumps(one.arguments)}}}\u27e6/use\u27e7'
        for one in calls
    ]
    return "\n".join(told)


def arrowed(calls: Calls) -> str:
    return "\n".join(f"\u25b6run\u25b6 {one.name} {json.dumps(one.arguments)} \u25c0\u25c0" for one in calls)


def braced(calls: Calls) -> str:
    told = [f'{{"name": "{one.name}", "arguments": {json.dumps(one.arguments)}}}' for one in calls]
    return "".join(f"{{%call%}}{one}{{%end%}}" for one in told)


def writes(calls: Callable[[Calls], str]) -> Write:
    return lambda probes, text: WrittenTurn(text + calls(probes), "<bot>")


@pytest.mark.parametrize(
    "shape",
    [objects, inside, numbered, tags, pairs, python, bracketed, arrowed, braced],
    ids=lambda one: one.__name__,
)
def test_an_invented_format_is_derived_and_reads_itself_back(shape: Callable[[Calls], str]) -> None:
    found = find_format(writes(shape), None)
    assert found.how == "derived"
    assert found.row is not None
    assert found.row.shape == SHAPES.get(shape.__name__, shape.__name__)
    rendered = RowFormat(found.row).render((ToolCall("f", '{"a": "b"}'),))
    assert rendered.strip() == shape(
        (Probe("f", {"a": "b"}, "call00000"),)
    ).strip() or found.row.name_key in ("fn", "tool")


def prose(calls: Calls) -> str:
    return " ".join(f"I called {one.name} with {json.dumps(one.arguments)}." for one in calls)


def first_only(calls: Calls) -> str:
    return tags(calls[:1])


def escaped(calls: Calls) -> str:
    return tags(calls).replace('"', "&quot;").replace("&quot;", '"', 4)


def nameless(calls: Calls) -> str:
    return "".join(f"<do>{json.dumps(one.arguments)}</do>" for one in calls)


def upper(calls: Calls) -> str:
    return tags(calls).replace("o", "0")


@pytest.mark.parametrize("shape", [prose, escaped, nameless, upper], ids=lambda one: one.__name__)
def test_what_misleads_is_unknown(shape: Callable[[Calls], str]) -> None:
    assert find_format(writes(shape), None).format is None


def test_a_template_that_refuses_is_unknown() -> None:
    assert find_format(lambda probes, text: None, None).format is None


def test_the_one_that_reads_its_own_template_back_wins() -> None:
    declared = Row("mine", "named", call="<call {name}>", call_end="</call>")
    assert find_format(writes(tags), "hermes", (declared,)).how == "derived"
    right = find_format(writes(tags), None).row
    assert right is not None
    assert find_format(writes(tags), "hermes", (right,)).how == "declared"
    hermes = writes(lambda calls: FORMATS["hermes"].render(_calls(calls)))
    assert find_format(hermes, "hermes", (declared,)).how == "detected"


def _calls(probes: Calls) -> tuple[ToolCall, ...]:
    return tuple(ToolCall(one.name, json.dumps(one.arguments)) for one in probes)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_of_the_table_is_sound_and_reads_its_own_calls_back(row: Row) -> None:
    assert is_sound(row)
    write = writes(lambda calls: RowFormat(row).render(_calls(calls)))
    assert reads_back(Wire.of(row), write)


@pytest.mark.parametrize(
    "row",
    [
        Row("x", "pairs", call="<a>{name}", parameter="{key}"),
        Row("x", "tags", call="", parameter="<p {key}>"),
        Row("x", "nothing", call="<a>"),
        Row("x", "pairs", call="<q>{name}", parameter="<k>{key}</k><v>", parameter_end="</v>", call_end="</"),
        Row("x", "tags", call="<q {name}|", parameter="<p {key}>>", parameter_end="</p>", call_end=">"),
    ],
)
def test_literals_that_make_no_format_are_refused(row: Row) -> None:
    assert not is_sound(row)


@pytest.mark.parametrize("call_end", ["{%end%}", ""])
def test_markers_in_braces_are_no_objects(call_end: str) -> None:
    row = Row("x", "objects", call="{%call%}", call_end=call_end)
    calls = (ToolCall("f", '{"a": "b"}'), ToolCall("f", '{"a": "c"}'))
    turn = Turn(ToolSet.compile([ToolDefinition("f")]), Wire.of(row))
    turn.feed(RowFormat(row).render(calls))
    outcome = turn.close("stop")
    assert (outcome.verdict, outcome.calls) == (Verdict.clean, calls)
    empty = Turn(ToolSet.compile([ToolDefinition("f")]), Wire.of(row))
    empty.feed("{%call%}{%end%}")
    assert empty.close("stop").calls == ()


PAIRED = Row(
    *("x", "pairs"),
    call="<|c|>{name}\n",
    parameter="<|k|>{key}<|/k|><v>",
    parameter_end="</v>",
    call_end="<|/c|>",
)
TAGGED = Row("x", "tags", call="[*{name}*]", parameter="[*.{key}*]", parameter_end="[/]", call_end="[*end*]")


@pytest.mark.parametrize("row", [PAIRED, TAGGED], ids=lambda row: row.shape)
def test_no_prefix_of_a_declared_call_is_executed(row: Row) -> None:
    """A parameter and the end of the call begin alike."""
    call = ToolCall("f", '{"a": "b", "c": "d"}')
    text = RowFormat(row).render((call,))
    for end in range(len(text) + 1):
        turn = Turn(ToolSet.compile([ToolDefinition("f")]), Wire.of(row))
        turn.feed(text[:end])
        found = [(one.name, json.loads(one.arguments)) for one in turn.close("stop").calls]
        assert found in ([], [("f", {"a": "b", "c": "d"})]), text[:end]
    assert found


@pytest.mark.parametrize("text", ['<use f><<use f>{"a":<use f>{"a": "<use f>', '<use f>{"a" 1}</use></use>'])
def test_a_section_of_white_space_is_none(text: str) -> None:
    """Empty closing markers stood in a row without end."""
    row = Row("x", "named", section=" ", section_end="\n", call="<use {name}>", call_end="</use>")
    turn = Turn(ToolSet.compile([ToolDefinition("f")]), Wire.of(row))
    turn.feed(text)
    assert turn.close("stop").calls == ()


NAMED = Row("x", "named", call="[[fn: {name}]]\n((args)) ", call_end="[[/fn]]", joint="\n")


@pytest.mark.parametrize(
    "row", [NAMED, replace(NAMED, call_end=""), PAIRED, TAGGED], ids=lambda row: row.call_end
)
def test_a_declared_call_is_not_executed_without_the_one_before_it(row: Row) -> None:
    """A turn is all its calls or none: one character too many in the first one's opening marker."""
    calls = (ToolCall("f", '{"a": "b"}'), ToolCall("f", '{"a": "c"}'))
    written = RowFormat(row).render(calls)
    opener = RowFormat(row).OPENERS[0]
    for at in range(len(opener)):
        turn = Turn(ToolSet.compile([ToolDefinition("f")]), Wire.of(row))
        turn.feed(written[:at] + opener[at] + written[at:])
        assert len(turn.close("stop").calls) != 1, at


def test_a_turn_is_cut_out_of_a_conversation() -> None:
    before, opened = "<u>hi</u>", "<u>hi</u><a><think>"
    turn = cut_turn(
        "<u>hi</u><a></think>CALL<end>", before, opened, "<u>hi</u><a></think>Qtextsentinel.<end>"
    )
    assert turn == WrittenTurn("CALL", "<a></think>")
    assert ONE not in [probe for probes, _ in CHECKS for probe in probes]


def test_the_token_that_ends_every_turn_is_no_part_of_the_calls() -> None:
    """Text and calls have ends of their own in this template, and one token behind both."""
    before, opened = "<|turn|>user: hi<|turn_end|>", "<|turn|>user: hi<|turn_end|><|turn|>bot: "

    def write(probes: Calls, text: str) -> WrittenTurn:
        told = [f'{{"tool": "{one.name}", "with": {json.dumps(one.arguments)}}}' for one in probes]
        said = f"<|text|>{text}<|text_end|>" if text else ""
        full = f"{opened}{said}<|do|>[{', '.join(told)}]<|do_end|><|turn_end|>"
        return cut_turn(full, before, opened, f"{opened}<|text|>Qtextsentinel.<|text_end|><|turn_end|>")

    found = find_format(write, None)
    assert found.how == "derived"
    assert found.row is not None
    assert (found.row.section, found.row.section_end) == ("<|do|>", "<|do_end|>")


@pytest.mark.parametrize(
    ("call", "tail", "turn"),
    [
        ("CALL<|e|><eot>", "<|t|><eot>", "CALL<|e|>"),
        ("CALL</c>", "</t>", "CALL</c>"),
        ('{"calls": [CALL]}', '"}', '{"calls": [CALL]}'),
        ("CALL<eot>\n", "<eot>\n", "CALL"),
    ],
)
def test_only_a_whole_token_behind_both_kinds_of_turns_ends_them(call: str, tail: str, turn: str) -> None:
    assert cut_turn(f"hi<a>{call}", "hi", "hi<a>", f"hi<a>Qtextsentinel.{tail}").text == turn
