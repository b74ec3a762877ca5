"""Scripts: seeded agent tasks of some tool turns over one toolbox, with every right call and its result."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from corpora.conversations import Conversation, Message
from corpora.talk import draw_talk
from corpora.world.base import Call, State, Toolbox, Wish


@dataclass(frozen=True, slots=True)
class Turn:
    """One assistant turn: the calls that are right (in order), and what the world answers to each."""

    calls: tuple[Call, ...]
    results: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """One message of the user and the turns that serve it. Without turns it needs no call."""

    text: str
    turns: tuple[Turn, ...]
    reply: str


@dataclass(frozen=True, slots=True)
class Script:
    """A whole agent run. `start` and `end` are the toolbox's state before and after."""

    toolbox: Toolbox
    system: str
    tasks: tuple[Task, ...]
    start: State
    end: State

    @property
    def tool_turns(self) -> int:
        return sum(len(task.turns) for task in self.tasks)


def write_script(
    rng: Random, toolbox: Toolbox, tool_turns: int, talk_share: float = 0.07, system: str | None = None
) -> Script:
    """A script of at least `tool_turns` tool turns (a wish is not cut in two); a pure function of `rng`."""
    start = toolbox.open(rng)
    state, tasks, done = copy.deepcopy(start), list[Task](), 0
    while done < tool_turns:
        if rng.random() < talk_share:
            text, reply = draw_talk(rng)
            tasks.append(Task(text, (), reply))
            continue
        draw = rng.choices(list(toolbox.wishes), list(toolbox.wishes.values()))[0]
        task = play(toolbox, state, draw(rng, state))
        tasks.append(task)
        done += len(task.turns)
    return Script(toolbox, _system(rng, toolbox) if system is None else system, tuple(tasks), start, state)


def play(toolbox: Toolbox, state: State, wish: Wish) -> Task:
    """Serve a wish the right way, on the state."""
    turns: list[Turn] = []
    answers: tuple[Any, ...] | None = None
    while True:
        try:
            calls = wish.plan.send(answers) if answers is not None else next(wish.plan)
        except StopIteration as stop:
            return Task(wish.text, tuple(turns), stop.value)
        ordered = tuple(_in_schema_order(toolbox, call) for call in calls)
        answers = tuple(toolbox.run(state, call.name, call.arguments) for call in ordered)
        turns.append(Turn(ordered, tuple(to_text(answer) for answer in answers)))


def to_text(value: Any) -> str:
    """A result as the content of a tool message: strings as they are, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def to_conversation(script: Script) -> Conversation:
    """The script as one conversation, ending with the last reply."""
    messages: list[Message] = [{"role": "system", "content": script.system}] if script.system else []
    count = 0
    for task in script.tasks:
        messages.append({"role": "user", "content": task.text})
        for turn in task.turns:
            ids = [f"call_{count + i}" for i in range(len(turn.calls))]
            count += len(ids)
            messages.append(to_message(turn.calls, ids))
            messages += [
                {"role": "tool", "tool_call_id": one, "content": result}
                for one, result in zip(ids, turn.results, strict=True)
            ]
        messages.append({"role": "assistant", "content": task.reply})
    return Conversation(tuple(dict(one) for one in script.toolbox.tools), tuple(messages))


def to_message(calls: tuple[Call, ...], ids: list[str]) -> Message:
    """An assistant message with these calls."""
    items = [
        {
            "id": one,
            "type": "function",
            "function": {
                "name": call.name,
                "arguments": json.dumps(call.arguments, ensure_ascii=False),
            },
        }
        for one, call in zip(ids, calls, strict=True)
    ]
    return {"role": "assistant", "content": "", "tool_calls": items}


def _in_schema_order(toolbox: Toolbox, call: Call) -> Call:
    schema = toolbox.definition(call.name)["parameters"]
    return Call(call.name, _ordered(call.arguments, schema))


def _ordered(value: Any, schema: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        inner = schema.get("properties", {})
        keys = [key for key in inner if key in value] + [key for key in value if key not in inner]
        return {key: _ordered(value[key], inner.get(key, {})) for key in keys}
    if isinstance(value, list):
        return [_ordered(item, schema.get("items", {})) for item in value]
    return value


def _system(rng: Random, toolbox: Toolbox) -> str:
    roll = rng.random()
    if roll < 0.4:
        return toolbox.purpose
    return f"You are a helpful assistant. {toolbox.purpose}" if roll < 0.7 else ""
