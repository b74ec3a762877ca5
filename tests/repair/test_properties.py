"""What holds for any input."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from repair.formats import FORMATS
from repair.jsonl import repair_arguments, repair_request
from repair.tools import ToolSet
from repair.turn import Turn
from repair.types import Accepted, ReasoningDelta, TextDelta, ToolCall, ToolDefinition
from tests.repair.corpus import RELAXED

# U+FFFD stands for bytes that are no text: a call that holds it is refused
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\ufffd"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)
ARGUMENTS = st.dictionaries(WORDS, VALUES, max_size=4)
ANY = ToolSet.compile([ToolDefinition("f")])
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "count": {"type": "integer"},
        "on": {"type": "boolean"},
        "list": {"type": "array", "items": {"type": "string"}},
        "who": {"type": "object", "properties": {"age": {"type": "number"}}},
        "kind": {"enum": ["Alpha", "beta"]},
    },
}
TYPED = ToolSet.compile([ToolDefinition("f", "", SCHEMA)])
MARKERS = {
    marker
    for one in FORMATS.values()
    for marker in (*one.OPENERS, *one.CLOSERS, *(half for pair in one.REASONING for half in pair))
}
PIECES = st.lists(
    st.sampled_from(sorted(MARKERS))
    | st.sampled_from(
        [
            *[
                "<tool_call>",
                "</tool_call>",
                "<function=f>",
                "</function>",
                "<parameter=text>",
                "</parameter>",
            ],
            *["<think>", "</think>", "```", "`", "\n", "{", "}", "[", "]", '"', "'", ":", ",", "\\", " "],
            *[
                '{"name": "f", "arguments": {',
                '"text": "x"',
                '"count": "5"',
                '"name": "f"',
                "true",
                "12",
                "f",
            ],
        ]
    )
    | st.text(max_size=5),
    max_size=25,
).map("".join)


@settings(RELAXED)
@given(ARGUMENTS, st.sampled_from([None, 1]), st.booleans())
def test_what_validates_passes_byte_for_byte(
    arguments: dict[str, Any], indent: int | None, ascii: bool
) -> None:
    text = json.dumps(arguments, indent=indent, ensure_ascii=ascii)
    outcome = repair_arguments("f", text, ANY)
    assert outcome == Accepted(ToolCall("f", text))


@settings(RELAXED)
@given(ARGUMENTS)
def test_a_clean_turn_passes_byte_for_byte(arguments: dict[str, Any]) -> None:
    text = json.dumps(arguments, ensure_ascii=False)
    turn = Turn(ANY, "hermes")
    assert turn.feed(f'<tool_call>\n{{"name": "f", "arguments": {text}}}\n</tool_call>') == []
    assert turn.close("stop").calls == (ToolCall("f", text),)


@settings(RELAXED)
@given(ARGUMENTS, st.data())
def test_a_prefix_is_never_completed(arguments: dict[str, Any], data: st.DataObject) -> None:
    text = json.dumps(arguments, ensure_ascii=False)
    cut = data.draw(st.integers(1, len(text) - 1))
    outcome = repair_arguments("f", text[:cut], ANY)
    assert not isinstance(outcome, Accepted)


@settings(RELAXED, max_examples=200)
@given(PIECES, st.data())
def test_any_text_gives_a_result_under_any_split(text: str, data: st.DataObject) -> None:
    whole = Turn(TYPED)
    expected = (_joined(whole.feed(text)), whole.close("stop"))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    split = Turn(TYPED)
    deltas = [
        delta
        for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)
        for delta in split.feed(text[start:end])
    ]
    outcome = split.close("stop")
    assert outcome.calls == expected[1].calls
    assert outcome.verdict is expected[1].verdict
    assert outcome.fixes == expected[1].fixes
    assert outcome.problems == expected[1].problems
    assert _joined([*deltas, *outcome.events]) == _joined([*whole_deltas(text), *expected[1].events])


def whole_deltas(text: str) -> list[TextDelta | ReasoningDelta]:
    return Turn(TYPED).feed(text)


def _joined(deltas: list[TextDelta | ReasoningDelta]) -> tuple[str, str]:
    return (
        "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)),
        "".join(delta.text for delta in deltas if isinstance(delta, ReasoningDelta)),
    )


@settings(RELAXED, max_examples=200)
@given(PIECES)
def test_repair_is_idempotent(text: str) -> None:
    outcome = repair_arguments("f", text, TYPED)
    if isinstance(outcome, Accepted):
        assert repair_arguments("f", outcome.call.arguments, TYPED) == Accepted(outcome.call)


@settings(RELAXED)
@given(st.dictionaries(st.sampled_from(list(SCHEMA["properties"])), VALUES))
def test_a_repaired_value_is_one_that_validates(arguments: dict[str, Any]) -> None:
    request = {"channel": "arguments", "tool_name": "f", "raw_output": json.dumps(arguments)}
    tools = [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]
    answer = repair_request({**request, "tools": tools})
    if answer["verdict"] != "reask":
        again = repair_request(
            {**request, "tools": tools, "raw_output": json.dumps(answer["tool_calls"][0]["arguments"])}
        )
        assert again["verdict"] == "clean"
