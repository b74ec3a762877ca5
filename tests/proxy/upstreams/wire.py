"""A model server on a real port that answers chat requests byte for byte as it is told, faults included."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from proxy.http.server import bind
from proxy.upstreams.scripted import Stall
from tests.proxy.live import LoopThread

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection is reset here, in the middle of a chunked body."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP response. steps: pieces of its body, silences, and where the connection breaks."""

    steps: Sequence[bytes | Stall | Cut] = ()
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    before: Stall = field(default_factory=lambda: Stall(0))


@dataclass(slots=True)
class Heard:
    """One request that came. left: the client closed the connection before the answer had ended."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    left: bool = False


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **fields: Any) -> bytes:
    """One SSE event of a chat completion."""
    event = {
        "id": "chatcmpl-wire",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "wire",
        "choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}],
        **fields,
    }
    return b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n"


def usage(prompt: int = 11, completion: int = 5, cached: int = 0) -> bytes:
    counts = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
    return chunk(choices=[], usage=counts)


def told(*texts: str, finish: str = "stop") -> Reply:
    """Text in pieces, a finish, the usage."""
    pieces = [chunk({"content": text}) for text in texts]
    return Reply((chunk({"role": "assistant", "content": ""}), *pieces, chunk({}, finish), usage(), DONE))


def call_chunks(index: int, name: str, arguments: str, size: int = 7) -> list[bytes]:
    """A structured call: its head, then its arguments in pieces of `size` characters."""
    head = {"index": index, "id": f"call_{index}", "type": "function"}
    pieces = [arguments[i : i + size] for i in range(0, len(arguments), size)]
    events = [chunk({"tool_calls": [{**head, "function": {"name": name, "arguments": ""}}]})]
    for piece in pieces:
        events.append(chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}))
    return events


def called(*calls: tuple[str, str], text: str = "", finish: str = "tool_calls") -> Reply:
    """Structured calls (name, arguments), after some text."""
    said = [chunk({"content": text})] if text else []
    events = [event for i, (name, arguments) in enumerate(calls) for event in call_chunks(i, name, arguments)]
    return Reply((*said, *events, chunk({}, finish), usage(), DONE))


def refused(
    status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None
) -> Reply:
    error = {"error": {"message": message, "type": "error", "param": None, "code": code}}
    return Reply((json.dumps(error).encode(),), status, headers or {})


class WireUpstream:
    """Chooses the replies by the first user message, `default` for the rest; several are given out in turn,
    the last one again and again. models: what /v1/models lists; None makes that route fail.
    """

    def __init__(self, default: Reply, models: Sequence[dict[str, Any]] | None = ({"id": "wire"},)) -> None:
        self.default = default
        self.models = models
        self.replies: dict[str, list[Reply]] = {}
        self.heard: list[Heard] = []
        self.port = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def plan(self, key: str, *replies: Reply) -> str:
        self.replies[key] = list(replies)
        return key

    def asked(self, key: str) -> list[Heard]:
        return [one for one in self.heard if _first_user(one.body) == key]

    def choose(self, body: dict[str, Any]) -> Reply:
        planned = self.replies.get(_first_user(body), [self.default])
        return planned.pop(0) if len(planned) > 1 else planned[0]

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._exchange(reader, writer):
                pass
        writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        path = head[0].split()[1]
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:]) if name
        }
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        if path.endswith("/models"):
            await self._write(writer, _models(self.models))
            return True
        heard = Heard(path, headers, json.loads(raw))
        self.heard.append(heard)
        gone = asyncio.create_task(reader.read(1))
        playing = asyncio.create_task(self._write(writer, self.choose(heard.body)))
        try:
            await asyncio.wait({gone, playing}, return_when=asyncio.FIRST_COMPLETED)
            # who goes while much is being written to him resets the connection, which ends the writing
            heard.left = not playing.done() or playing.exception() is not None or not playing.result()
        finally:
            gone.cancel()
            playing.cancel()
            await asyncio.gather(gone, playing, return_exceptions=True)
        return not heard.left

    async def _write(self, writer: asyncio.StreamWriter, reply: Reply) -> bool:
        """False where the connection was reset."""
        await asyncio.sleep(reply.before.seconds)
        kind = "text/event-stream" if reply.status == 200 else "application/json"
        headers = {"content-type": kind, "transfer-encoding": "chunked", **reply.headers}
        lines = [f"HTTP/1.1 {reply.status} X", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        for step in reply.steps:
            match step:
                case Stall(seconds):
                    await asyncio.sleep(seconds)
                case Cut():
                    await asyncio.sleep(0.01)
                    writer.transport.abort()
                    return False
                case bytes():
                    writer.write(b"%x\r\n%s\r\n" % (len(step), step))
                    await writer.drain()
                    await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


def _models(models: Sequence[dict[str, Any]] | None) -> Reply:
    if models is None:
        return refused(500, "no list today")
    body = json.dumps({"object": "list", "data": list(models)}).encode()
    return Reply((body,), headers={"content-type": "application/json"})


def _first_user(body: dict[str, Any]) -> str:
    if "prompt" in body:
        return str(body["prompt"])
    users = [message["content"] for message in body["messages"] if message["role"] == "user"]
    return users[0] if users else ""


@contextlib.contextmanager
def wire_serving(upstream: WireUpstream, thread: LoopThread | None = None) -> Iterator[WireUpstream]:
    """Serves until the block ends. thread: the loop to serve on, else one of its own."""
    own = thread or LoopThread()
    tasks: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await upstream.answer(reader, writer)
        except asyncio.CancelledError:
            writer.close()
        finally:
            tasks.discard(task)

    async def stop() -> None:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()

    listener = bind("127.0.0.1", 0)
    upstream.port = listener.getsockname()[1]
    server = own.run(asyncio.start_server(answer, sock=listener))
    try:
        yield upstream
    finally:
        own.run(stop())
        if thread is None:
            own.close()
