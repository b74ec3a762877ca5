"""One conversation whose client speaks another API in each turn: its prefix stays in the cache."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
import pytest

from tests.proxy.codecs.responses import as_items
from tests.system.conftest import Served

CITIES = ("Lisbon", "Porto", "Oslo", "Rome", "Bern", "Riga", "Paris", "Cairo")
NAME, ABOUT = "get_weather", "Get the current weather in a city"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": NAME, "description": ABOUT, "parameters": SCHEMA}
Call = tuple[str, dict[str, Any]]
_CACHE = re.compile(r"reused=(\d+); total=(\d+)")


def in_chat(messages: list[dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    tools = [{"type": "function", "function": FUNCTION}]
    return "/v1/chat/completions", {"messages": messages, "tools": tools}


def from_chat(answer: dict[str, Any]) -> tuple[str, list[Call]]:
    message = answer["choices"][0]["message"]
    calls = [(one["id"], json.loads(one["function"]["arguments"])) for one in message.get("tool_calls", ())]
    return message["content"] or "", calls


def in_messages(messages: list[dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    tools = [{"name": NAME, "description": ABOUT, "input_schema": SCHEMA}]
    return "/v1/messages", {
        "messages": list(map(_block_message, messages)),
        "tools": tools,
        "max_tokens": 200,
    }


def _block_message(message: dict[str, Any]) -> dict[str, Any]:
    if message["role"] == "tool":
        result = {
            "type": "tool_result",
            "tool_use_id": message["tool_call_id"],
            "content": message["content"],
        }
        return {"role": "user", "content": [result]}
    blocks: list[dict[str, Any]] = (
        [{"type": "text", "text": message["content"]}] if message["content"] else []
    )
    for call in message.get("tool_calls", ()):
        given = json.loads(call["function"]["arguments"])
        blocks.append({"type": "tool_use", "id": call["id"], "name": NAME, "input": given})
    return {"role": message["role"], "content": blocks}


def from_messages(answer: dict[str, Any]) -> tuple[str, list[Call]]:
    blocks = answer["content"]
    text = "".join(block["text"] for block in blocks if block["type"] == "text")
    return text, [(block["id"], block["input"]) for block in blocks if block["type"] == "tool_use"]


def in_responses(messages: list[dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return "/v1/responses", {"input": as_items(messages), "tools": [{"type": "function", **FUNCTION}]}


def from_responses(answer: dict[str, Any]) -> tuple[str, list[Call]]:
    items = answer["output"]
    text = "".join(part["text"] for item in items if item["type"] == "message" for part in item["content"])
    calls = [item for item in items if item["type"] == "function_call"]
    return text, [(item["call_id"], json.loads(item["arguments"])) for item in calls]


def in_ollama(messages: list[dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    """Without ids, as its SDK sends them."""
    _, body = in_chat([_without_ids(message) for message in messages])
    return "/api/chat", {**body, "stream": False}


def _without_ids(message: dict[str, Any]) -> dict[str, Any]:
    told = {name: message[name] for name in ("role", "content")}
    if message["role"] == "tool":
        told["tool_name"] = NAME
    if calls := message.get("tool_calls"):
        given = [json.loads(call["function"]["arguments"]) for call in calls]
        told["tool_calls"] = [{"function": {"name": NAME, "arguments": one}} for one in given]
    return told


def from_ollama(answer: dict[str, Any]) -> tuple[str, list[Call]]:
    message = answer["message"]
    return message["content"], [
        (call["id"], call["function"]["arguments"]) for call in message.get("tool_calls", ())
    ]


Ask = Callable[[list[dict[str, Any]]], tuple[str, dict[str, Any]]]
Read = Callable[[dict[str, Any]], tuple[str, list[Call]]]
DIALECTS: dict[str, tuple[Ask, Read]] = {
    "chat": (in_chat, from_chat),
    "messages": (in_messages, from_messages),
    "responses": (in_responses, from_responses),
    "ollama": (in_ollama, from_ollama),
}


def turns(server: Served, client: httpx.Client, order: Sequence[str]) -> Iterator[tuple[str, int, int, int]]:
    """Of each turn: its dialect, the tokens of its prompt that were reused, all of them, how many calls."""
    said: list[dict[str, Any]] = []
    for number, city in enumerate(CITIES * 2):
        if number % 2 == 0:
            said.append({"role": "user", "content": f"What is the weather in {city}?"})
        name = order[number % len(order)]
        ask, read = DIALECTS[name]
        path, body = ask(said)
        root = server.base_url.removesuffix("/v1")
        sent = {"model": "fortieth-tiny", **body}
        response = client.post(root + path, json=sent, headers={"session-id": "turning " + "-".join(order)})
        assert response.status_code == 200, response.text
        found = _CACHE.search(response.headers["x-fortieth-cache"])
        assert found
        text, calls = read(response.json())
        yield name, int(found[1]), int(found[2]), len(calls)
        made = [
            {"id": id, "type": "function", "function": {"name": NAME, "arguments": json.dumps(arguments)}}
            for id, arguments in calls
        ]
        said.append({"role": "assistant", "content": text, **({"tool_calls": made} if made else {})})
        said += [{"role": "tool", "tool_call_id": id, "content": "sunny"} for id, _ in calls]


ORDERS = (
    ("chat", "messages", "responses", "ollama"),
    ("ollama", "responses", "chat", "messages", "chat"),
)


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_a_prefix_is_reused_in_every_dialect(server: Served, order: Sequence[str]) -> None:
    before = 0
    called = 0
    with httpx.Client(timeout=60) as client:
        for number, (name, reused, total, calls) in enumerate(turns(server, client, order)):
            assert reused >= before, f"turn {number} in {name}: {reused} of {total}, {before} were there"
            before = total
            called += calls
    assert called >= 4
