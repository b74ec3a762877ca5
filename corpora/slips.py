"""Broken attempts, the guard's answers to them, and the calls that were meant, for training.

The model learns from them to correct itself. The answers are repair.reask's own, in the form in which the
hidden fork of a guarded turn shows them. The broken attempt itself is never learned.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from corpora import lexicon
from corpora.conversations import Conversation, Message
from corpora.rendering import assistant_text
from repair.jsonl import read_tools, repair_arguments
from repair.reask import WAITS, correction
from repair.tools import ToolSet
from repair.types import Rejected

Arguments = dict[str, Any]


def stumble(rng: Random, conversation: Conversation) -> Conversation | None:
    """The conversation up to one of its turns with calls, that turn broken, answered and done rightly.

    None where it has no such turn, or where none of a few breaks would be refused.
    """
    turns = [i for i, message in enumerate(conversation.messages) if message.get("tool_calls")]
    if not turns:
        return None
    place = rng.choice(turns)
    right = conversation.messages[place]
    tools = read_tools(list(conversation.tools))
    index = rng.randrange(len(right["tool_calls"]))
    for _ in range(4):
        broken = _broken(rng, right, index, conversation.tools)
        answers = _answers(broken, index, tools)
        if answers is not None:
            attempt, told = answers
            again = {**right, "tool_calls": [right["tool_calls"][index]]}
            whole = (*conversation.messages[:place], attempt, *told, again)
            return Conversation(conversation.tools, whole)
    return None


def _broken(rng: Random, right: Message, index: int, tools: Sequence[Mapping[str, Any]]) -> Message:
    calls = [dict(call) for call in right["tool_calls"]]
    function = calls[index]["function"]
    if rng.random() < 0.12:
        function = {**function, "name": _misnamed(rng, function["name"])}
    else:
        found = next(t["function"] for t in tools if t["function"]["name"] == function["name"])
        function = {**function, "arguments": _spoiled(rng, function["arguments"], found["parameters"])}
    calls[index] = {**calls[index], "function": function}
    return {**right, "tool_calls": calls, "learned": False}


def _misnamed(rng: Random, name: str) -> str:
    return rng.choice((f"{rng.choice(lexicon.VERBS)}_{rng.choice(lexicon.NOUNS)}", f"{name}_now", name[:-2]))


def _spoiled(rng: Random, text: str, schema: Mapping[str, Any]) -> str:
    arguments: Arguments = json.loads(text)
    if not arguments:
        return "[]"
    key = rng.choice(list(arguments))
    return rng.choice(_WAYS)(rng, arguments, key, schema.get("properties", {}).get(key, {}))


def _drop(rng: Random, arguments: Arguments, key: str, schema: Mapping[str, Any]) -> str:
    return _text({name: value for name, value in arguments.items() if name != key})


def _rename(rng: Random, arguments: Arguments, key: str, schema: Mapping[str, Any]) -> str:
    other = rng.choice((lexicon.invented_word(rng), f"{key}_{rng.choice(lexicon.NOUNS)}"))
    return _text({other if name == key else name: value for name, value in arguments.items()})


def _mistake(rng: Random, arguments: Arguments, key: str, schema: Mapping[str, Any]) -> str:
    wrong: Any = {"value": arguments[key]} if schema.get("type") == "string" else lexicon.invented_word(rng)
    return _text(arguments | {key: lexicon.invented_word(rng) if "enum" in schema else wrong})


def _double(rng: Random, arguments: Arguments, key: str, schema: Mapping[str, Any]) -> str:
    return f"{_text(arguments)[:-1]}, {_text({key: lexicon.invented_word(rng)})[1:]}"


def _cut(rng: Random, arguments: Arguments, key: str, schema: Mapping[str, Any]) -> str:
    whole = _text(arguments)
    return whole[: rng.randrange(1, len(whole) - 1)]


_WAYS: tuple[Callable[[Random, Arguments, str, Mapping[str, Any]], str], ...] = (
    _drop, _drop, _drop, _rename, _rename, _mistake, _mistake, _double, _cut,
)  # fmt: skip


def _text(value: Arguments) -> str:
    return json.dumps(value, ensure_ascii=False)


def _answers(broken: Message, index: int, tools: ToolSet) -> tuple[Message, list[Message]] | None:
    """The attempt as it stands in the fork, and the answers to it; None where nothing would be refused."""
    functions = [call["function"] for call in broken["tool_calls"]]
    name, arguments = functions[index]["name"], functions[index]["arguments"]
    outcome = repair_arguments(name, arguments, tools)
    if not isinstance(outcome, Rejected):
        return None
    shown = name if tools.get(name) is not None else None
    if all(_is_object(one["arguments"]) for one in functions):
        told = correction(outcome.problems, tools, shown)
        texts = [told if i == index else WAITS for i in range(len(functions))]
        return broken, [
            {"role": "tool", "tool_call_id": call["id"], "content": text}
            for call, text in zip(broken["tool_calls"], texts, strict=True)
        ]
    kept = [one["name"] for i, one in enumerate(functions) if i != index]
    said = {"role": "assistant", "content": assistant_text(broken), "learned": False}
    return said, [{"role": "user", "content": correction(outcome.problems, tools, shown, kept)}]


def _is_object(arguments: str) -> bool:
    try:
        return isinstance(json.loads(arguments), dict)
    except ValueError:
        return False
