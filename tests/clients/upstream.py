"""A model server that plays a small task with each client, and gets the call wrong a few times first."""

from __future__ import annotations

import json
import re
import secrets
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from repair.jsonl import read_tools
from repair.ladder import repair_call
from repair.types import Accepted, Body, RawCall
from tests.clients.drivers.common import CONTEXT_WINDOW
from tests.clients.faults import Fault, Task
from tests.proxy.upstreams.wire import Reply, WireUpstream, called, chunk, told

MODEL = "scripted"
# A client that has asked so often has lost the thread; it is told so in words, which end every loop.
MOST_REQUESTS = 40
_MARK = re.compile(r"task (t[0-9a-f]{8})\b")


@dataclass(slots=True)
class Play:
    """One client's run. fault: None for a model that calls rightly at once. times: how often it calls wrongly
    before. token: what the tool tells when it is called rightly. turns: how many right calls it takes, each
    of another place. Of several turns every third has the fault, and the first and every third from there on
    has a trailing comma. The rest is what happened; wrong: by turn; mendable: a call that was to be wrong is
    none by the client's own schema, which must not be.
    """

    task: Task
    fault: Fault | None
    times: int
    token: str
    turns: int = 1
    asked: int = 0
    wrong: Counter[int] = field(default_factory=Counter)
    right: int = 0
    mendable: bool = False

    @property
    def answer(self) -> str:
        """What only an agent can say that was told the token and asked once more."""
        return f"ANSWER-{self.token[::-1]}"

    def turn(self, said: str) -> int:
        """Which turn is due, from 1 on. said: the conversation as JSON."""
        done = 0
        while done < self.turns - 1 and step_done(done + 1) in said:
            done += 1
        return done + 1

    def place(self, turn: int) -> Task:
        return self.task if turn == self.turns else self.task.at(turn)

    def goes_wrong(self, turn: int) -> bool:
        chosen = self.turns == 1 or turn % 3 == 0
        return chosen and self.fault is not None and self.wrong[turn] < self.times


def step_done(step: int) -> str:
    """What the tool says of an earlier step of a session."""
    return f"Step {step} is done."


class FaultyUpstream(WireUpstream):
    """Finds the run by the mark in the user's prompt, so that any number of clients may run at once."""

    def __init__(self) -> None:
        super().__init__(told("A title"), [{"id": MODEL, "max_model_len": CONTEXT_WINDOW}])
        self.plays: dict[str, Play] = {}

    def choose(self, body: dict[str, Any]) -> Reply:
        mark = _MARK.search(json.dumps(body.get("messages", ())))
        play = self.plays.get(mark.group(1)) if mark else None
        reply = self.default if play is None else _next(play, body)
        return reply if body.get("stream") else whole(reply)


def _next(play: Play, body: dict[str, Any]) -> Reply:
    """A title and the like is asked for without tools; else a wrong call, the right one, or the answer."""
    if not play.task.tool:
        play.asked += 1
        return told(f"The code is {play.answer}.")
    names = [tool.get("function", tool).get("name", "") for tool in body.get("tools") or ()]
    if play.task.tool not in names:
        return told("A title")
    play.asked += 1
    said = json.dumps(body["messages"])
    if play.token in said:
        return _answer(play, f"The code is {play.answer}.")
    if play.asked > MOST_REQUESTS * play.turns or play.right >= play.turns + 2:
        return _answer(play, "I could not find the code.")
    turn = play.turn(said)
    task = play.place(turn)
    if play.fault is not None and play.goes_wrong(turn):
        play.wrong[turn] += 1
        name, arguments = task.wrong(play.fault)
        call = RawCall(name, Body.arguments, arguments, closed=True)
        play.mendable |= isinstance(repair_call(call, read_tools(body["tools"])), Accepted)
        return _wrong(play.fault, name, arguments)
    play.right += 1
    arguments = json.dumps(task.good)
    trailing = play.turns > 1 and turn % 3 == 1
    return _called(task.tool, f"{arguments[:-1]},}}" if trailing else arguments)


def _wrong(fault: Fault, name: str, arguments: str) -> Reply:
    written = f'{{"name": "{name}", "arguments": {arguments}}}'
    match fault:
        case Fault.fence:
            return told("I will look it up.\n\n```json\n", written, "\n```")
        case Fault.markup:
            return told("I will look it up.\n", "<tool_call>\n", written, "\n</tool_call>")
        case Fault.length:
            return _called(name, arguments, finish="length")
        case _:
            return _called(name, arguments)


def _answer(play: Play, words: str) -> Reply:
    if play.task.last is None:
        return told(play.task.form.replace("{answer}", words))
    name, arguments = play.task.last
    return _called(name, json.dumps(arguments).replace("{answer}", words))


def _called(name: str, arguments: str, finish: str = "tool_calls") -> Reply:
    """Ids differ from call to call: some clients key what they remember by them."""
    reply = called((name, arguments), finish=finish)
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
