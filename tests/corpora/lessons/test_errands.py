"""Errands: what the call needs stands in the request, and the answer says what came back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

from corpora.conversations import Conversation
from corpora.lessons.drills import drilled_arguments
from corpora.lessons.errands import SHELL_NAMES, errand_kind, errands, prefaced
from corpora.lessons.handbook import lengthened
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
    """The values that have to be copied. A command in a list, or in an object, is one text of the request."""
    for key, one in value.items():
        last = one[-1] if isinstance(one, list) else one
        yield from (
            [] if key == "description" else map(str, last.values() if isinstance(last, dict) else [last])
        )


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
    lessons = [list(turns(errands(Random(seed), 4000))) for seed in range(200)]
    called = [turn for lesson in lessons for turn in lesson]
    shells = [name for _, name, *_ in called if name in SHELLS or name in SHELL_NAMES]
    assert 0.3 < len(shells) / len(called) < 0.7
    assert len(SHELLS & set(shells)) >= len(SHELLS) - 1
    assert len(set(shells) - SHELLS) > 5
    explained = [
        arguments["description"]
        for _, name, arguments, *_ in called
        if name in SHELLS and "description" in arguments
    ]
    assert explained
    assert all(text.startswith("Run ") for text in explained)


def test_shells_of_no_agent_take_a_command_in_many_shapes() -> None:
    shapes = set()
    for seed in range(120):
        kind = errand_kind(Random(seed), shells=1)
        assert kind.run is not None
        (value,) = (one for key, one in kind.run("ls x").arguments.items() if key != "description")
        assert "ls x" in str(value)
        shapes.add(str(value))
    assert shapes >= {"ls x", "['ls x']", "{'cmd': 'ls x'}", "[{'run': 'ls x'}]", "['bash', '-lc', 'ls x']"}


def test_what_programs_pass_on_holds_what_was_said() -> None:
    passed = {prefaced(Random(seed), "Run `ls`.") for seed in range(300)}
    assert all("Run `ls`." in one for one in passed)
    assert len({one.replace("Run `ls`.", "") for one in passed}) > 50


def test_a_lengthened_tool_is_longer_and_the_same_tool() -> None:
    kind = errand_kind(Random(2), shells=0)
    (tool,) = kind.tools
    long = lengthened(Random(3), tool, 4000)
    assert 4000 < len(json.dumps(long)) < 8000
    assert lengthened(Random(3), tool, 10) == tool
    function, before = long["function"], tool["function"]
    assert function["description"].startswith(before["description"])
    assert function["name"] == before["name"]
    assert function["parameters"]["required"] == before["parameters"]["required"]
    bare = [{**one, "description": ""} for one in function["parameters"]["properties"].values()]
    assert bare == [{**one, "description": ""} for one in before["parameters"]["properties"].values()]


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


def test_some_answers_say_again_what_was_asked_and_the_reply_does_not() -> None:
    repeated = 0
    for seed in range(300):
        for _, name, arguments, content, reply in turns(errands(Random(seed), 1000)):
            values = list(texts(arguments))
            if name in SHELLS or name in SHELL_NAMES:
                again = all(value in content for value in values)
                assert not again or not any(value in reply for value in values)
                repeated += again
    assert repeated > 40


def test_other_tools_can_share_the_beginning_of_their_names() -> None:
    shared = 0
    for seed in range(200):
        lesson = errands(Random(seed), 8000)
        names = [one["function"]["name"] for one in lesson.tools]
        assert len(set(names)) == len(names)
        called = {name for _, name, *_ in turns(lesson)}
        beginnings = Counter(name.partition("_")[0] for name in names if name not in called)
        shared += max(beginnings.values(), default=0) > 5
    assert shared > 10


def test_a_system_text_can_stand_behind_the_first_request() -> None:
    behind = 0
    for seed in range(200):
        roles = [one["role"] for one in errands(Random(seed), 4000).messages]
        first = roles.index("user")
        assert "system" not in roles[first + 2 :]
        behind += roles[first + 1] == "system"
    assert 15 < behind < 60
