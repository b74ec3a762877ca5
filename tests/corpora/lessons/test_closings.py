"""Closings: each errand ends as its agent wants it, with what the tool said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from random import Random
from typing import Any

from corpora.conversations import Conversation, Message
from corpora.lessons.closings import ended_by_call, ended_by_command, known_already, laid_out

SEEDS = range(80)


def ends(lesson: Conversation) -> Iterator[tuple[list[Message], Message]]:
    """Each errand: its messages, and the last that the assistant writes for it."""
    errand: list[Message] = []
    for message in lesson.messages:
        if message["role"] == "user" and errand and errand[-1]["role"] != "user" and said_by_user(message):
            yield errand, last_of(errand)
            errand = []
        if message["role"] != "system":
            errand.append(message)
    yield errand, last_of(errand)


def said_by_user(message: Message) -> bool:
    """Whether it is no result that an agent writes as the user."""
    starts = ("Observation", "Result:", "[Tool result]", "Output:")
    return not message["content"].startswith(starts)


def last_of(errand: list[Message]) -> Message:
    return next(one for one in reversed(errand) if one["role"] == "assistant")


def values(reply: str) -> list[str]:
    """What a reply can have from the tool: the value, on one side of its verb, or the words of a failure."""
    left, _, right = reply.removesuffix(".").rpartition(" is ")
    return [one for one in (left, right, reply.partition(": ")[2]) if one]


def arguments_of(message: Message) -> dict[str, Any]:
    (call,) = message["tool_calls"]
    arguments: dict[str, Any] = json.loads(call["function"]["arguments"])
    return arguments


def test_a_tool_ends_each_errand_with_what_came_back() -> None:
    as_text = 0
    for seed in SEEDS:
        for errand, last in ends(ended_by_call(Random(seed), 3000)):
            (said,) = arguments_of(last).values()
            back = "".join(one["content"] for one in errand if one["role"] in ("tool", "user"))
            assert any(one in back for one in values(said)), said
            as_text += any(not one.get("learned", True) for one in errand)
    assert as_text > 20


def test_some_texts_show_tasks_to_the_call_that_ends_them() -> None:
    shown = 0
    for seed in SEEDS:
        lesson = ended_by_call(Random(seed), 3000)
        (last,) = lesson.messages[-1]["tool_calls"]
        text = "".join(one["content"] for one in lesson.messages if one["role"] == "system")
        examples = text.partition("Examples:\n---\n")[2].rpartition("\n---")[0].split("\n---\n")
        if examples != [""]:
            shown += 1
            name = json.dumps(last["function"]["name"])
            assert all(one.startswith("Task: ") and one.count(f'"name": {name}') == 1 for one in examples)
    assert 25 < shown < 75


def test_history_in_text_is_shown_and_not_learned() -> None:
    for seed in SEEDS:
        for message in ended_by_call(Random(seed), 3000).messages:
            if message["role"] == "assistant":
                assert message.get("learned", True) == bool(message.get("tool_calls"))


def test_a_command_that_stands_in_the_text_ends_each_errand() -> None:
    pasted = 0
    for seed in SEEDS:
        lesson = ended_by_command(Random(seed), 3000)
        last = arguments_of(lesson.messages[-1])
        value = next(one for key, one in last.items() if key != "description")
        while not isinstance(value, str):
            value = value[-1] if isinstance(value, list) else next(iter(value.values()))
        first = next(one for one in lesson.messages if one["role"] == "user")
        system = " ".join(one["content"] for one in lesson.messages if one["role"] == "system")
        assert f"`{value}`" in first["content"] or f"`{value}`" in system
        pasted += f"`{value}`" in first["content"]
    assert 20 < pasted < 60


def test_what_is_known_is_said_and_not_called_again() -> None:
    known = called = 0
    for seed in SEEDS:
        messages = [one for one in known_already(Random(seed), 3000).messages if one["role"] != "system"]
        for before, reply in pairwise(messages):
            if reply["role"] == "assistant" and not reply.get("tool_calls"):
                assert any(one in before["content"] for one in values(reply["content"])), reply
                known += before["role"] == "user"
                called += before["role"] == "tool"
    assert known > 60
    assert called > 40


def test_a_form_is_filled_where_something_is_known_and_a_call_made_else() -> None:
    for seed in SEEDS:
        lesson = laid_out(Random(seed), 3000)
        messages = lesson.messages[1:]
        for message, after in pairwise(messages):
            if message["role"] == "user":
                assert bool(after.get("tool_calls")) == ("\n[]" in message["content"])
            if message["role"] == "assistant" and not message.get("tool_calls"):
                opened, _, rest = message["content"].partition("\n")
                end = rest.rpartition("\n\n")[2]
                assert opened in lesson.messages[0]["content"]
                assert end in lesson.messages[0]["content"]
