"""Why a prompt parts from those before it, beyond what the traces show."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import pytest

from engine.template import ChatTemplate
from engine.types import CacheReport as EngineReport
from proxy.conversation.cache_report import CacheReport, MissCause
from proxy.conversation.message import Message, Role
from proxy.conversation.request import UNNAMED, ChatRequest
from proxy.conversation.session_id import identify
from proxy.prompts.miss_report import Outlook, Prompts
from tests.proxy.prompts.loops import SEARCH, SESSION, SYSTEM, Server, call_copy, call_text, load

ASK = Message.of(Role.user, "Find all parts.")
RESULT = Message.of(Role.tool, "found", call_id="call_1", name="search_files")
OPENING = (Message.of(Role.system, SYSTEM), ASK)
HISTORY = (*OPENING, call_copy(1), RESULT)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> ChatTemplate:
    return load(tmp_path_factory.mktemp("plain"))


def asked(*messages: Message, **fields: Any) -> ChatRequest:
    return ChatRequest("m", messages, **{"tools": (SEARCH,), "session": SESSION, **fields})


CHANGED: dict[str, tuple[ChatRequest, MissCause, int | None]] = {
    "tools_dropped": (asked(*HISTORY, tools=()), MissCause.tools, None),
    "system": (asked(Message.of(Role.system, f"{SYSTEM} Be brief."), *HISTORY[1:]), MissCause.system, 0),
    "question": (asked(OPENING[0], Message.of(Role.user, "Find one."), *HISTORY[2:]), MissCause.edit, 1),
    "repaired": (
        asked(*OPENING, Message.of(Role.assistant), RESULT),
        MissCause.answer,
        2,
    ),
    "answer_dropped": (asked(*OPENING, Message.of(Role.user, "Go on."), call_copy(1)), MissCause.edit, 2),
    "compacted": (asked(OPENING[0], call_copy(1)), MissCause.edit, 1),
}


@pytest.mark.parametrize(("request_", "cause", "message"), CHANGED.values(), ids=CHANGED)
def test_what_changed_is_named(
    template: ChatTemplate, request_: ChatRequest, cause: MissCause, message: int | None
) -> None:
    server = Server(template)
    server.ask(asked(*OPENING), call_text(1))
    server.ask(request_, "Hm.")
    report = server.reports[-1]
    assert (report.cause, report.message) == (cause, message)
    assert report.at is not None
    assert report.before != report.now


def test_a_repaired_call_costs_its_computation_once(template: ChatTemplate) -> None:
    server = Server(template)
    repaired = call_copy(1).with_text("Let me see it.")
    server.ask(asked(*OPENING), call_text(1))
    server.ask(asked(*OPENING, repaired, RESULT), call_text(2))
    server.ask(asked(*OPENING, repaired, RESULT, call_copy(2), RESULT), "Done.")
    assert [one.cause for one in server.reports[1:]] == [MissCause.answer, MissCause.none]
    assert server.spliced == [0, 0, 1]


def test_branches_of_one_session_each_go_on(template: ChatTemplate) -> None:
    server = Server(template)
    other = (Message.of(Role.system, "Write a title."), ASK)
    server.ask(asked(*OPENING), call_text(1))
    server.ask(asked(*other), "Parts")
    server.ask(asked(*HISTORY), call_text(2))
    server.ask(asked(*other, Message.of(Role.assistant, "Parts"), Message.of(Role.user, "Shorter.")), "P")
    causes = [one.cause for one in server.reports]
    assert causes == [MissCause.cold, MissCause.cold, MissCause.none, MissCause.none]


def test_a_retry_is_no_miss(template: ChatTemplate) -> None:
    server = Server(template)
    for _ in range(3):
        server.ask(asked(*OPENING), call_text(1))
    assert server.causes == {MissCause.none}


def test_a_session_known_by_its_prefix_is_recognised_when_that_changes(template: ChatTemplate) -> None:
    server = Server(template)
    changed = (Message.of(Role.system, "You are another."), *HISTORY[1:])
    for messages in (OPENING, changed):
        request = asked(*messages, session=UNNAMED)
        server.ask(replace(request, session=identify(request)), call_text(1))
    assert (server.reports[-1].cause, server.reports[-1].message) == (MissCause.system, 0)


ENGINE: list[tuple[Outlook, EngineReport, CacheReport]] = [
    (
        Outlook(100, 90, MissCause.none),
        EngineReport(tier="disk", reused=89, total=100, cause="none"),
        CacheReport(89, 100, "disk"),
    ),
    (
        Outlook(100, 90, MissCause.none),
        EngineReport(reused=0, total=100, cause="evicted"),
        CacheReport(0, 100, cause=MissCause.evicted),
    ),
    (
        Outlook(100, 90, MissCause.none),
        EngineReport(reused=80, total=100, cause="boundary"),
        CacheReport(80, 100),
    ),
    (
        Outlook(100, 0, MissCause.cold),
        EngineReport(reused=0, total=100, cause="fingerprint"),
        CacheReport(0, 100, cause=MissCause.fingerprint),
    ),
    (  # the beginning of a first prompt was there: nothing was missed
        Outlook(81, 60, MissCause.cold),
        EngineReport(tier="ram", reused=80, total=81, cause="none"),
        CacheReport(80, 81, "ram"),
    ),
    (
        Outlook(81, 60, MissCause.cold),
        EngineReport(tier="ram", reused=60, total=81, cause="none"),
        CacheReport(60, 81, "ram", MissCause.cold),
    ),
    (
        Outlook(100, 40, MissCause.edit, 2, "a", "b"),
        EngineReport(tier="ram", reused=0, total=100, cause="evicted"),
        CacheReport(0, 100, "ram", MissCause.edit, 40, 2, "a", "b"),
    ),
]


@pytest.mark.parametrize(("outlook", "engine", "report"), ENGINE)
def test_the_engine_is_asked_where_the_request_is_not_to_blame(
    outlook: Outlook, engine: EngineReport, report: CacheReport
) -> None:
    assert outlook.report(engine) == report


def test_what_is_remembered_of_prompts_is_bounded(template: ChatTemplate) -> None:
    prompts = Prompts(template, capacity=300)
    for turn in range(40):
        request = asked(ASK, session=replace(SESSION, id=str(turn % 7)))
        _, seen = prompts.note(request, [turn] * 90)
        prompts.answered(seen, [1] * 10, None)
        assert prompts.tokens <= 400, "the answer that has just come is not refused"


def test_many_short_sessions_are_forgotten_too(template: ChatTemplate) -> None:
    """Each takes kilobytes beside its few tokens: the server of a soak grew by four for every request."""
    prompts = Prompts(template, most=5)
    for turn in range(12):
        prompts.note(asked(ASK, session=replace(SESSION, id=str(turn))), [turn] * 3)
        assert prompts.tokens <= 15
    assert prompts.tokens == 15


def test_long_sessions_take_megabytes_and_then_no_more(template: ChatTemplate) -> None:
    """A server that three long runs filled for hours grew by 18 MiB in each, which were its sessions."""
    prompts = Prompts(template)
    tracemalloc.start()
    try:
        sizes = []
        for first in (0, 60):
            for session in range(first, first + 60):
                history = (Message.of(Role.user, f"{session} {turn}") for turn in range(100))
                request = asked(*history, session=replace(SESSION, id=str(session)))
                prompts.note(request, range(session, session + 20_000))
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    full, later = sizes
    assert 4 * prompts.tokens < full < 8 * prompts.tokens, "four bytes a token, and what its messages take"
    assert later < 1.02 * full
    assert full < 8_000_000
