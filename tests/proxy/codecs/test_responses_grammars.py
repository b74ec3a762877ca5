"""Custom tools with a grammar: nothing that breaks it reaches the client as a call."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.upstreams.base import UpstreamCall
from proxy.upstreams.scripted import Script
from tests.patches import NO_PATCHES, PATCH_TOOL, PATCHES
from tests.proxy.attempts import Ring
from tests.proxy.codecs.responses import body, decode, events, post

REGEX_TOOL: dict[str, Any] = {
    "type": "custom",
    "name": "dial",
    "format": {"type": "grammar", "syntax": "regex", "definition": "[0-9]{3}"},
}


def written(name: str, text: str) -> str:
    call = {"name": name, "arguments": {"input": text}}
    return f"<tool_call>\n{json.dumps(call)}\n</tool_call>"


def emitted(name: str, text: str) -> UpstreamCall:
    return UpstreamCall(name, json.dumps({"input": text}))


def output(full: Ring, key: str, stream: bool, **fields: Any) -> list[dict[str, Any]]:
    sent = body(key, stream=stream, tools=[PATCH_TOOL, REGEX_TOOL], **fields)
    response = post(full.server, sent)
    if not stream:
        items: list[dict[str, Any]] = response.json()["output"]
        return items
    told = events(response)
    items = told[-1]["response"]["output"]
    deltas = "".join(one["delta"] for one in told if one["type"] == "response.custom_tool_call_input.delta")
    assert deltas == "".join(one["input"] for one in items if one["type"] == "custom_tool_call")
    return items


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("way", [written, emitted], ids=["text", "structure"])
@pytest.mark.parametrize("wrong", NO_PATCHES)
def test_a_text_that_breaks_its_grammar_is_asked_for_again(
    full: Ring, wrong: str, way: Any, stream: bool
) -> None:
    plan = way("apply_patch", NO_PATCHES[wrong]), way("apply_patch", PATCHES[0])
    key = full.attempts.plan(f"{wrong} {way.__name__} {stream}", *plan)
    (item,) = output(full, key, stream)
    assert (item["type"], item["name"], item["input"]) == ("custom_tool_call", "apply_patch", PATCHES[0])
    first, second = full.attempts.asked[key]
    assert second.constrained
    told = second.messages[-1].text
    assert "at /input (grammar)" in told
    assert first.tools[0].texts["input"].refusal(NO_PATCHES[wrong]) in told


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("way", [written, emitted], ids=["text", "structure"])
def test_a_model_that_never_follows_the_grammar_makes_no_call(full: Ring, way: Any, stream: bool) -> None:
    key = full.attempts.plan(f"never {way.__name__} {stream}", way("apply_patch", NO_PATCHES["prose"]))
    items = output(full, key, stream)
    assert {item["type"] for item in items} == {"message"}


def test_a_regex_is_a_grammar_too(full: Ring) -> None:
    key = full.attempts.plan("dial", written("dial", "12"), written("dial", "112"))
    (item,) = output(full, key, False)
    assert (item["name"], item["input"], len(full.attempts.asked[key])) == ("dial", "112", 2)


def test_a_right_text_passes_at_once(full: Ring) -> None:
    key = full.attempts.plan("right", Script((written("apply_patch", PATCHES[1]),)))
    (item,) = output(full, key, True)
    assert (item["input"], len(full.attempts.asked[key])) == (PATCHES[1], 1)


def test_a_lark_grammar_that_cannot_be_read_is_refused(full: Ring) -> None:
    wrong = {**PATCH_TOOL, "format": {**PATCH_TOOL["format"], "definition": "start: nowhere"}}
    response = post(full.server, body(tools=[REGEX_TOOL, wrong]))
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "tools[1].format.definition")
    assert error["message"].startswith("tools[1].format.definition: not a usable Lark grammar: at 1(8)")
    assert 'unknown name: "nowhere"' in error["message"]


def test_a_regex_that_only_json_schema_can_read_stays_a_pattern() -> None:
    regex = {**REGEX_TOOL["format"], "definition": "(?!0)[0-9]{3}"}
    (tool,) = decode(tools=[{**REGEX_TOOL, "format": regex}]).tools
    assert tool.parameters["properties"]["input"]["pattern"] == "^(?:(?!0)[0-9]{3})$"
    assert (tool.texts, tool.strict) == ({}, True)


def test_a_grammar_nested_as_in_chat_completions() -> None:
    nested = {"type": "grammar", "grammar": {"syntax": "regex", "definition": "[0-9]+"}}
    (tool,) = decode(tools=[{"type": "custom", "custom": {"name": "dial", "format": nested}}]).tools
    assert tool.texts["input"].refusal("x")
