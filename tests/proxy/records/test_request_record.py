"""How requests end in their accounts, and what /metrics says of the guard."""

from __future__ import annotations

import time
from typing import Any

import pytest

from proxy.guard.policy import GuardPolicy
from proxy.http.routes import Limits
from proxy.records.request_record import Ending
from proxy.upstreams.scripted import Script, Stall
from tests.proxy.attempts import Accounts, Attempts, Ring, ask, ring
from tests.proxy.live import LoopThread
from tests.proxy.records.test_metrics import MODEL, scrape
from tests.proxy.requests import CALL, HOPELESS_CALL, LISBON, SLOPPY_CALL

STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@STREAM
def test_an_empty_answer_is_handed_on_and_noted(full: Ring, stream: bool) -> None:
    key = full.attempts.plan(f"empty {stream}", Script(()), CALL)
    seen = ask(full.server, key, stream)
    assert (seen.content, seen.calls, seen.reason, seen.verdict) == ("", (), "stop", "none")
    assert full.accounts.kept[-1].empty
    key = full.attempts.plan(f"empty without tools {stream}", Script(()))
    ask(full.server, key, stream, tools=[])
    assert not full.accounts.kept[-1].empty


@STREAM
@pytest.mark.parametrize(
    "choice",
    ["required", {"type": "function", "function": {"name": "get_weather"}}],
    ids=["required", "named"],
)
def test_an_empty_answer_where_a_call_was_due_is_asked_for_again(
    full: Ring, choice: Any, stream: bool
) -> None:
    key = full.attempts.plan(f"due {choice} {stream}", Script(()), CALL)
    seen = ask(full.server, key, stream, tool_choice=choice)
    assert (seen.calls, seen.verdict, seen.attempts) == ((LISBON,), "reasked", 2)
    assert full.accounts.kept[-1].attempts[0].problems[0].rule == "call_required"


@STREAM
@pytest.mark.parametrize("admitted", [True, False], ids=["answering", "before"])
def test_a_request_whose_time_is_up_has_failed(thread: LoopThread, admitted: bool, stream: bool) -> None:
    limits = Limits(request_timeout_s=1.0)
    with ring(GuardPolicy(drift=None), limits, thread) as stage:
        slow = Script(("a", Stall(30))) if admitted else Script(("a",), admission=Stall(30))
        ask(stage.server, stage.attempts.plan("slow", slow), stream)
        _wait_for(stage.accounts)
        account = stage.accounts.kept[-1]
    assert (account.ending, account.error) == (Ending.failed, "it took longer than it may")


def _wait_for(accounts: Accounts) -> None:
    until = time.monotonic() + 20
    while not accounts.kept:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_the_metrics_tell_what_the_guard_did(thread: LoopThread) -> None:
    with ring(GuardPolicy(), thread=thread) as stage:
        plans: Attempts = stage.attempts
        turns: list[tuple[str, tuple[Any, ...], dict[str, str] | None]] = [
            ("saved", (HOPELESS_CALL, CALL), None),
            ("lost", (HOPELESS_CALL,), None),
            ("fixed", (SLOPPY_CALL,), None),
            ("empty", (Script(()),), None),
            ("as emitted", (HOPELESS_CALL,), {"x-fortieth-guard": "off"}),
        ]
        for key, scripts, headers in turns:
            ask(stage.server, plans.plan(key, *scripts), False, headers)
        found = scrape(stage.server)

    def at(name: str, **labels: str) -> float | None:
        return found.get((f"fortieth_{name}", tuple(sorted((*labels.items(), MODEL)))))

    assert at("invalid_calls_delivered_total", mode="full") == 0
    assert at("invalid_calls_delivered_total", mode="off") == 1, "the count can rise"
    assert at("reasks_total", verdict="reasked") == 1
    assert at("reasks_total", verdict="failed") == 2
    assert at("problems_total", rule="required") == 1 + 3
    assert at("empty_answers_total") == 1
    assert at("given_up_turns_total", give_up="client") == 1
    assert at("handed_over_calls_total") == 1
    assert at("verdicts_total", verdict="clean") is None, "what nobody judged is not called valid"
    for verdict in ("reasked", "failed", "repaired", "unjudged"):
        assert at("call_turns_total", verdict=verdict, format="auto", from_turn="1") == 1
    assert at("added_latency_seconds_count") == 5
    assert at("unconstrained_call_turns_total", from_turn="1") == 3, "where drift is watched"
    assert at("valid_as_emitted_total", from_turn="1") == 0
    assert found[("fortieth_drifted_sessions", ())] == 0


def test_a_drifted_session_is_shown(thread: LoopThread) -> None:
    with ring(GuardPolicy(), thread=thread) as stage:
        key = stage.attempts.plan("drifting", SLOPPY_CALL)
        for _ in range(3):
            ask(stage.server, key, False, {"session-id": "a"})
        assert scrape(stage.server)[("fortieth_drifted_sessions", ())] == 1
