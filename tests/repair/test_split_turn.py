"""Which calls of a refused turn stand for themselves: only those whose bounds are certain."""

from __future__ import annotations

import json

import pytest

from corpora.malformations.specimen import ARGUMENTS
from corpora.malformations.table import draw_damaged
from repair.split_turn import emit_as_it_is, take_apart
from repair.tools import ToolSet
from repair.turn import Turn, TurnPolicy
from repair.types import Accepted, Body, Problem, RawCall, ToolDefinition

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = ToolSet.compile([ToolDefinition("get_weather", "", CITY), ToolDefinition("get_time")])


def call(arguments: str, name: str = "get_weather") -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


GOOD, BAD = call('{"city": "Oslo"}'), call("{}")
CUT = call('{"city": "Os')[:-16]

# text, then each part as its name and whether it is right, "+" where more may follow; None where it is whole
CASES: dict[str, tuple[str, str | None]] = {
    "bad": (BAD, "get_weather:no"),
    "good_and_bad": (f"{GOOD}\n{BAD}", "get_weather:yes get_weather:no"),
    "bad_and_good": (f"{BAD}\n{GOOD}", "get_weather:no get_weather:yes"),
    "words_between": (f"{BAD} and {GOOD}", None),
    "words_before_and_behind": (f"The page:\n{GOOD}\nI did not.\n{BAD}", None),
    "unknown_tool": (f"{call('{}', 'get_wether')}{GOOD}", ":no get_weather:yes"),
    "name_in_another_case": (call("{}", "Get_Weather"), "get_weather:no"),
    "cut": (CUT, "get_weather:no+"),
    "good_and_cut": (f"{GOOD}\n{CUT}", "get_weather:yes get_weather:no+"),
    "good_and_cut_before_the_name": (f'{GOOD}\n<tool_call>\n{{"na', None),
    "cut_and_good": (f"{CUT}\n{GOOD}", None),
    "list_with_a_bad_one": (
        '<tool_call>[{"name": "get_weather", "arguments": {"city": "a"}}, '
        '{"name": "get_weather", "arguments": {}}]</tool_call>',
        "get_weather:yes get_weather:no",
    ),
    "an_unescaped_quote_ends_a_call": (
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "a "}}", "days": 3}}',
        ":no+",
    ),
    "an_unescaped_quote_ends_a_block": (
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "say "}}</tool_call> or <tool_call>x"}}'
        "\n</tool_call>",
        None,
    ),
    "residue_of_another_call": (f"{GOOD} </tool_call> {BAD}", None),
}


@pytest.mark.parametrize("name", CASES)
def test_parts_of_a_refused_turn(name: str) -> None:
    text, expected = CASES[name]
    turn = Turn(TOOLS, "hermes")
    turn.feed(text)
    problems = turn.close("stop").problems
    assert problems, "only refused turns are taken apart"
    parts = take_apart(text, TOOLS, problems, format="hermes")
    if expected is None:
        assert parts is None or not any(isinstance(part.outcome, Accepted) for part in parts.calls)
        return
    assert parts is not None
    told = [f"{one.name}:{'yes' if isinstance(one.outcome, Accepted) else 'no'}" for one in parts.calls]
    assert " ".join(told) + ("+" if parts.open_ended else "") == expected


def test_other_problems_than_those_of_calls() -> None:
    policy = (Problem("", "wrong_tool", "another one was due"),)
    assert take_apart(GOOD, TOOLS, policy, format="hermes") is None


def test_the_text_around_the_calls() -> None:
    text = f"First.\n{GOOD}\n{BAD}\n"
    turn = Turn(TOOLS, "hermes")
    turn.feed(text)
    parts = take_apart(text, TOOLS, turn.close("stop").problems, format="hermes")
    assert parts is not None
    assert parts.said == "First.\n\n\n"


@pytest.mark.parametrize(
    ("raw", "emitted"),
    [
        (RawCall("f", Body.arguments, '{"a": 1}', True), ("f", '{"a": 1}')),
        (RawCall("f", Body.arguments, '{"a": ', False), ("f", '{"a": ')),
        (RawCall("", Body.call, '{"name": "f", "arguments": {"a": 1,}}', True), ("f", '{"a": 1,}')),
        (RawCall("", Body.call, '{"name": "f", "arguments": {"a"', False), None),
        (RawCall("", Body.call, '{"nam": "f"}', True), None),
    ],
)
def test_a_call_as_it_was_emitted(raw: RawCall, emitted: tuple[str, str] | None) -> None:
    found = emit_as_it_is(raw, TOOLS)
    assert (found and (found.name, found.arguments)) == emitted


def test_what_is_kept_of_damaged_turns_was_meant() -> None:
    """Labelled damage over all formats: a kept call is a true one, and what was damaged is missing."""
    kept = 0
    for specimen in draw_damaged(seed=11, count=500):
        tools = ToolSet.compile(specimen.tools)
        if specimen.format == ARGUMENTS or len(specimen.truth) < 2:
            continue
        turn = Turn(tools, specimen.format, TurnPolicy(specimen.choice))
        turn.feed(specimen.text)
        problems = turn.close(specimen.finish).problems
        cut = specimen.finish == "length"
        parts = take_apart(specimen.text, tools, problems, format=specimen.format, cut=cut)
        if not problems or parts is None:
            continue
        right = [part.outcome.call for part in parts.calls if isinstance(part.outcome, Accepted)]
        assert all((one.name, json.loads(one.arguments)) in specimen.truth for one in right), specimen
        assert parts.open_ended or not right or len(parts.calls) == len(specimen.truth), specimen
        kept += len(right)
    assert kept > 10
