"""`python -m tests.bench.proxy_upstream PORT`: a model server that plays what each request asks for.

The request's first user message is a Play as JSON. Nothing is remembered between requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Any

from proxy.http.server import bind

MODEL = "wire"
DONE = b"data: [DONE]\n\n"
# When the upstream wrote this piece of text: nanoseconds of the clock that all processes of a machine share.
STAMP = re.compile(rb"@(\d+)@")
FAULTS = ("", "cut", "end", "stall", "error", "garbage", "status", "empty")
_STALL_S = 3600.0
_STATUS = (429, b'{"error": {"message": "slow down", "type": "rate_limit_error", "code": null}}')


@dataclass(frozen=True, slots=True)
class Play:
    """One answer. mark: stands in every piece of text and in every argument. pieces: of text, gap_s apart;
    stamped ones say when they were written. calls: how many calls follow, wrong: they hold a value of the
    wrong type until the upstream is asked again (`once`) or always (`always`). fault: what happens before
    the piece `at`: see FAULTS.
    """

    mark: str = "m"
    pieces: int = 0
    gap_s: float = 0.0
    stamped: bool = False
    calls: int = 0
    wrong: str = ""
    fault: str = ""
    at: int = 0

    def text(self, piece: int) -> str:
        return f"{self.mark}.{piece} "

    def arguments(self, call: int, right: bool) -> str:
        return json.dumps({"city": f"{self.mark}.call{call}", "days": 3 if right else "soon"})

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def chunk(delta: dict[str, Any], finish: str | None = None, **fields: Any) -> bytes:
    """One SSE event of a chat completion."""
    event = {
        "id": "chatcmpl-wire",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": MODEL,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        **fields,
    }
    return b"data: " + json.dumps(event).encode() + b"\n\n"


USAGE = {"prompt_tokens": 30, "completion_tokens": 20, "total_tokens": 50}
LAST = chunk({}, choices=[], usage=USAGE) + DONE


def call_chunks(play: Play, right: bool) -> list[bytes]:
    """The calls as servers stream them: the name, then the arguments a token at a time."""
    made: list[bytes] = []
    for index in range(play.calls):
        head = {"index": index, "id": f"call_{index}", "type": "function"}
        made.append(chunk({"tool_calls": [{**head, "function": {"name": "get_weather", "arguments": ""}}]}))
        for piece in re.findall(r".{1,4}", play.arguments(index, right)):
            made.append(chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}))
    return made


def whole(play: Play, right: bool) -> bytes:
    """The answer as one JSON object."""
    calls = [
        {
            "id": f"call_{i}",
            "type": "function",
            "function": {"name": "get_weather", "arguments": play.arguments(i, right)},
        }
        for i in range(play.calls)
    ]
    text = "".join(play.text(i) for i in range(play.pieces))
    message = {"role": "assistant", "content": text or None, **({"tool_calls": calls} if calls else {})}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
    answer = {"id": "chatcmpl-wire", "object": "chat.completion", "created": 1, "model": MODEL}
    return json.dumps({**answer, "choices": [choice], "usage": USAGE}).encode()


async def steps(play: Play, right: bool) -> AsyncIterator[bytes | None]:
    """What goes out, piece by piece; None resets the connection."""
    yield chunk({"role": "assistant", "content": ""})
    for piece in range(play.pieces):
        if play.fault and piece == play.at:
            async for bad in _faulty(play.fault):
                yield bad
            return
        await asyncio.sleep(play.gap_s)
        text = play.text(piece)
        yield chunk({"content": f"{text}@{time.monotonic_ns()}@ " if play.stamped else text})
    for part in call_chunks(play, right):
        yield part
    yield chunk({}, "tool_calls" if play.calls else "stop")
    yield LAST


async def _faulty(fault: str) -> AsyncIterator[bytes | None]:
    match fault:
        case "cut":
            yield None
        case "stall":
            await asyncio.sleep(_STALL_S)
        case "error":
            yield b'data: {"error": {"message": "boom", "code": 500}}\n\n' + DONE
        case "garbage":
            yield b"data: {nope\n\n" + DONE


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while await _exchange(reader, writer):
            pass
    writer.close()


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """One request; False where the connection is to be closed."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    raw = await reader.readexactly(int(length[1]) if length else 0)
    if b"/models" in head.split(b"\r\n", 1)[0]:
        return _plain(writer, 200, json.dumps({"object": "list", "data": [{"id": MODEL}]}).encode())
    body = json.loads(raw)
    said = next(one["content"] for one in body["messages"] if one["role"] == "user")
    play = Play(**json.loads(said))
    again = len(body["messages"]) > 1
    right = not play.wrong or (again and play.wrong == "once")
    if play.fault == "status":
        return _plain(writer, *_STATUS)
    if not body.get("stream"):
        return _plain(writer, 200, whole(play, right))
    return await _stream(reader, writer, play, right)


def _plain(writer: asyncio.StreamWriter, status: int, content: bytes) -> bool:
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    writer.write(head.encode() + content)
    return True


async def _stream(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, play: Play, right: bool
) -> bool:
    """Ends early when the client goes away."""
    gone = asyncio.create_task(reader.read(1))
    playing = asyncio.create_task(_play(writer, play, right))
    try:
        await asyncio.wait({gone, playing}, return_when=asyncio.FIRST_COMPLETED)
        return playing.done() and playing.result()
    finally:
        gone.cancel()
        playing.cancel()
        await asyncio.gather(gone, playing, return_exceptions=True)


async def _play(writer: asyncio.StreamWriter, play: Play, right: bool) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    if play.fault != "empty":
        async for step in steps(play, right):
            if step is None:
                writer.transport.abort()
                return False
            writer.write(b"%x\r\n%s\r\n" % (len(step), step))
            await writer.drain()
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    return True


async def serve(port: int) -> None:
    server = await asyncio.start_server(answer, sock=bind("127.0.0.1", port))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
