"""What the judge says of each kind of answer, and that it judges by the answer alone."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from corpora.world.base import Call
from proxy.ab.judge import TurnJudge
from proxy.ab.measured import Delivered

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "days": {"type": "integer", "minimum": 1},
                    "unit": {"enum": ["c", "f"]},
                },
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    },
    {"type": "function", "function": {"name": "list_all"}},
    {"type": "function", "function": {"name": "odd", "parameters": {"type": "no such type"}}},
]
OSLO = Call("get_weather", {"city": "Oslo"})


def called(*calls: tuple[str, Any]) -> list[dict[str, Any]]:
    return [
        {"id": f"c{at}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for at, (name, arguments) in enumerate(calls)
    ]


CASES: dict[str, tuple[str, list[dict[str, Any]], str, Delivered, str]] = {
    "right": ("", called(("get_weather", '{"city": "Oslo"}')), "tool_calls", Delivered.valid, ""),
    "beside text": ("I look.", called(("get_weather", '{"city": "Oslo"}')), "stop", Delivered.valid, ""),
    "no schema": ("", called(("list_all", '{"a": 1}')), "tool_calls", Delivered.valid, ""),
    "a schema that says nothing": ("", called(("odd", "{}")), "tool_calls", Delivered.valid, ""),
    "missing": ("", called(("get_weather", "{}")), "tool_calls", Delivered.invalid, "missing argument"),
    "undeclared": ("", called(("get_weather", '{"city": "O", "x": 1}')), "tool_calls", Delivered.invalid,
                   "undeclared argument"),
    "type": ("", called(("get_weather", '{"city": 1}')), "tool_calls", Delivered.invalid, "wrong type"),
    "bounds": ("", called(("get_weather", '{"city": "O", "days": 0}')), "tool_calls", Delivered.invalid,
               "out of bounds"),
    "enum": ("", called(("get_weather", '{"city": "O", "unit": "k"}')), "tool_calls", Delivered.invalid,
             "not in the enum"),
    "name": ("", called(("get_whether", "{}")), "tool_calls", Delivered.invalid, "unknown tool"),
    "list": ("", called(("list_all", "[]")), "tool_calls", Delivered.invalid, "arguments are no object"),
    "object": ("", called(("list_all", {"a": 1})), "tool_calls", Delivered.invalid,
               "arguments are no string"),
    "broken JSON": ("", called(("list_all", '{"a": ')), "tool_calls", Delivered.unreadable,
                    "arguments are not JSON"),
    "NaN": ("", called(("list_all", '{"a": NaN}')), "tool_calls", Delivered.unreadable,
            "arguments are not JSON"),
    "deep": ("", called(("list_all", "[" * 100_000)), "tool_calls", Delivered.unreadable,
             "arguments are not JSON"),
    "second": ("", called(("list_all", "{}"), ("get_weather", "{}")), "tool_calls", Delivered.invalid,
               "missing argument"),
    "hermes": ('<tool_call>\n{"name": "x"', [], "stop", Delivered.call_text, "a marker of calls in the text"),
    "closing": ("Oslo</tool_call>", [], "stop", Delivered.call_text, "a marker of calls in the text"),
    "mistral": ('[TOOL_CALLS][{"name": "x"}]', [], "stop", Delivered.call_text,
                "a marker of calls in the text"),
    "qwen xml": ("<function=get_weather>", [], "stop", Delivered.call_text, "a marker of calls in the text"),
    "deepseek": ("<｜tool▁calls▁begin｜>", [], "stop", Delivered.call_text, "a marker of calls in the text"),
    "bare": ('{"name": "get_weather", "arguments": {"city": "Oslo"}}', [], "stop", Delivered.call_text,
             "a call as JSON in the text"),
    "left over": ("<tool_call>", called(("list_all", "{}")), "tool_calls", Delivered.valid,
                  "a marker of calls in the text beside calls"),
    "other JSON": ('{"name": "Ada", "arguments": ["for", "against"]}', [], "stop", Delivered.none, ""),
    "text": ("It rains in Oslo.", [], "stop", Delivered.none, ""),
    "cut text": ("It rains in", [], "length", Delivered.cut, "cut off by the token limit"),
    "cut call": ('<tool_call>\n{"name": "get_w', [], "length", Delivered.cut, "cut off by the token limit"),
    "lost": ("", [], "tool_calls", Delivered.lost, "finish reason tool_calls without a call"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_kind_of_answer(case: tuple[str, list[dict[str, Any]], str, Delivered, str]) -> None:
    content, calls, finish, delivered, flaw = case
    judged = TurnJudge(TOOLS).judge(content, calls, finish)
    assert (judged.delivered, judged.flaw, judged.exact) == (delivered, flaw, None)
    assert [call.name for call in judged.calls] == [call["function"]["name"] for call in calls]
    assert all(bool(call.flaw) == bool(call.complaint) for call in judged.calls)


@pytest.mark.parametrize(
    ("calls", "due", "exact"),
    [
        (called(("get_weather", '{"city": "Oslo"}')), [OSLO], True),
        (called(("get_weather", '{"city": "Bonn"}')), [OSLO], False),
        (called(("get_weather", '{"city": "Oslo"}')), [OSLO, OSLO], False),
        (called(("get_weather", '{"city": "Oslo"}')), [], False),
        (called(("get_weather", '{"city": "Oslo"')), [OSLO], False),
        ([], [OSLO], False),
        ([], [], True),
    ],
)
def test_exactly_right_is_what_was_due(calls: list[dict[str, Any]], due: list[Call], exact: bool) -> None:
    assert TurnJudge(TOOLS).judge("", calls, "stop", due).exact is exact


def test_the_judge_is_told_nothing_of_the_arm() -> None:
    parameters = inspect.signature(TurnJudge.judge).parameters
    assert list(parameters) == ["self", "content", "calls", "finish", "due"]
