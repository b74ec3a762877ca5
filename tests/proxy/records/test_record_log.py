"""What the log says of each request: at which level, and in which words, none of them the model's."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from proxy.conversation.verdict import GiveUp, GuardMode, Verdict
from proxy.guard.policy import GuardPolicy
from proxy.records.record_log import needs_attention, request_line
from proxy.records.request_record import AttemptRecord, Ending, RequestRecord
from proxy.upstreams.scripted import Script
from repair.types import Fix, FixKind, Problem
from repair.types import Verdict as TurnVerdict
from tests.proxy.attempts import Ring, ask, ring
from tests.proxy.live import LoopThread
from tests.proxy.records.test_ledger import ACCOUNT, FIX, PROBLEM
from tests.proxy.requests import CALL, HOPELESS_CALL, SLOPPY_CALL

REFUSED = AttemptRecord(TurnVerdict.reask, (), (PROBLEM,), tools=("get_weather",))
PLAIN = replace(
    ACCOUNT,
    verdict=Verdict.clean,
    attempts=(AttemptRecord(TurnVerdict.clean, tools=("get_weather",)),),
    fixes=(),
    problems=(),
)
ABOUT = "model m, session s, turn 3"
# a request's record -> whether the terminal shows it without being asked, and how
LINES: dict[str, tuple[RequestRecord, bool, str]] = {
    "clean": (PLAIN, False, f"valid as emitted: {ABOUT}, tool get_weather (1 call, 500 ms)"),
    "no call": (
        replace(PLAIN, verdict=Verdict.none, calls=0, attempts=(AttemptRecord(TurnVerdict.none),)),
        False,
        f"no call: {ABOUT} (500 ms)",
    ),
    "unjudged": (
        replace(PLAIN, verdict=Verdict.unjudged, mode=GuardMode.off),
        False,
        f"not judged: {ABOUT}, tool get_weather (1 call, 500 ms)",
    ),
    "repaired": (
        replace(
            PLAIN, verdict=Verdict.repaired, fixes=(FIX, replace(FIX, kind=FixKind.trailing_comma, path=""))
        ),
        True,
        f"repaired: {ABOUT}, tool get_weather: to_number at /days; trailing_comma (1 call, 500 ms)",
    ),
    "observed": (
        replace(PLAIN, verdict=Verdict.repaired, fixes=(FIX,), mode=GuardMode.observe),
        True,
        f"would have been repaired: {ABOUT}, tool get_weather: to_number at /days (1 call, 500 ms)",
    ),
    "asked again": (
        replace(PLAIN, verdict=Verdict.reasked, attempts=(REFUSED, *PLAIN.attempts)),
        True,
        f"asked again: {ABOUT}, tool get_weather: type at /city (1 call, 2 attempts, 500 ms)",
    ),
    "not saved": (
        replace(
            PLAIN,
            verdict=Verdict.failed,
            calls=0,
            given_up=GiveUp.text,
            problems=(PROBLEM,),
            attempts=(REFUSED,),
        ),
        True,
        f"not saved: {ABOUT}, tool get_weather: type at /city (the client got the model's text, 500 ms)",
    ),
    "failed": (
        replace(PLAIN, ending=Ending.failed, calls=0, attempts=(), error="no\nmodel"),
        True,
        f"failed: {ABOUT}: no model (500 ms)",
    ),
    "stopped": (
        replace(
            PLAIN, verdict=Verdict.none, calls=0, attempts=(AttemptRecord(TurnVerdict.none, repeated=True),)
        ),
        True,
        f"no call: {ABOUT} (1 attempt stopped for repetition, 500 ms)",
    ),
    "gone": (
        replace(PLAIN, ending=Ending.abandoned, verdict=Verdict.none, calls=0),
        False,
        f"the client went away: {ABOUT}, tool get_weather (500 ms)",
    ),
    "many places": (
        replace(PLAIN, verdict=Verdict.repaired, fixes=tuple(replace(FIX, path=f"/{i}") for i in range(9))),
        True,
        f"repaired: {ABOUT}, tool get_weather: "
        + "; ".join(f"to_number at /{i}" for i in range(6))
        + "; and 3 more (1 call, 500 ms)",
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_a_line_for_each_kind_of_request(name: str) -> None:
    account, shown, line = LINES[name]
    assert request_line(account) == line
    assert needs_attention(account) is shown


def test_a_name_cannot_begin_a_line_of_its_own() -> None:
    account = replace(PLAIN, session="s\n2026-01-01 ERROR \x1b[31m" + "x" * 500)
    line = request_line(account)
    assert line.isprintable()
    assert len(line) < 400


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    return [(one.levelno, one.getMessage()) for one in caplog.records if one.name.endswith(".record_log")]


def test_the_log_of_a_server(thread: LoopThread, caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.INFO, "proxy.records.record_log"),
        ring(GuardPolicy(), thread=thread) as stage,
    ):
        for key, scripts in (
            ("clean", (CALL,)),
            ("fixed", (SLOPPY_CALL,)),
            ("saved", (HOPELESS_CALL, CALL)),
            ("lost", (HOPELESS_CALL,)),
            ("broken", (Script((ZeroDivisionError("a defect"),)),)),
        ):
            ask(stage.server, stage.attempts.plan(key, *scripts), False, {"session-id": f"s-{key}"})
    found = lines(caplog)
    begun = [(level, line.split(": model scripted")[0]) for level, line in found]
    assert begun[:4] == [
        (logging.INFO, "valid as emitted"),
        (logging.WARNING, "repaired"),
        (logging.WARNING, "asked again"),
        (logging.WARNING, "not saved"),
    ]
    assert all("tool get_weather" in line for _, line in found[:4])
    assert [
        f"session s-{key}" in line for key, (_, line) in zip(("clean", "fixed"), found, strict=False)
    ] == [True] * 2
    assert "trailing_comma" in found[1][1]
    assert ": required (" in found[2][1]
    assert begun[4] == (logging.WARNING, "failed"), "a defect is not taken for a client that went away"


def test_a_tool_that_was_not_declared_is_not_named(full: Ring, caplog: pytest.LogCaptureFixture) -> None:
    call = CALL.replace("get_weather", "launch_rockets")
    with caplog.at_level(logging.INFO, "proxy.records.record_log"):
        for mode in ("off", "observe", "repair"):
            key = full.attempts.plan(f"undeclared {mode}", call)
            ask(full.server, key, False, {"x-fortieth-guard": mode})
    assert len(lines(caplog)) == 3
    assert "rockets" not in caplog.text
    assert "unknown_tool" in lines(caplog)[2][1]


def test_problems_of_several_attempts_are_named_once() -> None:
    other = AttemptRecord(TurnVerdict.reask, (), (PROBLEM, Problem("/days", "type", "x")))
    account = replace(
        PLAIN, verdict=Verdict.reasked, attempts=(REFUSED, other), fixes=(Fix(FixKind.echo, "", "", ""),)
    )
    assert ": type at /city; type at /days; echo (" in request_line(account)
