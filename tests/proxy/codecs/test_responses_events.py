"""The events of a stream, literally: their order, their fields and types, against the shapes that
https://platform.openai.com/docs/api-reference/responses-streaming documents.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from proxy.conversation.errors import ContextTooLong, Overloaded, RequestError, UpstreamUnavailable
from proxy.upstreams.base import UpstreamReasoning
from proxy.upstreams.scripted import Script, Stall
from tests.proxy.codecs.responses import FLAT_TOOLS, body, events, post
from tests.proxy.conftest import Stage
from tests.proxy.requests import CALL, SLOPPY_CALL

# What each event holds beside `type` and `sequence_number`.
ITEM = {"output_index": int, "item": dict}
PART = {"item_id": str, "output_index": int, "content_index": int}
SUMMARY = {"item_id": str, "output_index": int, "summary_index": int}
CALLED = {"item_id": str, "output_index": int}
SHAPES: dict[str, dict[str, type]] = {
    "response.created": {"response": dict},
    "response.in_progress": {"response": dict},
    "response.completed": {"response": dict},
    "response.incomplete": {"response": dict},
    "response.failed": {"response": dict},
    "response.output_item.added": ITEM,
    "response.output_item.done": ITEM,
    "response.content_part.added": {**PART, "part": dict},
    "response.content_part.done": {**PART, "part": dict},
    "response.output_text.delta": {**PART, "delta": str, "logprobs": list},
    "response.output_text.done": {**PART, "text": str, "logprobs": list},
    "response.reasoning_text.delta": {**PART, "delta": str},
    "response.reasoning_text.done": {**PART, "text": str},
    "response.reasoning_summary_part.added": {**SUMMARY, "part": dict},
    "response.reasoning_summary_part.done": {**SUMMARY, "part": dict},
    "response.reasoning_summary_text.delta": {**SUMMARY, "delta": str},
    "response.reasoning_summary_text.done": {**SUMMARY, "text": str},
    "response.function_call_arguments.delta": {**CALLED, "delta": str},
    "response.function_call_arguments.done": {**CALLED, "arguments": str, "name": str},
    "response.custom_tool_call_input.delta": {**CALLED, "delta": str},
    "response.custom_tool_call_input.done": {**CALLED, "input": str},
}
BEGIN = ("response.created", "response.in_progress")
OPENED = ("response.output_item.added", "response.content_part.added")
CLOSED = ("response.content_part.done", "response.output_item.done")
MESSAGE = (*OPENED, "response.output_text.delta", "response.output_text.done", *CLOSED)
REASONING = (*OPENED, "response.reasoning_text.delta", "response.reasoning_text.done", *CLOSED)
SUMMARISED = (
    "response.output_item.added",
    "response.reasoning_summary_part.added",
    "response.reasoning_summary_text.delta",
    "response.reasoning_summary_text.done",
    "response.reasoning_summary_part.done",
    "response.output_item.done",
)
CALL_ITEM = (
    "response.output_item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.output_item.done",
)
CUSTOM_ITEM = (
    "response.output_item.added",
    "response.custom_tool_call_input.delta",
    "response.custom_tool_call_input.done",
    "response.output_item.done",
)
PATCH: Any = {"type": "custom", "name": "patch", "description": "Patches"}
PATCH_CALL = '<tool_call>\n{"name": "patch", "arguments": {"input": "+ a\\n"}}\n</tool_call>'
THOUGHT = UpstreamReasoning("So.")

# id -> (what the model says, further fields of the request, the types of the events)
STREAMS: dict[str, tuple[Script, dict[str, Any], tuple[str, ...]]] = {
    "text": (Script(("It rains.",)), {}, (*BEGIN, *MESSAGE, "response.completed")),
    "pieces": (
        Script(("It ", "rains.")),
        {},
        (*BEGIN, *MESSAGE[:3], *MESSAGE[2:], "response.completed"),
    ),
    "empty": (
        Script(()),
        {},
        (*BEGIN, *OPENED, "response.output_text.done", *CLOSED, "response.completed"),
    ),
    "blank": (Script(("\n",)), {}, (*BEGIN, *MESSAGE, "response.completed")),
    "reasoning": (
        Script((THOUGHT, "\n\n", "It rains.")),
        {},
        (*BEGIN, *REASONING, *MESSAGE, "response.completed"),
    ),
    "summary": (
        Script((THOUGHT, "It rains.")),
        {"reasoning": {"summary": "auto"}},
        (*BEGIN, *SUMMARISED, *MESSAGE, "response.completed"),
    ),
    "no_reasoning": (
        Script((THOUGHT, "It rains.")),
        {"include_reasoning": False},
        (*BEGIN, *MESSAGE, "response.completed"),
    ),
    "call": (Script((CALL,)), {}, (*BEGIN, *CALL_ITEM, "response.completed")),
    "text_and_calls": (
        Script(("I look.\n", SLOPPY_CALL, "\n", CALL.replace("Lisbon", "Porto"))),
        {},
        (*BEGIN, *MESSAGE, *CALL_ITEM, *CALL_ITEM, "response.completed"),
    ),
    "custom": (Script((PATCH_CALL,)), {}, (*BEGIN, *CUSTOM_ITEM, "response.completed")),
    "length": (Script(("It rai",), finish="length"), {}, (*BEGIN, *MESSAGE, "response.incomplete")),
    "length_while_thinking": (
        Script((THOUGHT,), finish="length"),
        {},
        (*BEGIN, *REASONING, "response.incomplete"),
    ),
    "filtered": (Script(("It ",), finish="content_filter"), {}, (*BEGIN, *MESSAGE, "response.incomplete")),
}


def stream(stage: Stage, key: str, script: Script, **fields: Any) -> httpx.Response:
    stage.playbook.scripts[key] = script
    return post(stage.server, body(key, tools=[*FLAT_TOOLS, PATCH], stream=True, **fields))


def without_keep_alives(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """They repeat response.in_progress."""
    return [one for i, one in enumerate(told) if i == 1 or one["type"] != "response.in_progress"]


@pytest.mark.parametrize(("script", "fields", "types"), STREAMS.values(), ids=STREAMS)
def test_the_order_of_events(
    stage: Stage, script: Script, fields: dict[str, Any], types: tuple[str, ...]
) -> None:
    told = without_keep_alives(events(stream(stage, f"order {script} {fields}", script, **fields)))
    assert tuple(one["type"] for one in told) == types
    for one in told:
        fields = {"type": str, "sequence_number": int, **SHAPES[one["type"]]}
        assert {name: type(value) for name, value in one.items()} == fields


@pytest.mark.parametrize(("script", "fields"), [one[:2] for one in STREAMS.values()], ids=STREAMS)
def test_events_add_up(stage: Stage, script: Script, fields: dict[str, Any]) -> None:
    """To the items that were opened, those that were closed, and those of the response at the end."""
    told = events(stream(stage, f"sum {script} {fields}", script, **fields))
    last = told[-1]["response"]
    assert {told[0]["response"]["id"], told[1]["response"]["id"]} == {last["id"]}
    done = [one["item"] for one in told if one["type"] == "response.output_item.done"]
    assert done == last["output"]
    added = [one["item"] for one in told if one["type"] == "response.output_item.added"]
    assert [item["id"] for item in added] == [item["id"] for item in done]
    for item in added:
        assert item["status"] == "in_progress"
        assert not any(item.get(key) for key in ("content", "summary", "arguments", "input"))
    open_item = ""
    for one in told:
        if one["type"] == "response.output_item.added":
            assert open_item == "", "one item is closed before the next is opened"
            open_item = one["item"]["id"]
        elif one["type"] == "response.output_item.done":
            assert one["item"] == last["output"][one["output_index"]]
            open_item = ""
        elif "item_id" in one:
            assert one["item_id"] == open_item == last["output"][one["output_index"]]["id"]
    for item in done:
        deltas = [one["delta"] for one in told if one.get("item_id") == item["id"] and "delta" in one]
        assert "".join(deltas) == full_text(item)


def full_text(item: dict[str, Any]) -> str:
    if "arguments" in item or "input" in item:
        return str(item.get("arguments", item.get("input")))
    return "".join(part["text"] for part in item.get("content") or item["summary"])


def test_the_literal_events_of_a_call(stage: Stage) -> None:
    told = events(stream(stage, "literal", Script((CALL,))))
    added, delta, done, closed = without_keep_alives(told)[2:6]
    item_id, call_id = added["item"]["id"], added["item"]["call_id"]
    assert item_id.startswith("fc_")
    assert call_id.startswith("call_")
    item = {"id": item_id, "type": "function_call", "call_id": call_id, "name": "get_weather"}
    arguments = '{"city": "Lisbon"}'
    place = {"item_id": item_id, "output_index": 0}
    for one in (added, delta, done, closed):
        del one["sequence_number"]
    assert added == {
        "type": "response.output_item.added",
        "output_index": 0,
        "item": {**item, "arguments": "", "status": "in_progress"},
    }
    assert delta == {"type": "response.function_call_arguments.delta", **place, "delta": arguments}
    assert done == {
        "type": "response.function_call_arguments.done",
        **place,
        "arguments": arguments,
        "name": "get_weather",
    }
    assert closed == {
        "type": "response.output_item.done",
        "output_index": 0,
        "item": {**item, "arguments": arguments, "status": "completed"},
    }


# without ids, times and tools
WHOLE: dict[str, Any] = {
    "object": "response",
    "status": "completed",
    "background": False,
    "error": None,
    "incomplete_details": None,
    "instructions": "Be brief.",
    "max_output_tokens": 40,
    "max_tool_calls": None,
    "metadata": {"run": "7"},
    "model": "scripted",
    "output": [
        {
            "type": "reasoning",
            "status": "completed",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "So."}],
            "encrypted_content": None,
        },
        {
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "It rains.", "annotations": [], "logprobs": []}],
        },
    ],
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": "k",
    "reasoning": {"effort": "low", "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 0.5,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "usage": {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 9,
    },
    "user": "u",
}


def test_the_response_object(stage: Stage) -> None:
    """Whole and at the end of a stream it is the same but for ids, times and `stream`."""
    fields = {
        "instructions": "Be brief.",
        "metadata": {"run": "7"},
        "temperature": 0.5,
        "max_output_tokens": 40,
        "tool_choice": "auto",
        "reasoning": {"effort": "low"},
        "prompt_cache_key": "k",
        "user": "u",
    }
    script = Script((THOUGHT, "It rains."))
    streamed = events(stream(stage, "object", script, **fields))[-1]["response"]
    whole = post(stage.server, body("object", tools=[*FLAT_TOOLS, PATCH], **fields)).json()
    for response in (streamed, whole):
        assert response.pop("id").startswith("resp_")
        assert isinstance(response.pop("created_at"), int)
        assert isinstance(response.pop("completed_at"), int)
        kinds = [item.pop("id").split("_")[0] for item in response["output"]]
        assert kinds == ["rs", "msg"]
    assert streamed == whole
    assert whole.pop("fortieth") == {"verdict": "none", "fixes": 0, "attempts": 1, "session": "k"}
    assert whole == {**WHOLE, "tools": [*FLAT_TOOLS, PATCH]}


@pytest.mark.parametrize(
    ("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_an_answer_that_was_cut_says_why(stage: Stage, finish: str, reason: str) -> None:
    last = events(stream(stage, finish, Script(("It rai",), finish=finish)))[-1]["response"]
    assert (last["status"], last["incomplete_details"]) == ("incomplete", {"reason": reason})
    assert last["output"][0]["status"] == "incomplete"
    assert last["completed_at"] is None


def test_a_silent_stream_is_kept_alive_by_events(stage: Stage) -> None:
    told = events(stream(stage, "slow", Script((Stall(0.3), "x"))))
    types = [one["type"] for one in told]
    assert types[2:4] == ["response.in_progress"] * 2
    assert types[-1] == "response.completed"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UpstreamUnavailable("it died"), "upstream_unavailable"),
        (ContextTooLong(9000, 4096), "context_length_exceeded"),
        (Overloaded("full"), "rate_limit_exceeded"),
    ],
    ids=["died", "context", "busy"],
)
def test_a_stream_that_fails(stage: Stage, error: RequestError, code: str) -> None:
    """After the text that came already; with the same code in both of the events that clients look for."""
    *_, delta, told, failed = events(stream(stage, f"fails {code}", Script(("It ", error))))
    assert delta["type"] == "response.output_text.delta"
    assert (told["type"], told["code"], told["message"]) == ("error", code, error.message)
    assert (told["error"]["code"], told["error"]["message"]) == (code, error.message)
    assert told["param"] == ("input" if code == "context_length_exceeded" else None)
    assert failed["type"] == "response.failed"
    assert failed["response"]["status"] == "failed"
    assert failed["response"]["error"] == {"code": code, "message": error.message}


def test_the_verdict_is_a_comment_before_the_end(stage: Stage) -> None:
    *_, comment, last, end = stream(stage, "verdict", Script((SLOPPY_CALL,))).text.split("\n\n")
    assert comment == ": x-fortieth-verdict: repaired; fixes=1; attempts=1"
    assert json.loads(last.split("data: ")[1])["type"] == "response.completed"
    assert end == ""
