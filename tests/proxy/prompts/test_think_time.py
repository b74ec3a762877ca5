"""Think time: what is computed while a client runs its tool is how its next prompt really begins."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import cast

import pytest

from engine.client import EngineClient
from engine.errors import QueueFull
from engine.template import ChatTemplate
from engine.types import Finished, FinishReason, GenerateRequest, Output, Priority
from proxy.conversation.cache_report import MissCause
from proxy.conversation.message import Message, Role
from proxy.conversation.request import ChatRequest, SessionId
from proxy.conversation.verdict import GuardMode
from proxy.prompts.think_time import MOST, PAUSE_S, ThinkTime
from proxy.upstreams.capabilities import Capabilities
from proxy.upstreams.scripted import Script, ScriptedUpstream
from tests.proxy.live import serving
from tests.proxy.prompts.loops import (
    FORGETFUL,
    STRICT,
    THINKING,
    Server,
    call_copy,
    call_text,
    load,
    thought_over,
)
from tests.proxy.prompts.test_answer_tokens import OPENING, RESULT, asked, edited
from tests.proxy.requests import CALL, HOPELESS_CALL, SLOPPY_CALL, TOOLS, body

REPAIRED = edited(arguments='{"query": "part 1", "limit": 7}')
SPOKEN = Message.of(Role.assistant, "All parts are found.")
ANSWERS = {
    "clean": (call_text(1), call_copy(1)),
    "repaired": (call_text(1), REPAIRED),
    "two_calls": (call_text(1), call_copy(1).with_calls(call_copy(1).calls * 2)),
    "words": ("All parts are found.", SPOKEN),
}
THOUGHTS = {
    "thought": (call_text(1, True), call_copy(1, True)),
    "repaired_thought": (call_text(1, True), thought_over(REPAIRED, "I should look for part 1 now.")),
}
RESULTS = ["found", "\n\nfound", " found", '{"found": 1}', "[1]", "0", "", "é", "<|im_end|>"]


def following(reply: Message, text: str) -> Message:
    return RESULT.with_text(text) if reply.calls else Message.of(Role.user, text)


def check(template: ChatTemplate, answer: str, reply: Message) -> None:
    """Whatever comes next: the next prompt begins so, and no more than that is missing."""
    for text in RESULTS:
        server = Server(template)
        server.ask(asked(*OPENING), answer)
        tokens = server.prompter.ahead(asked(*OPENING), reply)
        prompt = server.prompter.prepare(asked(*OPENING, reply, following(reply, text))).rendered.tokens
        assert prompt[: len(tokens)] == tokens
        rest = template.decode(prompt[len(tokens) :]).lstrip("\n")
        assert rest.startswith(text.lstrip("\n")[:1]) or not text


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("source", ["", STRICT, FORGETFUL], ids=["bundled", "strict", "forgetful"])
def test_the_next_prompt_begins_so(tmp_path: Path, source: str, answer: str) -> None:
    check(load(tmp_path, source), *ANSWERS[answer])


@pytest.mark.parametrize("answer", THOUGHTS)
@pytest.mark.parametrize("source", [THINKING, FORGETFUL], ids=["thinking", "forgetful"])
def test_with_reasoning_as_the_template_keeps_it(tmp_path: Path, source: str, answer: str) -> None:
    check(load(tmp_path, source), *THOUGHTS[answer])


def test_a_client_that_drops_reasoning_is_expected_to_do_so_again(tmp_path: Path) -> None:
    server = Server(load(tmp_path, THINKING))
    history = (*OPENING, call_copy(1), RESULT)
    server.ask(asked(*history), call_text(2, True))
    reply = thought_over(REPAIRED, "I should look for part 2 now.")
    assert "part 2 now" not in server.template.decode(server.prompter.ahead(asked(*history), reply))
    fresh = server.template.decode(server.prompter.ahead(asked(*OPENING), reply))
    assert "part 2 now" in fresh
    hidden = server.prompter.ahead(asked(*OPENING, include_reasoning=False), reply)
    assert "part 2 now" not in server.template.decode(hidden)


@pytest.mark.parametrize(("reused", "cause"), [(True, MissCause.none), (False, MissCause.answer)])
def test_a_repaired_call_is_no_miss_where_it_was_computed_ahead(
    tmp_path: Path, reused: bool, cause: MissCause
) -> None:
    server = Server(load(tmp_path))
    server.ask(asked(*OPENING), call_text(1))
    tokens = server.prompter.ahead(asked(*OPENING), REPAIRED)
    if reused:
        server.known.append(type(server.known[0])("i", tokens))
    server.ask(asked(*OPENING, REPAIRED, RESULT), call_text(2))
    assert server.reports[-1].cause is cause


class Engine:
    """Notes what it is asked; a prefill takes `seconds`, or is refused."""

    def __init__(self, seconds: float = 0.0, refuses: bool = False) -> None:
        self.asked: list[GenerateRequest] = []
        self.refused: list[str] = []
        self.aborted: list[str] = []
        self._seconds = seconds
        self.refuses = refuses

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Output, None]:
        if self.refuses:
            self.refused.append(request.session)
            raise QueueFull(1.0)
        self.asked.append(request)
        try:
            await asyncio.sleep(self._seconds)
        except BaseException:
            self.aborted.append(request.session)
            raise
        yield Finished(id=request.id, reason=FinishReason.length, prompt_tokens=1, completion_tokens=0)


async def render(request: ChatRequest, reply: Message) -> tuple[int, ...]:
    return (1, 2, 3)


def of_session(number: int) -> ChatRequest:
    return ChatRequest("m", OPENING, session=SessionId(f"s{number}", "test"))


def make(engine: Engine, enabled: bool = True) -> ThinkTime:
    return ThinkTime(cast(EngineClient, engine), render, enabled)


async def test_what_is_delivered_is_computed_ahead() -> None:
    engine = Engine()
    ahead = make(engine)
    ahead.ended(of_session(1), SPOKEN)
    await asyncio.sleep(3 * PAUSE_S)
    (one,) = engine.asked
    assert (one.prompt[:-1], one.session, one.priority) == ((1, 2, 3), "s1", Priority.background)
    assert one.prefill_only
    await ahead.close()
    off = make(engine, enabled=False)
    off.ended(of_session(2), SPOKEN)
    await asyncio.sleep(3 * PAUSE_S)
    assert len(engine.asked) == 1


async def test_a_request_that_comes_first_drops_it_and_one_under_way_can_be_joined() -> None:
    engine = Engine(seconds=30)
    ahead = make(engine)
    ahead.ended(of_session(1), SPOKEN)
    ahead.arrived("s1")
    await asyncio.sleep(3 * PAUSE_S)
    assert engine.asked == []
    ahead.ended(of_session(1), SPOKEN)
    await asyncio.sleep(3 * PAUSE_S)
    ahead.arrived("s1")
    await asyncio.sleep(0)
    assert engine.aborted == []
    ahead.drop("s1")
    await asyncio.sleep(PAUSE_S)
    assert engine.aborted == ["s1"]


async def test_there_are_never_many() -> None:
    engine = Engine(seconds=30)
    ahead = make(engine)
    for number in range(MOST + 2):
        ahead.ended(of_session(number), SPOKEN)
    ahead.ended(of_session(MOST), SPOKEN)
    await asyncio.sleep(3 * PAUSE_S)
    assert sorted(one.session for one in engine.asked) == sorted(f"s{n}" for n in range(2, MOST + 2))
    await ahead.close()
    assert len(engine.aborted) == MOST


async def test_a_busy_engine_is_no_error_and_is_asked_after_the_next_turn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = Engine(refuses=True)
    ahead = make(engine)
    ahead.ended(of_session(1), SPOKEN)
    await asyncio.sleep(3 * PAUSE_S)
    assert (engine.refused, engine.asked) == (["s1"], [])
    assert [one for one in caplog.records if one.levelno > logging.DEBUG] == []
    engine.refuses = False
    ahead.ended(of_session(1), SPOKEN)
    await asyncio.sleep(3 * PAUSE_S)
    assert [one.session for one in engine.asked] == ["s1"]
    await ahead.close()


class Listening:
    """A foresight that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Message] = []

    def foresee(self, request: ChatRequest, reply: Message) -> None:
        assert request.session.id
        self.told.append(reply)

    async def warm(self, request: ChatRequest) -> Finished:
        raise AssertionError("nobody asks for this")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("answers", "n", "finish", "told"),
    [
        ([CALL], 1, "stop", '{"city": "Lisbon"}'),
        ([SLOPPY_CALL], 1, "stop", '{"city": "Lisbon"}'),
        ([HOPELESS_CALL, CALL], 1, "stop", '{"city": "Lisbon"}'),
        (["Hello."], 1, "stop", "Hello."),
        (["Hello."], 2, "stop", None),
        (["Hel"], 1, "length", None),
    ],
    ids=["clean", "repaired", "reasked", "words", "several", "cut"],
)
def test_what_the_client_got_is_what_is_foreseen(
    stream: bool, answers: list[str], n: int, finish: str, told: str | None
) -> None:
    scripts = iter(answers)
    listening = Listening()

    def choose(request: ChatRequest) -> Script:
        return Script((next(scripts, answers[-1]),), finish=finish)

    upstream = ScriptedUpstream(choose, capabilities=Capabilities(prefiller=listening))
    with serving(upstream, mode=GuardMode.full) as server:
        response = server.post(body(tools=TOOLS, stream=stream, n=n))
        assert response.status_code == 200
    if told is None:
        assert listening.told == []
    else:
        (reply,) = listening.told
        assert told == (reply.calls[0].arguments if reply.calls else reply.text)
        if reply.calls:
            assert reply.calls[0].id in response.text
