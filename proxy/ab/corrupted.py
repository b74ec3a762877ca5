"""The workload of corrupted outputs: a model that writes each broken call of the corpus, behind every arm.

The model is a small OpenAI-compatible server. It knows the case by a mark in the user's message, answers with
the corrupted output as plain text, as a server without a parser would, and with a right call when it is asked
again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import corpora
from corpora.world.base import Call
from proxy.ab.client import StreamedAnswer
from proxy.ab.judge import JudgedTurn
from proxy.ab.workload import DueRequest, WorkItem, Workload

MODEL_NAME = "corrupted-outputs"
FOLDER = Path(corpora.__file__).parent / "cases"
PER_CONVERSATION = 20
_NAMED = re.compile(r"call of (\w+)")
_MARK = re.compile(r"case (\S+)")
_CHANNELS = ("content", "arguments")
_CHUNK = 6  # characters of a piece of the stream


@dataclass(frozen=True, slots=True)
class CorruptedCase:
    """One output of the corpus. calls: those that were meant; None where the output does not tell."""

    id: str
    text: str
    tools: tuple[Mapping[str, Any], ...]
    calls: tuple[Call, ...] | None
    finish: str
    channel: str
    tool_name: str


def load_corrupted() -> list[CorruptedCase]:
    """The cases of the corpus in which a model meant to call a tool, in a fixed order."""
    tools = json.loads((FOLDER / "tools.json").read_text("utf-8"))
    found = []
    for path in sorted(FOLDER.glob("*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            case = json.loads(line)
            if case["expect"] in ("calls", "reask") and case.get("channel", "content") in _CHANNELS:
                found.append(_case(f"{path.stem}:{case['id']}", case, tools[case["tools"]]))
    return found


def _case(id: str, case: Mapping[str, Any], tools: Sequence[Mapping[str, Any]]) -> CorruptedCase:
    wanted = [tool if "function" in tool else {"type": "function", "function": tool} for tool in tools]
    calls = None
    if case["expect"] == "calls" and case.get("calls"):
        calls = tuple(Call(one["name"], one["arguments"]) for one in case["calls"])
    return CorruptedCase(
        id,
        case["text"],
        tuple(wanted),
        calls,
        case.get("finish_reason") or "stop",
        case.get("channel", "content"),
        case.get("tool_name", ""),
    )


def corrupted_workload(seeds: int) -> Workload:
    """So many conversations of twenty cases each, drawn from the corpus; all of it where there are enough."""
    cases = load_corrupted()
    random.Random(0).shuffle(cases)
    chunks = [cases[at : at + PER_CONVERSATION] for at in range(0, len(cases), PER_CONVERSATION)][:seeds]
    items = tuple(
        WorkItem(f"cases {at}", at, len(chunk), partial(CaseDialogue, tuple(chunk)))
        for at, chunk in enumerate(chunks, 1)
    )
    total = sum(len(chunk) for chunk in chunks)
    return Workload(f"{total} corrupted outputs of the corpus, through a scripted model", items)


class CaseDialogue:
    """Asks for one case after the other, each in a request of its own."""

    independent = True

    def __init__(self, cases: Sequence[CorruptedCase]) -> None:
        self._cases = cases
        self._asked = 0

    def next(self) -> DueRequest | None:
        if self._asked == len(self._cases):
            return None
        case = self._cases[self._asked]
        self._asked += 1
        return DueRequest(
            [{"role": "user", "content": f"case {case.id}"}], case.tools, case.calls, self._asked
        )

    def take(self, answer: StreamedAnswer, judged: JudgedTurn) -> None:
        """Nothing: the next case has nothing to do with this one."""

    def tasks(self) -> None:
        return None


class ScriptedModel:
    """The server of the corrupted outputs: HTTP/1.1 over plain sockets, as model servers speak it."""

    def __init__(self, cases: Sequence[CorruptedCase]) -> None:
        self._cases = {case.id: case for case in cases}
        self._connections: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, with any number of requests."""
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ValueError):
            while line := await reader.readline():
                length = 0
                while (header := (await reader.readline()).strip()) != b"":
                    name, _, value = header.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                body = await reader.readexactly(length)
                writer.write(self._reply(line.decode("latin-1"), body))
                await writer.drain()
        writer.close()
        del self._connections[task]

    async def close(self) -> None:
        """Ends the connections that clients keep open."""
        serving = list(self._connections)
        for writer in self._connections.values():
            writer.close()
        await asyncio.gather(*serving)

    def _reply(self, line: str, body: bytes) -> bytes:
        if line.startswith("GET") and "/models" in line:
            entry = {"id": MODEL_NAME, "object": "model", "created": 0, "owned_by": "fortieth"}
            return _http(200, json.dumps({"object": "list", "data": [entry]}).encode())
        if not line.startswith("POST") or "/chat/completions" not in line:
            return _http(404, b'{"error": {"message": "no such route"}}')
        request = json.loads(body)
        events = [*self._chunks(request), "[DONE]"] if request.get("stream") else None
        if events is None:
            return _http(200, json.dumps(self._whole(request)).encode())
        return _http(200, "".join(f"data: {event}\n\n" for event in events).encode(), "text/event-stream")

    def _answer(self, request: Mapping[str, Any]) -> tuple[str, list[dict[str, Any]], str]:
        """Text, calls and finish reason."""
        messages = request["messages"]
        users = [one for one in messages if one.get("role") == "user"]
        mark = _MARK.search(_text(users[0].get("content"))) if users else None
        case = self._cases.get(mark.group(1)) if mark else None
        if case is None:
            return "There is no such case.", [], "stop"
        asked_again = any(one.get("role") not in ("system", "user") for one in messages) or len(users) > 1
        if asked_again:
            calls = case.calls or _asked_for(case, messages)
            return (
                "",
                [_wire(at, call.name, json.dumps(call.arguments)) for at, call in enumerate(calls)],
                "tool_calls",
            )
        if case.channel == "arguments":
            return "", [_wire(0, case.tool_name, case.text)], "tool_calls"
        return case.text, [], case.finish

    def _chunks(self, request: Mapping[str, Any]) -> Iterator[str]:
        text, calls, finish = self._answer(request)
        for start in range(0, len(text), _CHUNK):
            yield _chunk({"content": text[start : start + _CHUNK]})
        if calls:
            yield _chunk({"tool_calls": calls})
        yield _chunk({}, finish)
        counts = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        yield json.dumps({**_ENVELOPE, "object": "chat.completion.chunk", "choices": [], "usage": counts})

    def _whole(self, request: Mapping[str, Any]) -> dict[str, Any]:
        text, calls, finish = self._answer(request)
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if calls:
            message["tool_calls"] = [
                {name: held for name, held in call.items() if name != "index"} for call in calls
            ]
        choice = {"index": 0, "message": message, "finish_reason": finish}
        counts = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return {**_ENVELOPE, "object": "chat.completion", "choices": [choice], "usage": counts}


