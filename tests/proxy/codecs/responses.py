"""Requests of the Responses API, what came of them, and chat conversations told as its items."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from proxy.codecs.openai_responses_request import decode_request
from proxy.codecs.openai_responses_store import ResponseStore
from proxy.conversation.request import ChatRequest
from tests.proxy.attempts import agree, of_headers
from tests.proxy.live import LiveServer
from tests.proxy.requests import TOOLS

FLAT_TOOLS: Any = [{"type": "function", **tool["function"]} for tool in TOOLS]
WEATHER_CALL = {
    "type": "function_call",
    "call_id": "call_1",
    "name": "get_weather",
    "arguments": '{"city": "Lisbon"}',
}


def body(input: Any = "hi", /, **fields: Any) -> dict[str, Any]:
    return {"model": "scripted", "input": input, **fields}


def decode(input: Any = "hi", /, **fields: Any) -> ChatRequest:
    return decode_request(json.dumps(body(input, **fields)).encode(), ResponseStore()).request


def post(server: LiveServer, sent: Any, headers: dict[str, str] | None = None) -> httpx.Response:
    """Bytes are sent as they are."""
    content = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    with httpx.Client(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), timeout=60) as client:
        return client.post(f"{server.base_url}/responses", content=content, headers=headers)


def events(response: httpx.Response) -> list[dict[str, Any]]:
    """The event objects of a stream; each `event:` line says the object's own type, and they are numbered."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    told = []
    for block in response.text.split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if not lines:
            continue
        event, data = lines
        told.append(json.loads(data.removeprefix("data: ")))
        assert event == f"event: {told[-1]['type']}"
    assert [one["sequence_number"] for one in told] == list(range(len(told)))
    return told


@dataclass(frozen=True, slots=True)
class Turned:
    """What a client got, streamed or not. guard: verdict, fixes and attempts as they are told."""

    text: str
    reasoning: str
    calls: tuple[tuple[str, str], ...]
    status: str
    guard: tuple[str, str, str]
    usage: dict[str, int] = field(default_factory=dict)


def turned(response: httpx.Response, stream: bool) -> Turned:
    if not stream:
        assert response.status_code == 200, response.text
        names = ("verdict", "fixes", "attempts")
        verdict, fixes, attempts = (response.headers[f"x-fortieth-{name}"] for name in names)
        agree(response.json()["fortieth"], of_headers(response))
        return _turned(response.json(), (verdict, fixes, attempts))
    last = events(response)[-1]
    comment = next(line for line in response.text.split("\n") if line.startswith(": x-fortieth-verdict: "))
    verdict, fixes, attempts = comment.removeprefix(": x-fortieth-verdict: ").split("; ")[:3]
    guard = (verdict, fixes.removeprefix("fixes="), attempts.removeprefix("attempts="))
    own = last["response"]["fortieth"]
    assert guard == (own["verdict"], str(own["fixes"]), str(own["attempts"]))
    return _turned(last["response"], guard)


def _turned(response: dict[str, Any], guard: tuple[str, str, str]) -> Turned:
    items = response["output"]
    usage = response["usage"]
    return Turned(
        "".join(part["text"] for item in items if item["type"] == "message" for part in item["content"]),
        "".join(part["text"] for item in items if item["type"] == "reasoning" for part in item["content"]),
        tuple((item["name"], item["arguments"]) for item in items if item["type"] == "function_call"),
        response["status"],
        guard,
        {name: usage[name] for name in ("input_tokens", "output_tokens")},
    )


def as_items(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Chat messages as the items that a client of the Responses API sends for them."""
    return [item for message in messages for item in _items_of(message)]


def _items_of(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if message["role"] == "tool":
        yield {
            "type": "function_call_output",
            "call_id": message["tool_call_id"],
            "output": message["content"],
        }
        return
    if message.get("reasoning_content"):
        parts = [{"type": "reasoning_text", "text": message["reasoning_content"]}]
        yield {"type": "reasoning", "id": "rs_1", "summary": [], "content": parts}
    if message.get("content"):
        kind = "output_text" if message["role"] == "assistant" else "input_text"
        parts = [{"type": kind, "text": message["content"]}]
        yield {"type": "message", "role": message["role"], "content": parts}
    for call in message.get("tool_calls", ()):
        yield {"type": "function_call", "call_id": call["id"], **call["function"]}
