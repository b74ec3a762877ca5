"""A prompt that cannot fit is known before it is written, and none is refused that would have fitted."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from engine.errors import ContextOverflow
from engine.template import ChatTemplate
from proxy.conversation.message import Message, PastCall, Role
from proxy.conversation.request import ChatRequest, RawPrompt, ToolChoice, ToolMode
from proxy.prompts.prompting import Prompter
from proxy.prompts.size import SizeBound, stripped_length
from repair.types import ToolDefinition
from tests.engine.tiny import make_tokenizer

BUNDLED = Path(__file__).parents[3] / "engine/models/fortieth-tiny"
LIMIT = 2000
FORGETFUL = """{%- for message in messages %}{% if message.role in ('user', 'assistant') %}<|im_start|>\
{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endif %}{% endfor %}<|im_start|>assistant\n"""
LAST_ONE = "<|im_start|>user\n{{ messages[-1].content }}<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def bundled() -> ChatTemplate:
    return ChatTemplate.load(BUNDLED)


def made(source: str) -> ChatTemplate:
    return ChatTemplate(make_tokenizer(), source)


def user(text: str) -> Message:
    return Message.of(Role.user, text)


def refused(bound: SizeBound, request: ChatRequest, limit: int = LIMIT) -> ContextOverflow | None:
    try:
        bound.check(request, limit)
    except ContextOverflow as error:
        return error
    return None


def test_the_bundled_template_writes_all_roles(bundled: ChatTemplate) -> None:
    bound = SizeBound.of(bundled)
    assert bound.longest == len("additionalProperties")
    assert bound.shown == {Role.system, Role.user, Role.tool}
    assert bound.properties


def test_what_a_template_leaves_out_does_not_count() -> None:
    bound = SizeBound.of(made(FORGETFUL))
    assert bound.shown == {Role.user}
    long = "word " * 100_000
    hidden = (Message.of(Role.system, long), Message.of(Role.tool, long, call_id="1"))
    assert refused(bound, ChatRequest("", (*hidden, user("hi")))) is None
    assert refused(bound, ChatRequest("", (user("hi"),), (WIDE,))) is None
    assert refused(bound, ChatRequest("", (user("hi"),), answer_schema=WIDE.parameters)) is None
    assert refused(bound, ChatRequest("", (user(long),)))
    assert SizeBound.of(made(LAST_ONE)).shown == frozenset()
    assert SizeBound.of(made("{{ raise_exception('no') }}")).longest is None


LONG = "word " * 20_000
WIDE = ToolDefinition("f", "", {"type": "object", "properties": {f"property_{at}": {} for at in range(4000)}})
TOO_LONG: dict[str, ChatRequest] = {
    "user": ChatRequest("", (user(LONG),)),
    "system": ChatRequest("", (Message.of(Role.system, LONG), user("hi"))),
    "tool": ChatRequest("", (user("hi"), Message.of(Role.tool, LONG, call_id="1", name="f"), user("hi"))),
    "many": ChatRequest("", (user("x"),) * LIMIT),
    "properties": ChatRequest("", (user("hi"),), (WIDE,)),
    "properties of the answer": ChatRequest("", (user("hi"),), answer_schema=WIDE.parameters),
    "raw": ChatRequest("", (), prompts=(RawPrompt(LONG),)),
    "raw tokens": ChatRequest("", (), prompts=(RawPrompt((1,) * LIMIT),)),
}


@pytest.mark.parametrize("name", TOO_LONG)
def test_what_cannot_fit_is_refused(bundled: ChatTemplate, name: str) -> None:
    error = refused(SizeBound.of(bundled), TOO_LONG[name])
    assert error is not None
    assert error.estimated
    assert error.tokens >= LIMIT


IN_DOUBT: dict[str, ChatRequest] = {
    "an answer": ChatRequest("", (user("hi"), Message.of(Role.assistant, LONG), user("hi"))),
    "reasoning": ChatRequest("", (user("hi"), Message.of(Role.assistant, "x", LONG), user("hi"))),
    "a call": ChatRequest(
        "", (user("hi"), Message.of(Role.assistant, calls=(PastCall("1", "f", LONG),)), user("hi"))
    ),
    "tools that are not shown": ChatRequest(
        "", (user("hi"),), (WIDE,), tool_choice=ToolChoice(ToolMode.none)
    ),
    "no properties": ChatRequest("", (user("hi"),), (ToolDefinition("f", LONG, {"properties": [LONG]}),)),
    "space": ChatRequest("", (user(" \n" * 50_000),)),
    "empty answers": ChatRequest("", (user("hi"), *[Message.of(Role.assistant)] * 5000)),
    "a header": ChatRequest("", (Message.of(Role.system, f"x-a-b: {'y' * 90_000}\n"), user("hi"))),
}


@pytest.mark.parametrize("name", IN_DOUBT)
def test_what_may_be_left_out_is_written_first(bundled: ChatTemplate, name: str) -> None:
    assert refused(SizeBound.of(bundled), IN_DOUBT[name]) is None


@pytest.mark.parametrize("before", ["", " ", "\n" * 1023, " " * 1024, "\t" * 5000])
@pytest.mark.parametrize("said", ["", "x", "x y" * 3000, "x" * 1024])
@pytest.mark.parametrize("behind", ["", " ", " " * 1023, "\n" * 1024, "\u3000" * 5000])
def test_the_length_without_white_space_at_its_ends(before: str, said: str, behind: str) -> None:
    text = before + said + behind
    assert stripped_length(text) == len(text.strip())


def test_nothing_is_refused_that_fits(bundled: ChatTemplate) -> None:
    bound, prompter = SizeBound.of(bundled), Prompter(bundled, "hermes", (2,))
    drawn = random.Random(5)
    longest = "additionalProperties" * 3
    for _ in range(60):
        texts = [
            "".join(
                drawn.choice((longest, "x", " ", "\n", "é", "<|im_end|>"))
                for _ in range(drawn.randint(0, 40))
            )
            for _ in range(drawn.randint(1, 9))
        ]
        roles = [drawn.choice((Role.system, Role.user, Role.tool, Role.assistant)) for _ in texts]
        messages = [Message.of(role, text) for role, text in zip(roles, texts, strict=True)]
        schema: dict[str, Any] | None = None
        if drawn.random() < 0.5:
            schema = {"properties": {text: {} for text in texts}}
        request = ChatRequest("", (*messages, user("hi")), answer_schema=schema)
        tokens = len(prompter.tokens(request))
        assert refused(bound, request, tokens + 1) is None
