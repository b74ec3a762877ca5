"""Requests and streams of the Messages dialect, as several tests send and read them."""

from __future__ import annotations

import json
from typing import Any

import httpx

from tests.proxy.live import LiveServer
from tests.proxy.requests import WEATHER, user

VERSION = {"anthropic-version": "2023-06-01"}
TOOL: dict[str, Any] = {
    "name": "get_weather",
    "description": "Current weather",
    "input_schema": WEATHER["function"]["parameters"],
}


def message(text: str = "hi", /, **fields: Any) -> dict[str, Any]:
    return {"model": "scripted", "max_tokens": 100, "messages": [user(text)], **fields}


def send(
    server: LiveServer,
    asked: dict[str, Any] | bytes,
    path: str = "/messages",
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    """Bytes are sent as they are."""
    content = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
    return httpx.post(server.base_url + path, content=content, headers=VERSION | (headers or {}), timeout=60)


def events(text: str) -> list[tuple[str, dict[str, Any]]]:
    """The names of a stream's events and their data; comments are left out."""
    told = []
    for block in text.strip().split("\n\n"):
        if block.startswith(":"):
            continue
        name, data = block.split("\n")
        told.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return told


def blocks_of(told: list[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """The content of the message that a stream adds up to, read as its documentation says."""
    blocks: list[dict[str, Any]] = []
    inputs: dict[int, str] = {}
    for name, data in told:
        match name:
            case "content_block_start":
                assert data["index"] == len(blocks)
                blocks.append(dict(data["content_block"]))
            case "content_block_delta":
                assert data["index"] == len(blocks) - 1
                _add(blocks[-1], data["delta"], inputs, data["index"])
            case "content_block_stop" if data["index"] in inputs:
                blocks[-1]["input"] = json.loads(inputs[data["index"]])
    return blocks


def _add(block: dict[str, Any], delta: dict[str, Any], inputs: dict[int, str], index: int) -> None:
    match delta["type"]:
        case "text_delta":
            block["text"] += delta["text"]
        case "thinking_delta":
            block["thinking"] += delta["thinking"]
        case "signature_delta":
            block["signature"] = delta["signature"]
        case "input_json_delta":
            inputs[index] = inputs.get(index, "") + delta["partial_json"]
