"""Judging one turn: every kind, and every class of flaw, from a message as a server hands it over."""

from __future__ import annotations

import json
from typing import Any

import pytest

from corpora.world.base import Call
from corpora.world.score import Judge, Kind, same
from tests.corpora.world.larder import LARDER

COUNT = Call("count_item", {"item": "tea"})
TAKE = Call("take_item", {"item": "tea", "amount": 2})


def said(*calls: tuple[str, Any], content: str | None = None) -> dict[str, Any]:
    """A message. Arguments that are a string are sent as they are."""
    items = [
        {
            "id": f"call_{at}",
            "type": "function",
            "function": {
                "name": name,
                "arguments": value if isinstance(value, str) else json.dumps(value),
            },
        }
        for at, (name, value) in enumerate(calls)
    ]
    return {"role": "assistant", "content": content, "tool_calls": items or None}


RIGHT_TAKE = ("take_item", {"amount": 2, "item": "tea"})
RIGHT_COUNT = ("count_item", {"item": "tea"})
CASES: dict[str, tuple[tuple[Call, ...], dict[str, Any], str, Kind, str]] = {
    "exact": ((TAKE,), said(RIGHT_TAKE), "tool_calls", Kind.exact, ""),
    "exact_integral_float": (
        (TAKE,),
        said(("take_item", '{"item": "tea", "amount": 2.0}')),
        "tool_calls",
        Kind.exact,
        "",
    ),
    "exact_parallel": ((COUNT, TAKE), said(RIGHT_COUNT, RIGHT_TAKE), "tool_calls", Kind.exact, ""),
    "exact_with_text": ((COUNT,), said(RIGHT_COUNT, content="Let me see."), "tool_calls", Kind.exact, ""),
    "spoken": ((), said(content="There are 3."), "stop", Kind.spoken, ""),
    "nested_without_end": (
        (COUNT,),
        said(("count_item", "[" * 100_000)),
        "tool_calls",
        Kind.malformed,
        "broken JSON",
    ),
    "nested_without_end_in_text": (
        (COUNT,),
        said(content="<tool_call>" + "[" * 100_000 + "</tool_call>"),
        "stop",
        Kind.malformed,
        "broken JSON",
    ),
    "silent": ((COUNT,), said(content="There are 3."), "stop", Kind.silent, "no call"),
    "silent_empty": ((COUNT,), said(content=""), "stop", Kind.silent, "no call"),
    "needless": ((), said(RIGHT_COUNT), "tool_calls", Kind.needless, "needless call"),
    "needless_and_invalid": (
        (),
        said(("count_item", {})),
        "tool_calls",
        Kind.invalid,
        "missing argument",
    ),
    "wrong_tool": ((TAKE,), said(RIGHT_COUNT), "tool_calls", Kind.wrong, "wrong tool"),
    "wrong_value": (
        (COUNT,),
        said(("count_item", {"item": "salt"})),
        "tool_calls",
        Kind.wrong,
        "wrong value",
    ),
    "wrong_order": ((COUNT, TAKE), said(RIGHT_TAKE, RIGHT_COUNT), "tool_calls", Kind.wrong, "wrong tool"),
    "too_few": ((COUNT, TAKE), said(RIGHT_COUNT), "tool_calls", Kind.wrong, "too few calls"),
    "too_many": ((COUNT,), said(RIGHT_COUNT, RIGHT_COUNT), "tool_calls", Kind.wrong, "too many calls"),
    "not_asked_for": (
        (COUNT,),
        said(("count_item", {"item": "tea", "note": "x"})),
        "tool_calls",
        Kind.wrong,
        "an argument nobody asked for",
    ),
    "unknown_tool": ((COUNT,), said(("count", {})), "tool_calls", Kind.invalid, "unknown tool"),
    "missing": ((COUNT,), said(("count_item", {})), "tool_calls", Kind.invalid, "missing argument"),
    "enum": (
        (COUNT,),
        said(("count_item", {"item": "gold"})),
        "tool_calls",
        Kind.invalid,
        "not in the enum",
    ),
    "type": (
        (TAKE,),
        said(("take_item", {"item": "tea", "amount": "2"})),
        "tool_calls",
        Kind.invalid,
        "wrong type",
    ),
    "bounds": (
        (TAKE,),
        said(("take_item", {"item": "tea", "amount": 0})),
        "tool_calls",
        Kind.invalid,
        "out of bounds",
    ),
    "no_object": (
        (COUNT,),
        said(("count_item", "[]")),
        "tool_calls",
        Kind.invalid,
        "arguments are no object",
    ),
    "one_of_two_invalid": (
        (COUNT, TAKE),
        said(RIGHT_COUNT, ("take_item", {})),
        "tool_calls",
        Kind.invalid,
        "missing argument",
    ),
    "broken_arguments": (
        (COUNT,),
        said(("count_item", '{"item": "tea"')),
        "tool_calls",
        Kind.malformed,
        "broken JSON",
    ),
    "nan": ((COUNT,), said(("count_item", '{"item": NaN}')), "tool_calls", Kind.malformed, "broken JSON"),
    "half_surrogate": (
        (COUNT,),
        said(("count_item", '{"item": "\\ud83d"}')),
        "tool_calls",
        Kind.malformed,
        "broken JSON",
    ),
    "broken_in_markers": (
        (COUNT,),
        said(content='<tool_call>\n{"name": "count_item", "arguments": {"item": tea}}\n</tool_call>'),
        "stop",
        Kind.malformed,
        "broken JSON",
    ),
    "key_twice": (
        (COUNT,),
        said(content='<tool_call>\n{"name": "a", "arguments": {"item": 1, "item": 1}}\n</tool_call>'),
        "stop",
        Kind.malformed,
        "a key given twice",
    ),
    "no_closer": (
        (COUNT,),
        said(content='<tool_call>\n{"name": "count_item", "arguments": {}}'),
        "stop",
        Kind.malformed,
        "closing marker lost",
    ),
    "no_opener": (
        (COUNT,),
        said(content='{"name": "count_item", "arguments": {}}\n</tool_call>'),
        "stop",
        Kind.malformed,
        "opening marker lost",
    ),
    "no_markers": (
        (COUNT,),
        said(content='{"name": "count_item", "arguments": {"item": "tea"}}'),
        "stop",
        Kind.malformed,
        "a call without markers",
    ),
    "no_call_object": (
        (COUNT,),
        said(content='<tool_call>\n{"item": "tea"}\n</tool_call>'),
        "stop",
        Kind.malformed,
        "no call object",
    ),
    "cut_off": (
        (COUNT,),
        said(content='<tool_call>\n{"name": "count_item", "arguments": {"item": "tea tea tea'),
        "length",
        Kind.malformed,
        "cut off by the token limit",
    ),
    "one_of_two_malformed": (
        (COUNT, TAKE),
        said(RIGHT_COUNT, content='<tool_call>\n{"name": "take_item", '),
        "tool_calls",
        Kind.malformed,
        "closing marker lost",
    ),
    "malformed_where_text_is_due": (
        (),
        said(content="<tool_call>"),
        "stop",
        Kind.malformed,
        "closing marker lost",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_kind_of_turn(case: tuple[tuple[Call, ...], dict[str, Any], str, Kind, str]) -> None:
    expected, message, finish, kind, flaw = case
    judged = Judge(LARDER.tools).judge(expected, message, finish)
    assert (judged.kind, judged.flaw) == (kind, flaw)


COMPLAINTS = {
    "unknown": (("count", {}), "unknown tool: count"),
    "missing": (("count_item", {}), 'invalid arguments: "item" is a required property'),
    "broken": (("count_item", "{"), "invalid arguments: not valid JSON"),
    "list": (("count_item", []), "invalid arguments: not an object"),
}


@pytest.mark.parametrize(("call", "says"), COMPLAINTS.values(), ids=COMPLAINTS)
def test_the_complaint_says_what_is_wrong(call: tuple[str, Any], says: str) -> None:
    judge = Judge(LARDER.tools)
    (emitted,) = judge.judge((), said(call), "tool_calls").calls
    assert judge.complaint(emitted) == says


@pytest.mark.parametrize(
    ("got", "wanted", "equal"),
    [
        (1, True, False),
        (0, False, False),
        ([1], [True], False),
        (3, 3.0, True),
        ({"a": 1, "b": [2]}, {"b": (2,), "a": 1}, True),
        ({"a": {"b": 0}}, {"a": {"b": False}}, False),
        ([1, 2], [2, 1], False),
        ("1", 1, False),
        (None, False, False),
    ],
)
def test_equality_is_that_of_json(got: Any, wanted: Any, equal: bool) -> None:
    assert same(got, wanted) is equal
