"""What real clients do to a prefix: with the rules it is reused, without one its cause is told."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest

from engine.template import ChatTemplate
from proxy.conversation.cache_report import MissCause
from proxy.conversation.message import Message, Role
from proxy.conversation.request import ChatRequest
from proxy.prompts.canonical import ALL_RULES, Rule
from repair.types import ToolDefinition
from tests.proxy.prompts.loops import (
    FORGETFUL,
    STRICT,
    SYSTEM,
    THINKING,
    Change,
    Server,
    load,
    run_loop,
    shuffled,
    with_system,
)


def plain(request: ChatRequest, turn: int) -> ChatRequest:
    return request


def header_line(request: ChatRequest, turn: int) -> ChatRequest:
    return with_system(request, f"x-some-billing-header: cc_version=2.1.{turn}f{turn};\n{SYSTEM}")


def changing_id(request: ChatRequest, turn: int) -> ChatRequest:
    return with_system(request, f"{SYSTEM}\nRequest-ID: 5f3a9c{turn}e\nAnswer in English.")


def clock(request: ChatRequest, turn: int) -> ChatRequest:
    return with_system(request, f"{SYSTEM}\nCurrent time: 2026-11-21T12:{turn:02}:07Z\nBe brief.")


def stripped(request: ChatRequest, turn: int) -> ChatRequest:
    return replace(request, messages=tuple(one.without_reasoning() for one in request.messages))


def late_system(request: ChatRequest, turn: int) -> ChatRequest:
    """Each request holds the reminders of those before it, where they were."""
    messages: list[Message] = []
    for index, message in enumerate(request.messages):
        messages.append(message)
        if message.role is Role.tool:
            messages.append(Message.of(Role.system, f"Reminder {index}: keep to the task."))
    return replace(request, messages=tuple(messages))


def tool_keys(request: ChatRequest, turn: int) -> ChatRequest:
    turned = tuple(
        ToolDefinition(one.name, one.description, shuffled(dict(one.parameters), turn))
        for one in request.tools
    )
    return replace(request, tools=turned)


def tool_order(request: ChatRequest, turn: int) -> ChatRequest:
    return replace(request, tools=tuple(random.Random(turn).sample(request.tools, len(request.tools))))


@dataclass(frozen=True, slots=True)
class Trace:
    """rule: the one that neutralises it. cause: named with that rule off. source: of the template."""

    change: Change
    rule: Rule
    cause: MissCause
    source: str = ""
    thinking: bool = False


TRACES = {
    "spelling": Trace(plain, Rule.own_turns, MissCause.spelling),
    "header_line": Trace(header_line, Rule.header_line, MissCause.header),
    "changing_id": Trace(changing_id, Rule.system_ids, MissCause.line),
    "clock": Trace(clock, Rule.system_clock, MissCause.line),
    "late_system": Trace(late_system, Rule.system_in_place, MissCause.hoisted, STRICT),
    "stripped_reasoning": Trace(stripped, Rule.reasoning, MissCause.reasoning, THINKING, True),
    "tool_keys": Trace(tool_keys, Rule.tool_keys, MissCause.tools),
    "tool_order": Trace(tool_order, Rule.tool_order, MissCause.tools),
}


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ChatTemplate]:
    return {
        source: load(tmp_path_factory.mktemp("template"), source)
        for source in ("", STRICT, THINKING, FORGETFUL)
    }


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)
def test_with_the_rules_everything_known_is_reused(templates: dict[str, ChatTemplate], trace: Trace) -> None:
    server = run_loop(Server(templates[trace.source]), change=trace.change, thinking=trace.thinking)
    assert server.shares == [1.0] * 7, "each prompt goes on from the last and its answer, token by token"
    assert server.causes == {MissCause.none}
    assert server.spliced == list(range(8)), "every answer stands in it as it was generated"


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)
def test_without_its_rule_the_cause_is_named(templates: dict[str, ChatTemplate], trace: Trace) -> None:
    rules = ALL_RULES - {trace.rule}
    server = run_loop(Server(templates[trace.source], rules), change=trace.change, thinking=trace.thinking)
    assert server.causes - {MissCause.none} == {trace.cause}, "none where an order of tools came back"
    assert sum(server.shares) / 7 < 0.95
    last = server.reports[-1]
    assert last.before != last.now


def test_what_the_template_forgets_is_not_put_back(templates: dict[str, ChatTemplate]) -> None:
    """Between two words of the user reasoning stays; a template that then drops it is obeyed, and told of."""
    server = Server(templates[FORGETFUL])

    thinking = "<think>\nhm\n</think>\n\n"
    messages: tuple[Message, ...] = (Message.of(Role.system, SYSTEM), Message.of(Role.user, "hi"))
    for turn in range(3):
        server.ask(ChatRequest("m", messages), f"{thinking}answer {turn}")
        messages += (Message.of(Role.assistant, f"answer {turn}"), Message.of(Role.user, f"more {turn}"))
    assert [report.cause for report in server.reports[1:]] == [MissCause.reasoning] * 2
    assert server.spliced == [0, 0, 0]
    prompt = server.prompter.prepare(ChatRequest("m", messages)).rendered.text
    assert "hm" not in prompt