def _text(content: Any) -> str:
    """The text of a message: a string, or a list of parts."""
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content)


_ENVELOPE = {"id": "chatcmpl-scripted", "created": 0, "model": MODEL_NAME}


def _chunk(delta: Mapping[str, Any], finish: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return json.dumps({**_ENVELOPE, "object": "chat.completion.chunk", "choices": [choice]})


def _wire(index: int, name: str, arguments: str) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"index": index, "id": f"call_{index}", "type": "function", "function": function}


def _http(status: int, body: bytes, kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status} {'OK' if status == 200 else 'Not Found'}\r\n"
    return f"{head}content-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def _asked_for(case: CorruptedCase, messages: Sequence[Mapping[str, Any]]) -> tuple[Call, ...]:
    """Right calls of the tools that a correction names, behind the last answer; else of the first tool."""
    last = max((at for at, one in enumerate(messages) if one.get("role") == "assistant"), default=0)
    told = " ".join(_text(one.get("content")) for one in messages[last + 1 :])
    known = {tool["function"]["name"]: tool for tool in case.tools}
    named = [known[name] for name in _NAMED.findall(told) if name in known]
    return tuple(right_call(tool) for tool in named or case.tools[:1])


def right_call(tool: Mapping[str, Any]) -> Call:
    """A call of the tool that its schema allows. It knows what the corpus's schemas ask for, and no more."""
    function = tool["function"]
    return Call(function["name"], _value(function.get("parameters") or {"type": "object"}))


def _value(schema: Mapping[str, Any]) -> Any:
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type", "string")
    match kind if isinstance(kind, str) else kind[0]:
        case "object":
            properties = schema.get("properties", {})
            return {name: _value(properties.get(name, {})) for name in schema.get("required", ())}
        case "array":
            return [_value(schema.get("items", {}))]
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "null":
            return None
    return "answered"


@asynccontextmanager
async def scripted_model() -> AsyncIterator[str]:
    """The base_url of the server of the corrupted outputs, on a free port, until the block ends."""
    model = ScriptedModel(load_corrupted())
    server = await asyncio.start_server(model.serve, "127.0.0.1", 0, limit=2**24)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        await model.close()
