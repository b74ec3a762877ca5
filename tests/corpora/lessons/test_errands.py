"""Errands: what the call needs stands in the request, and the answer says what came back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

from corpora.conversations import Conversation
from corpora.lessons.drills import drilled_arguments
from corpora.lessons.errands import errands
from corpora.workshop.kits import KITS
from repair.jsonl import read_tools

SHELLS = {verb.tool for kit in KITS for verb in kit.verbs if verb.act == "shell"}


def turns(lesson: Conversation) -> Iterator[tuple[str, str, dict[str, Any], str, str]]:
    """What is said, the tool and the arguments of the call, what came back, and what is answered."""
    rest = [one for one in lesson.messages if one["role"] != "system"]
    for said, called, result, told in zip(*(iter(rest),) * 4, strict=True):
        (call,) = (one["function"] for one in called["tool_calls"])
        yield said["content"], call["name"], json.loads(call["arguments"]), result["content"], told["content"]


def texts(value: Any) -> Iterator[str]:
    """The values that have to be copied. A command in a list is one text of the request."""
    for key, one in value.items():
        yield from [] if key == "description" else [one[-1] if isinstance(one, list) else str(one)]


def test_every_value_stands_in_the_request_and_is_copied() -> None:
    for seed in range(150):
        for said, _, arguments, _, _ in turns(errands(Random(seed), 4000)):
            assert all(text in said for text in texts(arguments)), said


def test_the_answer_says_what_came_back() -> None:
    failed = 0
    for seed in range(150):
        for *_, content, reply in turns(errands(Random(seed), 4000)):
            if content in reply and content.endswith((".", "found.")):
                failed += 1
                continue
            words = reply.removesuffix(".")
            token = words.removeprefix("It is ").rpartition(" is ")
            said = [one for one in (token[0], token[2]) if one and one in content]
            assert said, (content, reply)
    assert 20 < failed < 150


def test_there_are_shells_of_many_agents_and_tools_of_no_agent() -> None:
    called = [name for seed in range(200) for _, name, *_ in turns(errands(Random(seed), 4000))]
    shells = [name for name in called if name in SHELLS]
    assert 0.3 < len(shells) / len(called) < 0.7
    assert len(set(shells)) >= len(SHELLS) - 1
    explained = [
        arguments["description"]
        for seed in range(200)
        for _, name, arguments, *_ in turns(errands(Random(seed), 4000))
        if name in SHELLS and "description" in arguments
    ]
    assert explained
    assert all(text.startswith("Run ") for text in explained)


def test_arguments_alone_fit_the_schema_that_is_shown() -> None:
    for seed in range(40):
        lesson = drilled_arguments(Random(seed), 4000)
        assert lesson.tools == ()
        messages = [one for one in lesson.messages if one["role"] != "system"]
        for _, asked, answer in zip(*(iter(messages),) * 3, strict=True):
            schema = json.loads(asked["content"].split("\n")[1])
            function = {"name": "f", "parameters": schema}
            tool = read_tools([{"type": "function", "function": function}]).get("f")
            assert tool is not None
            assert tool.fits(json.loads(answer["content"]))
