"""A client that sends requests as bytes, and what a hostile one sends in the dialects served here."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
OLLAMA, COMPLETIONS, GENERATE = "/api/chat", "/v1/completions", "/api/generate"
ROUTES = (CHAT, MESSAGES, RESPONSES, OLLAMA, COMPLETIONS, GENERATE)
_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Hostile:
    """parts: bytes, sent one after the other. whole: it is a request of HTTP, to which an answer is due; else
    the connection may end without one. half_close: the client closes its side after that.
    """

    name: str
    parts: tuple[bytes, ...]
    whole: bool = True
    half_close: bool = False


def send(port: int, case: Hostile) -> int | None:
    """The status of the answer, read to its end; None where the connection ended without one. Raises
    TimeoutError where neither happens.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S) as connection:
        try:
            for part in case.parts:
                connection.sendall(part)
            if case.half_close:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # answered and closed before all of it was sent
        method = "HEAD" if case.parts[0].startswith(b"HEAD ") else None
        response = http.client.HTTPResponse(connection, method=method)
        try:
            response.begin()
            response.read()
        except (http.client.HTTPException, ConnectionError):
            return None
        return response.status


def post(path: str, body: Any, headers: Mapping[str, str] | None = None) -> bytes:
    """A request as bytes. body: bytes as they are, else written as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "host: x", "connection: close", f"content-length: {len(data)}"]
    lines += [
        f"{name}: {value}" for name, value in {"content-type": "application/json", **(headers or {})}.items()
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + data


def get(path: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: x", "connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def turn(text: str = "hi") -> dict[str, Any]:
    return {"role": "user", "content": text}


def asking(path: str, **fields: Any) -> dict[str, Any]:
    """A short body of the dialect, with these fields in it."""
    plain: dict[str, Any] = {"model": "default", "stream": False, "max_tokens": 1, "max_output_tokens": 16}
    plain["messages"] = [turn()]
    if path in (OLLAMA, GENERATE):
        plain["options"] = {"num_predict": 1}
    if path == RESPONSES:
        del plain["messages"]
        plain["input"] = "hi"
    if path in (COMPLETIONS, GENERATE):
        del plain["messages"]
        plain["prompt"] = "hi"
    return plain | fields


def calling(path: str, name: str, arguments: str) -> dict[str, Any]:
    """A history that ends in a call and its result, with the tool declared. arguments: JSON, or what stands
    in its place.
    """
    tools = [tool(path, name, {"type": "object"})]
    call = {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}
    match path:
        case "/v1/responses":
            made = {"type": "function_call", "call_id": "c1", "name": name, "arguments": arguments}
            result = {"type": "function_call_output", "call_id": "c1", "output": "x"}
            return asking(path, input=[made, result], tools=tools)
        case "/v1/messages":
            block = {"type": "tool_use", "id": "c1", "name": name, "input": arguments}
            results = [{"type": "tool_result", "tool_use_id": "c1", "content": "x"}]
            turns = [turn(), {"role": "assistant", "content": [block]}, {"role": "user", "content": results}]
            return asking(path, messages=turns, tools=tools)
        case _:
            answer = {"role": "assistant", "content": "", "tool_calls": [call]}
            told = {"role": "tool", "tool_call_id": "c1", "content": "x"}
            return asking(path, messages=[turn(), answer, told], tools=tools)


def tool(path: str, name: str, parameters: Any) -> dict[str, Any]:
    match path:
        case "/v1/messages":
            return {"name": name, "description": "", "input_schema": parameters}
        case "/v1/responses":
            return {"type": "function", "name": name, "parameters": parameters}
        case _:
            return {"type": "function", "function": {"name": name, "parameters": parameters}}


def nested(depth: int, kind: str) -> str:
    opening, closing = {"arrays": ("[", "]"), "objects": ('{"a":', "}")}[kind]
    return opening * depth + "1" + closing * depth


def raw_body(value: Mapping[str, Any], inserted: str) -> bytes:
    """The body with a text of JSON in place of the value "HERE", which a writer of JSON could not nest so
    deep.
    """
    return json.dumps(value).replace('"HERE"', inserted).encode()
