"""A model server that plays a small task with each client, and gets the call wrong a few times first."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from typing import Any

from repair.jsonl import read_tools
from repair.ladder import repair_call
from repair.types import Accepted, Body, RawCall
from tests.clients.faults import Fault, Task
from tests.proxy.upstreams.wire import Reply, WireUpstream, called, chunk, told

MODEL = "scripted"
# A client that has asked so often has lost the thread; it is told so in words, which end every loop.
MOST_REQUESTS = 40
_MARK = re.compile(r"task (t[0-9a-f]{8})\b")


@dataclass(slots=True)
class Play:
    """One client's run. fault: None for a model that calls rightly at once. times: how often it calls wrongly
    before. token: what the tool tells when it is called rightly. The rest is what happened; mendable: a call
    that was to be wrong is none by the client's own schema, which must not be.
    """

    task: Task
    fault: Fault | None
    times: int
    token: str
    asked: int = 0
    wrong: int = 0
    right: int = 0
    mendable: bool = False

    @property
    def answer(self) -> str:
        """What only an agent can say that was told the token and asked once more."""
        return f"ANSWER-{self.token[::-1]}"


class FaultyUpstream(WireUpstream):
    """Finds the run by the mark in the user's prompt, so that any number of clients may run at once."""

    def __init__(self) -> None:
        super().__init__(told("A title"), [{"id": MODEL, "max_model_len": 200_000}])
        self.plays: dict[str, Play] = {}

    def choose(self, body: dict[str, Any]) -> Reply:
        mark = _MARK.search(json.dumps(body.get("messages", ())))
        play = self.plays.get(mark.group(1)) if mark else None
        reply = self.default if play is None else _next(play, body)
        return reply if body.get("stream") else whole(reply)


def _next(play: Play, body: dict[str, Any]) -> Reply:
    """A title and the like is asked for without tools; else a wrong call, the right one, or the answer."""
    names = [tool.get("function", tool).get("name", "") for tool in body.get("tools") or ()]
    if play.task.tool not in names:
        return told("A title")
    play.asked += 1
    if play.token in json.dumps(body["messages"]):
        return _answer(play, f"The code is {play.answer}.")
    if play.asked > MOST_REQUESTS or play.right >= 3:
        return _answer(play, "I could not find the code.")
    if play.fault is not None and play.wrong < play.times:
        play.wrong += 1
        name, arguments = play.task.wrong(play.fault)
        call = RawCall(name, Body.arguments, arguments, closed=True)
        play.mendable |= isinstance(repair_call(call, read_tools(body["tools"])), Accepted)
        if play.fault is Fault.fence:
            written = f'{{"name": "{name}", "arguments": {arguments}}}'
            return told("I will look it up.\n\n```json\n", written, "\n```")
        return _called(play, name, arguments)
    play.right += 1
    return _called(play, play.task.tool, json.dumps(play.task.good))


def _answer(play: Play, words: str) -> Reply:
    if play.task.last is None:
        return told(words)
    name, arguments = play.task.last
    return _called(play, name, json.dumps(arguments).replace("{answer}", words))


def _called(play: Play, name: str, arguments: str) -> Reply:
    """Ids differ from call to call: some clients key what they remember by them."""
    reply = called((name, arguments))
    identity = f"call_{secrets.token_hex(8)}".encode()
    steps = [step.replace(b"call_0", identity) for step in reply.steps if isinstance(step, bytes)]
    return Reply((chunk({"role": "assistant", "content": None}), *steps))


def whole(reply: Reply) -> Reply:
    """The same answer for a client that wants no stream."""
    text, finish = "", "stop"
    usage: dict[str, Any] = {}
    calls: list[dict[str, Any]] = []
    for step in reply.steps:
        assert isinstance(step, bytes)
        if step.startswith(b"data: {"):
            event = json.loads(step[6:])
            usage = event.get("usage") or usage
            for choice in event["choices"]:
                text += choice["delta"].get("content") or ""
                finish = choice["finish_reason"] or finish
                for piece in choice["delta"].get("tool_calls") or ():
                    _take(piece, calls)
    message = {"role": "assistant", "content": text or None, **({"tool_calls": calls} if calls else {})}
    answer = {
        "id": "chatcmpl-wire",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": usage,
    }
    return Reply((json.dumps(answer).encode(),), headers={"content-type": "application/json"})


def _take(piece: dict[str, Any], calls: list[dict[str, Any]]) -> None:
    if "id" in piece:
        calls.append({"id": piece["id"], "type": "function", "function": dict(piece["function"])})
    else:
        calls[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]
