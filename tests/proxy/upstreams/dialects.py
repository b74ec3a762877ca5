"""One request in each dialect, and one form for what its answer holds."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from tests.proxy.live import LiveServer

PATHS = {
    "chat": "/v1/chat/completions",
    "messages": "/v1/messages",
    "responses": "/v1/responses",
    "completions": "/v1/completions",
    "ollama": "/api/chat",
}
# The list that holds the conversation, and what every request needs beside.
LISTS = {"chat": "messages", "messages": "messages", "responses": "input", "ollama": "messages"}
NEEDED: dict[str, dict[str, Any]] = {
    "chat": {},
    "messages": {"max_tokens": 50},
    "responses": {},
    "completions": {},
    "ollama": {"stream": False},
}


def body(dialect: str, key: str, fields: Mapping[str, Any], messages: Sequence[Any] = ()) -> dict[str, Any]:
    """A request whose first user message is `key`."""
    if dialect == "completions":
        return {"prompt": key, **fields}
    told = [{"role": "user", "content": key}, *messages]
    return {**NEEDED[dialect], LISTS[dialect]: told, **fields}


def ask(client: httpx.Client, server: LiveServer, dialect: str, request: Mapping[str, Any]) -> httpx.Response:
    return client.post(server.root + PATHS[dialect], json=request)


def make_client() -> httpx.Client:
    # the certificates of a new client, which plain HTTP has no use for, take longer than a request
    return httpx.Client(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), timeout=60)


@dataclass(frozen=True, slots=True)
class Turn:
    """What a client of Chat Completions gets. calls: name and arguments. error: the status, or the code of an
    error event.
    """

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: tuple[tuple[str, Any], ...] = ()
    reason: str = "stop"
    error: bool = False


FAILED = Turn(reason="", error=True)


def read_whole(response: httpx.Response) -> Turn:
    if response.status_code != 200:
        assert response.json()["error"]["message"], response.text
        return FAILED
    (choice,) = response.json()["choices"]
    said = choice["message"]
    calls = [(one["function"]["name"], one["function"]["arguments"]) for one in said.get("tool_calls") or ()]
    return Turn(
        said["content"] or "",
        said.get("reasoning_content") or "",
        said["refusal"] or "",
        tuple((name, json.loads(arguments)) for name, arguments in calls),
        choice["finish_reason"],
    )


def events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.text.split("\n"):
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line.removeprefix("data: "))


def read_stream(response: httpx.Response) -> Turn:
    """The sum of the events; an error counts alone, wherever it came."""
    if response.status_code != 200:
        return read_whole(response)
    texts = {"content": "", "reasoning_content": "", "refusal": ""}
    calls: dict[int, list[str]] = {}
    reason = ""
    for event in events(response):
        if "error" in event:
            return FAILED
        for choice in event["choices"]:
            reason = choice["finish_reason"] or reason
            for name in texts:
                texts[name] += choice["delta"].get(name) or ""
            for call in choice["delta"].get("tool_calls") or ():
                held = calls.setdefault(call["index"], ["", ""])
                held[0] += call["function"].get("name") or ""
                held[1] += call["function"].get("arguments") or ""
    told = tuple((name, json.loads(arguments)) for name, arguments in calls.values())
    return Turn(texts["content"], texts["reasoning_content"], texts["refusal"], told, reason)
