"""Asking again within bounds, and giving up: limits of tokens and time, trouble upstream, clients that go."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from proxy.account import Ending
from proxy.chat import Usage
from proxy.errors import BadRequest, UpstreamUnavailable
from proxy.guarding.policy import GiveUp, GuardPolicy, ReaskLimits
from proxy.routes import Limits
from proxy.upstreams.scripted import Script, Stall
from tests.proxy.attempts import Ring, Seen, ask, ring
from tests.proxy.live import LoopThread
from tests.proxy.requests import BAD_TYPE_CALL, CALL, CUT_CALL, HOPELESS_CALL, LISBON, TOOLS

STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def test_usage_counts_every_attempt(full: Ring) -> None:
    key = full.attempts.plan(
        "usage",
        Script(("Hm. ", HOPELESS_CALL), usage=Usage(prompt_tokens=10, cached_tokens=2)),
        Script((CALL,), usage=Usage(prompt_tokens=30, cached_tokens=9)),
    )
    usage = ask(full.server, key, True).usage
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (40, 3, 43)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 11


PIECES = ("a ", "b ", "c ")  # a token each


@STREAM
@pytest.mark.parametrize(
    ("limit", "attempts", "room"), [(20, 3, 17), (4, 3, 1), (3, 1, None), (None, 3, None)]
)
def test_the_clients_limit_holds_for_what_it_receives(
    full: Ring, limit: int | None, attempts: int, room: int | None, stream: bool
) -> None:
    key = full.attempts.plan(f"limit {limit} {stream}", Script((*PIECES, BAD_TYPE_CALL)))
    seen = ask(full.server, key, stream, max_tokens=limit)
    asked = full.attempts.asked[key]
    assert seen.verdict == "failed"
    assert len(asked) == attempts
    assert [one.sampling.max_tokens for one in asked[1:]] == [room] * (attempts - 1)


@STREAM
@pytest.mark.parametrize(
    ("limit", "second"), [(None, 1024), (400, 399), (2, None)], ids=["no_limit", "upstreams_own", "clients"]
)
def test_a_cut_call_gets_more_room_where_there_is_some(
    full: Ring, limit: int | None, second: int | None, stream: bool
) -> None:
    key = full.attempts.plan(f"cut {limit} {stream}", Script(("Hm. ", CUT_CALL), finish="length"), CALL)
    seen = ask(full.server, key, stream, max_tokens=limit)
    asked = full.attempts.asked[key]
    if second is None:
        assert (seen.verdict, seen.reason, seen.attempts) == ("failed", "length", 1)
        assert seen.content == "Hm. " + CUT_CALL
    else:
        assert (seen.verdict, seen.reason, seen.calls) == ("reasked", "tool_calls", (LISBON,))
        assert asked[1].sampling.max_tokens == second


def test_a_later_attempt_that_runs_away_is_one_that_failed(full: Ring) -> None:
    runaway = Script((*PIECES, CUT_CALL), finish="length")
    key = full.attempts.plan("runs away", Script((BAD_TYPE_CALL,)), runaway, CALL)
    seen = ask(full.server, key, False, max_tokens=4)
    assert (seen.verdict, seen.attempts, seen.calls) == ("reasked", 3, (LISBON,))
    assert [one.sampling.max_tokens for one in full.attempts.asked[key]] == [4, 4, 4]


GIVEN_UP = {
    (GiveUp.text, HOPELESS_CALL): Seen(200, f"Hm. {HOPELESS_CALL}", reason="stop", verdict="failed"),
    (GiveUp.passthrough, HOPELESS_CALL): Seen(
        200, "Hm. ", calls=(("get_weather", '{"days": 2}'),), reason="tool_calls", verdict="failed"
    ),
    (GiveUp.passthrough, CUT_CALL): Seen(200, f"Hm. {CUT_CALL}", reason="stop", verdict="failed"),
}


@STREAM
@pytest.mark.parametrize(("how", "call"), GIVEN_UP)
def test_giving_up(thread: LoopThread, how: GiveUp, call: str, stream: bool) -> None:
    with ring(GuardPolicy(give_up=how), thread=thread) as stage:
        seen = ask(stage.server, stage.attempts.plan("x", f"Hm. {call}"), stream)
        expected = GIVEN_UP[how, call]
        assert (seen.content, seen.calls, seen.reason) == (expected.content, expected.calls, expected.reason)
        assert (seen.verdict, seen.attempts) == ("failed", 3)


@STREAM
def test_giving_up_with_an_error(thread: LoopThread, stream: bool) -> None:
    with ring(GuardPolicy(give_up=GiveUp.error), thread=thread) as stage:
        seen = ask(stage.server, stage.attempts.plan("x", f"Hm. {HOPELESS_CALL}"), stream)
        assert seen.status == (200 if stream else 502)
        assert seen.error["code"] == "tool_call_failed"
        assert "asked 3 times" in seen.error["message"]
        assert '"city" is a required property' in seen.error["message"]
        assert stage.accounts.kept[-1].ending is Ending.failed


@STREAM
@pytest.mark.parametrize(
    "trouble",
    [
        Script((), refusal=UpstreamUnavailable("gone")),
        Script((), refusal=BadRequest("max_tokens is too large")),
        Script(("<tool", UpstreamUnavailable("died"))),
        Script((CALL,), finish=""),
    ],
    ids=["refused", "bad_request", "dies", "no_finish"],
)
def test_trouble_while_asking_again_is_no_error(full: Ring, trouble: Script, stream: bool) -> None:
    key = full.attempts.plan(f"trouble {stream}", HOPELESS_CALL, trouble)
    seen = ask(full.server, key, stream)
    assert (seen.status, seen.verdict, seen.content, seen.reason) == (200, "failed", HOPELESS_CALL, "stop")
    assert len(full.attempts.asked[key]) == 2
    assert full.accounts.kept[-1].attempts[1].error


@STREAM
@pytest.mark.parametrize(
    ("limits", "slow"),
    [
        (ReaskLimits(attempts=5, seconds=0.05), Script((Stall(30), CALL))),
        (ReaskLimits(attempts=5, seconds=0.05), Script((CALL,), admission=Stall(30))),
        (ReaskLimits(attempts=5, tokens=3), Script(("a", "b", "c", "d", CALL))),
        (ReaskLimits(attempts=0), Script((CALL,))),
    ],
    ids=["deadline", "deadline_of_admission", "tokens", "no_attempts"],
)
def test_bounds_of_asking_again(thread: LoopThread, limits: ReaskLimits, slow: Script, stream: bool) -> None:
    with ring(GuardPolicy(reask=limits), thread=thread) as stage:
        seen = ask(stage.server, stage.attempts.plan("x", HOPELESS_CALL, slow), stream)
        assert (seen.verdict, seen.content) == ("failed", HOPELESS_CALL)
        assert len(stage.attempts.asked["x"]) == (1 if limits.attempts == 0 else 2)
        assert all(played.closed for played in stage.upstream.played)


def test_a_client_waiting_for_another_attempt_sees_data(thread: LoopThread) -> None:
    limits = Limits(keep_alive_s=0.05)
    with ring(GuardPolicy(), limits, thread=thread) as stage:
        stage.attempts.plan("wait", HOPELESS_CALL, Script((Stall(0.4), CALL)))
        url = stage.server.base_url + "/chat/completions"
        body = {"messages": [{"role": "user", "content": "wait"}], "stream": True, "tools": TOOLS}
        lines = [line for line in httpx.post(url, json=body, timeout=60).text.split("\n\n") if line]
        idle = [line for line in lines if '"delta":{"content":""}' in line]
        assert len(idle) >= 3
        assert any("get_weather" in line for line in lines)


@STREAM
def test_a_client_that_goes_away_while_it_is_asked_again(full: Ring, stream: bool) -> None:
    key = full.attempts.plan(f"gone {stream}", HOPELESS_CALL, Script((*(Stall(0.02), "x") * 2000, CALL)))
    body = {"messages": [{"role": "user", "content": key}], "stream": stream, "tools": TOOLS}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(full.server.base_url + "/chat/completions", json=body, timeout=0.3)
    _wait_until(lambda: len(full.attempts.asked[key]) == 2)
    _wait_until(lambda: full.upstream.played[-1].closed)
    assert not full.upstream.played[-1].finished
    _wait_until(lambda: full.accounts.kept[-1].ending is Ending.abandoned)


def _wait_until(true: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
