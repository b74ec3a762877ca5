"""Upstreams that speak Anthropic's Messages or OpenAI's Responses alone are asked by LiteLLM."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from proxy.codecs.openai_request import decode_request
from proxy.upstreams.base import UpstreamCall, UpstreamFinish, UpstreamText
from proxy.upstreams.remote.litellm import LiteLLMUpstream, Routing
from proxy.upstreams.remote.target import Target
from tests.proxy.live import LoopThread
from tests.proxy.upstreams.wire import Reply, WireUpstream, wire_serving

CLAUDE, RESPONSES = "anthropic/claude-sonnet-4-5", "openai/responses/gpt-5"
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
# What goes beside a conversation, some of which no such provider has.
BESIDE: dict[str, Any] = {
    "user": "ann",
    "service_tier": "auto",
    "prompt_cache_key": "k",
    "verbosity": "low",
    "safety_identifier": "s",
    "min_tokens": 3,
    "structured_outputs": {"regex": "a"},
    "metadata": {"run": "7"},
    "api_base": "http://elsewhere",
    "mock_response": "not from the model",
    "reasoning": {"effort": "low"},
    "max_completion_tokens": 77,
}


def _events(*told: dict[str, Any]) -> Reply:
    return Reply([f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in told])


USAGE = {"input_tokens": 9, "output_tokens": 4}
MESSAGE = {"id": "m", "type": "message", "role": "assistant", "model": "x", "content": [], "usage": USAGE}
OF_CLAUDE = _events(
    {"type": "message_start", "message": {**MESSAGE, "stop_reason": None, "stop_sequence": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "See."}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "content_block_start",
        "index": 1,
        "content_block": {"type": "tool_use", "id": "t", "name": "look", "input": {}},
    },
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
    {"type": "content_block_stop", "index": 1},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": USAGE},
    {"type": "message_stop"},
)
RESPONSE = {"id": "r", "object": "response", "created_at": 1, "model": "gpt-5", "status": "completed"}
OUTPUT = [
    {
        "type": "message",
        "id": "i",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "See.", "annotations": []}],
    }
]
OF_OPENAI = _events(
    {"type": "response.created", "response": {**RESPONSE, "status": "in_progress", "output": []}},
    {"type": "response.output_item.added", "output_index": 0, "item": {**OUTPUT[0], "content": []}},
    {
        "type": "response.output_text.delta",
        "item_id": "i",
        "output_index": 0,
        "content_index": 0,
        "delta": "See.",
    },
    {"type": "response.output_item.done", "output_index": 0, "item": OUTPUT[0]},
    {
        "type": "response.completed",
        "response": {**RESPONSE, "output": OUTPUT, "usage": {**USAGE, "total_tokens": 13}},
    },
)


class Foreign(WireUpstream):
    """Answers every request of a path alike."""

    def choose(self, body: dict[str, Any]) -> Reply:
        return OF_OPENAI if "input" in body else OF_CLAUDE


@dataclass(frozen=True, slots=True)
class Stage:
    thread: LoopThread
    upstream: LiteLLMUpstream
    wire: WireUpstream

    def hear(self, model: str, body: dict[str, Any]) -> tuple[list[Any], Any]:
        """The events of an answer, and the body that the provider got."""
        self.wire.heard.clear()
        asked = decode_request(json.dumps({"model": model, **body}).encode()).request
        heard = self.thread.run(_hear(self.upstream, asked))
        (one,) = self.wire.heard
        return heard, one


async def _hear(upstream: LiteLLMUpstream, asked: Any) -> list[Any]:
    generation = await upstream.open(asked)
    try:
        return [event async for event in generation]
    finally:
        await generation.aclose()


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    thread = LoopThread()
    wire = Foreign(Reply())
    with pytest.MonkeyPatch.context() as patch, wire_serving(wire):
        for name in ("OPENAI", "ANTHROPIC"):
            patch.setenv(f"{name}_API_KEY", "sk-0123456789")
        patch.setenv("OPENAI_BASE_URL", wire.base_url)
        patch.setenv("OPENAI_API_BASE", wire.base_url)
        patch.setenv("ANTHROPIC_API_BASE", wire.base_url.removesuffix("/v1"))
        targets = [Target(model=CLAUDE), Target(model=RESPONSES)]
        upstream = thread.run(LiteLLMUpstream.start(targets, Routing(retries=0, window_s=20), os.environ))
        yield Stage(thread, upstream, wire)
        thread.run(upstream.close())
    thread.close()


def told(events: list[Any]) -> tuple[str, list[str], str]:
    text = "".join(one.text for one in events if isinstance(one, UpstreamText))
    calls = [one.name for one in events if isinstance(one, UpstreamCall)]
    (finish,) = [one for one in events if isinstance(one, UpstreamFinish)]
    return text, calls, finish.reason


@pytest.mark.parametrize(("model", "path"), [(CLAUDE, "/v1/messages"), (RESPONSES, "/v1/responses")])
def test_what_no_provider_has_is_no_argument_of_litellms(stage: Stage, model: str, path: str) -> None:
    messages = [{"role": "user", "content": "look"}]
    events, heard = stage.hear(model, {"messages": messages, "tools": [TOOL], **BESIDE})
    assert heard.path.split("?")[0] == path
    assert told(events)[0] == "See."
    assert (
        not {"min_tokens", "structured_outputs", "mock_response", "api_base", "extra_body"}
        & heard.body.keys()
    )
    limit = heard.body.get("max_tokens") or heard.body.get("max_output_tokens")
    assert limit == 77


@pytest.mark.parametrize("model", [CLAUDE, RESPONSES])
def test_calls_of_the_history_have_their_tools(stage: Stage, model: str) -> None:
    messages = [
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "seen"},
    ]
    events, heard = stage.hear(model, {"messages": messages, "tools": [TOOL], "tool_choice": "none"})
    assert told(events)[0] == "See."
    assert [one["name"] for one in heard.body["tools"]] == ["look"]


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_tools_of_another_provider_are_left_out_with_a_warning(stage: Stage, choice: str) -> None:
    messages = [{"role": "user", "content": "look"}]
    sent = {"messages": messages, "tools": [{"type": "web_search"}], "tool_choice": choice}
    events, heard = stage.hear(CLAUDE, sent)
    assert not {"tools", "tool_choice"} & heard.body.keys()
    assert events[-1].warnings == ("tools of type web_search are not served here: left out",)


def test_a_schema_keeps_its_name(stage: Stage) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "place", "strict": True, "schema": SCHEMA}}
    _, heard = stage.hear(
        RESPONSES, {"messages": [{"role": "user", "content": "x"}], "response_format": wanted}
    )
    form = heard.body["text"]["format"]
    assert (form["name"], form["strict"]) == ("place", True)
