"""Requests of Ollama's API, and what came of them."""

from __future__ import annotations

import json
import ssl
from typing import Any

import httpx

from tests.proxy.attempts import Seen, agree, of_headers, parted
from tests.proxy.live import LiveServer
from tests.proxy.requests import user

# The certificates of a new client, which plain HTTP has no use for, take longer than the request.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def chat(text: str = "hi", /, **fields: Any) -> dict[str, Any]:
    return {"model": "scripted", "messages": [user(text)], **fields}


def prompt(text: str = "hi", /, **fields: Any) -> dict[str, Any]:
    return {"model": "scripted", "prompt": text, **fields}


def send(
    server: LiveServer, asked: Any, path: str = "/api/chat", headers: dict[str, str] | None = None
) -> httpx.Response:
    """Bytes are sent as they are."""
    content = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
    return httpx.post(server.root + path, content=content, headers=headers, timeout=60, verify=NO_TLS)


def lines(response: httpx.Response) -> list[dict[str, Any]]:
    """The objects of a stream. httpx, and the SDK with it, takes more for a line's end than a line feed."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.iter_lines()]


def read(response: httpx.Response, stream: bool) -> Seen:
    """What a response of /api/chat holds. reason: in Ollama's words."""
    told = lines(response) if stream else [response.json()]
    assert [one["done"] for one in told] == [*[False] * (len(told) - 1), True]
    verdict: Any = told[-1]["fortieth"]
    if not stream:
        agree(verdict, of_headers(response))
    messages = [one["message"] for one in told]
    calls = [call["function"] for message in messages for call in message.get("tool_calls", ())]
    assert [call["index"] for call in calls] == list(range(len(calls)))
    content, behind = parted("".join(message["content"] for message in messages))
    return Seen(
        response.status_code,
        content,
        "".join(message.get("thinking", "") for message in messages),
        tuple((call["name"], json.dumps(call["arguments"])) for call in calls),
        told[-1]["done_reason"],
        verdict["verdict"],
        verdict["attempts"],
        verdict["fixes"],
        {"prompt_tokens": told[-1]["prompt_eval_count"], "completion_tokens": told[-1]["eval_count"]},
        give_up=verdict.get("give_up", ""),
        told=behind,
    )
