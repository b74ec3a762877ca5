"""A load generator for OpenAI-shaped servers: plain sockets, little of what is measured is its own."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

READ_LIMIT = 1 << 22


@dataclass(slots=True)
class Answer:
    """One streamed answer. status 0: the connection broke; error: what the server said instead of an answer.

    times: of each piece of text and each call, by the clock of time.perf_counter(); sizes: characters of each
    piece, 0 of a call's. calls: as a client sends
    them back; of servers that send each whole.
    """

    began: float
    status: int = 0
    text: str = ""
    error: str = ""
    times: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    tokens: int = 0
    finish: str = ""
    logprobs: list[tuple[str, float]] = field(default_factory=list)
    ended: float = 0.0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    calls: list[dict[str, Any]] = field(default_factory=list)

    @property
    def ttft(self) -> float:
        return self.times[0] - self.began if self.times else float("inf")

    @property
    def gaps(self) -> list[float]:
        return [after - before for before, after in zip(self.times, self.times[1:], strict=False)]


def body(prompt: str, max_tokens: int, model: str, **fields: Any) -> dict[str, Any]:
    """A streamed chat request for greedy text."""
    return {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": max_tokens,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
        **fields,
    }


async def ask(
    port: int, request: dict[str, Any], *, leave_after: int | None = None, timeout_s: float = 600.0
) -> Answer:
    """Send and read to the end, or hang up after so many pieces of text. A broken connection is an answer."""
    answer = Answer(time.perf_counter())
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=READ_LIMIT)
            try:
                writer.write(http_request(port, request))
                await writer.drain()
                await read_answer(reader, answer, leave_after)
            finally:
                writer.close()
    except (OSError, asyncio.IncompleteReadError, ValueError, TimeoutError) as error:
        answer.error = answer.error or f"{type(error).__name__}: {error}"
    answer.ended = time.perf_counter()
    return answer


def http_request(port: int, request: dict[str, Any]) -> bytes:
    content = json.dumps(request).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + content


async def read_answer(reader: asyncio.StreamReader, answer: Answer, leave_after: int | None) -> None:
    """Status line, headers, then events or a JSON body, whatever the chunking around their lines is."""
    answer.status = int((await reader.readline()).split()[1])
    while (await reader.readline()).strip():
        pass
    plain = bytearray()
    while line := await reader.readline():
        if not line.startswith(b"data: "):
            plain += line
            continue
        if line.startswith(b"data: [DONE]"):
            return
        take_event(json.loads(line[6:]), answer)
        if leave_after is not None and len(answer.times) >= leave_after:
            return
    if answer.status != 200:
        answer.error = plain.decode(errors="replace")
    else:
        take_body(plain, answer)


def take_event(event: dict[str, Any], answer: Answer) -> None:
    if event.get("error"):
        answer.error = json.dumps(event["error"])
    if event.get("usage"):
        usage = event["usage"]
        answer.tokens = usage["completion_tokens"]
        answer.prompt_tokens = usage.get("prompt_tokens") or 0
        answer.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    for choice in event.get("choices") or ():
        delta = choice.get("delta") or {}
        if delta.get("content"):
            answer.times.append(time.perf_counter())
            answer.sizes.append(len(delta["content"]))
            answer.text += delta["content"]
        for call in delta.get("tool_calls") or ():
            answer.times.append(time.perf_counter())
            answer.sizes.append(0)
            take_call(call, answer)
        answer.finish = choice.get("finish_reason") or answer.finish
        for place in (choice.get("logprobs") or {}).get("content") or ():
            answer.logprobs.append((place["token"], place["logprob"]))


def take_call(piece: dict[str, Any], answer: Answer) -> None:
    """A piece of a streamed call: the first names it, all of them add to its arguments."""
    function = piece.get("function") or {}
    if piece["index"] == len(answer.calls):
        named = {"name": function["name"], "arguments": ""}
        answer.calls.append({"id": piece["id"], "type": "function", "function": named})
    answer.calls[piece["index"]]["function"]["arguments"] += function.get("arguments") or ""


def take_body(plain: bytearray, answer: Answer) -> None:
    """An answer that is not streamed: a JSON object between chunk sizes, or nothing at all."""
    start, end = plain.find(b"{"), plain.rfind(b"}")
    if start < 0:
        answer.error = answer.error or "the answer ended early"
        return
    whole = json.loads(plain[start : end + 1])
    answer.tokens = whole["usage"]["completion_tokens"]
    answer.text = whole["choices"][0]["message"].get("content") or ""
    answer.finish = whole["choices"][0]["finish_reason"]


async def together(port: int, requests: list[dict[str, Any]]) -> list[Answer]:
    return list(await asyncio.gather(*(ask(port, request) for request in requests)))
