"""Every wire format: what its renderer writes, its parser reads back, alone and among all others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repair.formats import AUTO, FORMATS, detect_format
from repair.tools import ToolSet
from repair.turn import Outcome, Turn
from repair.types import ReasoningDelta, TextDelta, ToolCall, ToolDefinition, Verdict
from tests.repair.corpus import RELAXED

ANYTHING: dict[str, Any] = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "note": {"type": "string"},
        "count": {"type": "integer"},
        "ratio": {"type": "number"},
        "on": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "who": {"type": "object", "additionalProperties": {"type": "string"}},
        "grid": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
    },
    "additionalProperties": False,
}
TOOLS = ToolSet.compile([ToolDefinition("save_it", "", ANYTHING), ToolDefinition("list.all", "", {})])
NAMES = sorted(FORMATS)
MARKERS = sorted(
    {marker for one in FORMATS.values() for marker in (*one.OPENERS, *one.CLOSERS)}
    | {marker for one in FORMATS.values() for pair in one.REASONING for marker in pair}
)
BARE = {"bare_json", "bare_python"}  # have no envelope, so that text beside a call makes it text as well
UNMARKED = BARE | {"calling", "longcat", "ifm_json"}  # nothing in a template tells them from other formats
MESSAGE_END = "<|message_sep|>"  # of gigachat: belongs to no message's content
HARD = [
    *[
        "",
        " ",
        "\n",
        "x\n",
        "\nx",
        "02139",
        "null",
        "true",
        "5",
        "-0",
        "1e5",
        '{"a": [1]}',
        "[1, 2]",
        "'",
        '"',
        '""',
    ],
    *[
        "it's",
        'say "hi"',
        "C:\\new\\table",
        "\\",
        "\\\\",
        "\\u0041",
        "a\tb",
        "a\r\nb",
        "def f():\n    return 1\n",
    ],
    *[
        "Zürich",
        "日本語",
        "👩‍👩‍👧",
        "\u2028",
        "```json\n{}\n```",
        "a, b",
        "a=1, b=2",
        "}{",
        "]]",
        ")",
        "&amp;",
        "`code`",
    ],
    *["<b>bold</b>", "x" * 3000],
]
# U+FFFD stands for bytes that were not UTF-8: a call that holds it is refused
STRINGS = st.sampled_from(HARD) | st.text(
    st.characters(codec="utf-8", exclude_characters="\ufffd"), max_size=20
)
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "text": STRINGS,
        "note": STRINGS,
        "count": st.integers(),
        "ratio": st.floats(allow_nan=False, allow_infinity=False),
        "on": st.booleans(),
        "tags": st.lists(STRINGS, max_size=3),
        "who": st.dictionaries(STRINGS, STRINGS, max_size=3),
        "grid": st.lists(st.lists(st.integers(0, 99), max_size=3), max_size=3),
    },
)
CALLS = st.lists(
    ARGUMENTS.map(lambda value: ToolCall("save_it", json.dumps(value, ensure_ascii=False))),
    min_size=1,
    max_size=3,
)


def run(text: str, format: str, size: int = 0) -> Outcome:
    turn = Turn(TOOLS, format)
    for start in range(0, len(text), size or len(text) or 1):
        turn.feed(text[start : start + (size or len(text))])
    return turn.close("stop")


def same(calls: tuple[ToolCall, ...], expected: list[ToolCall]) -> bool:
    return [(one.name, json.loads(one.arguments)) for one in calls] == [
        (one.name, json.loads(one.arguments)) for one in expected
    ]


@pytest.mark.parametrize("format", NAMES)
@settings(RELAXED, max_examples=25)
@given(calls=CALLS)
def test_round_trip(format: str, calls: list[ToolCall]) -> None:
    text = FORMATS[format].render(tuple(calls))
    outcome = run(text, format)
    assert outcome.verdict is Verdict.clean, (text, outcome.problems, outcome.fixes)
    assert same(outcome.calls, calls)


@pytest.mark.parametrize("format", NAMES)
@settings(RELAXED, max_examples=10)
@given(calls=CALLS, size=st.integers(1, 9))
def test_round_trip_in_pieces_and_found_by_its_text(format: str, calls: list[ToolCall], size: int) -> None:
    outcome = run(FORMATS[format].render(tuple(calls)), AUTO, size)
    assert outcome.verdict is Verdict.clean
    assert same(outcome.calls, calls)


@pytest.mark.parametrize("format", NAMES)
@settings(RELAXED, max_examples=30)
@given(data=st.data())
def test_a_marker_in_a_value_never_becomes_another_call(format: str, data: st.DataObject) -> None:
    parts = data.draw(
        st.lists(
            st.sampled_from([*MARKERS, "\n", " x ", '{"name": "list.all", "arguments": {}}']), max_size=6
        )
    )
    # a doubled closing tag on a line of its own is taken for one: so no value ends in one here
    text = "".join(parts) + "."
    calls = [ToolCall("save_it", json.dumps({"text": text, "count": 1}, ensure_ascii=False))]
    outcome = run(FORMATS[format].render(tuple(calls)), format)
    if outcome.verdict is not Verdict.reask:
        assert same(outcome.calls, calls)


@pytest.mark.parametrize("format", NAMES)
def test_a_value_that_ends_its_call_and_begins_reasoning_is_not_cut(format: str) -> None:
    for closer in FORMATS[format].CLOSERS:
        for token, thought in (("<|return|>", "<|START_THINKING|>"), ("</s>", "<think>"), ("", "[THINK]")):
            arguments = {"text": f"{closer}{token}{thought}.", "count": 1}
            call = ToolCall("save_it", json.dumps(arguments, ensure_ascii=False))
            outcome = run(FORMATS[format].render((call,)), format)
            assert outcome.verdict is Verdict.reask or same(outcome.calls, [call]), arguments


@pytest.mark.parametrize("format", NAMES)
def test_no_prefix_of_a_call_is_executed(format: str) -> None:
    arguments = {"text": "some text", "tags": ["a", "b"], "count": 12}
    text = FORMATS[format].render((ToolCall("save_it", json.dumps(arguments)),))
    for end in range(1, len(text)):
        outcome = run(text[:end], format)
        for call in outcome.calls:
            assert json.loads(call.arguments) == arguments, text[:end]


@pytest.mark.parametrize("format", NAMES)
def test_a_call_cut_by_the_token_limit_is_kept_as_text_and_not_executed(format: str) -> None:
    text = FORMATS[format].render((ToolCall("save_it", '{"text": "some text", "count": 12}'),))
    for end in range(1, len(text)):
        limited = Turn(TOOLS, format)
        deltas = limited.feed(text[:end])
        outcome = limited.close("length")
        if format == "command" and text[:end].count("]"):  # its list has ended, and with it the calls
            assert len(outcome.calls) == 1
            continue
        assert outcome.calls == (), text[:end]
        kept = "".join(delta.text for delta in [*deltas, *outcome.events])
        assert kept == text[:end] or (format == "gigachat" and MESSAGE_END + kept == text[:end])


def test_few_formats_are_exceptions() -> None:
    assert len(NAMES) == len(FORMATS) > 40
    assert set(NAMES) > UNMARKED


@pytest.mark.parametrize("format", sorted(set(NAMES) - BARE))
def test_text_around_calls_is_content(format: str) -> None:
    call = ToolCall("save_it", '{"text": "x"}')
    text = FORMATS[format].render((call,))
    for before, after in (("Before.\n", ""), ("Before.", ""), ("", "\nAfter.")):
        turn = Turn(TOOLS, format)
        deltas = turn.feed(before + text + after)
        outcome = turn.close("stop")
        assert same(outcome.calls, [call])
        assert "".join(delta.text for delta in [*deltas, *outcome.events]).strip() == (before + after).strip()


@pytest.mark.parametrize("format", NAMES)
def test_with_words_on_both_sides_a_call_may_be_a_quotation(format: str) -> None:
    text = f"Before.\n{FORMATS[format].render((ToolCall('save_it', '{}'),))}\nAfter."
    turn = Turn(TOOLS, format)
    deltas = turn.feed(text)
    outcome = turn.close("stop")
    assert outcome.calls == ()
    assert outcome.verdict is (Verdict.none if format in BARE else Verdict.reask)
    if format != "harmony":  # whose frame is nobody's content
        assert "".join(delta.text for delta in [*deltas, *outcome.events]) == text


REASONING = [(name, *markers) for name in NAMES for markers in FORMATS[name].REASONING]


@pytest.mark.parametrize(("format", "opener", "closer"), REASONING)
def test_reasoning_is_separated(format: str, opener: str, closer: str) -> None:
    turn = Turn(TOOLS, format)
    deltas = [delta for char in f"{opener}thoughts{closer}answer" for delta in turn.feed(char)]
    deltas += turn.close("stop").events
    assert "".join(one.text for one in deltas if isinstance(one, ReasoningDelta)) == "thoughts"
    assert "".join(one.text for one in deltas if isinstance(one, TextDelta)) == "answer"


@pytest.mark.parametrize("format", sorted(set(NAMES) - UNMARKED))
def test_a_template_that_shows_the_format_names_it(format: str) -> None:
    text = FORMATS[format].render((ToolCall("save_it", '{"text": "x"}'),))
    assert detect_format("{% for m in messages %}" + text) == format


def test_an_unknown_template_is_auto() -> None:
    assert detect_format(None) == AUTO
    assert detect_format("{{ messages }}") == AUTO
