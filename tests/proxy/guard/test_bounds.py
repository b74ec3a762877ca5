"""Asking again within bounds, and giving up: limits of tokens and time, trouble upstream, clients that go."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest

from proxy.conversation.errors import BadRequest, UpstreamUnavailable
from proxy.conversation.events import Usage
from proxy.conversation.verdict import GiveUp
from proxy.guard.policy import GuardPolicy, ReaskLimits
from proxy.http.routes import Limits
from proxy.records.request_record import Ending
from proxy.upstreams.base import UpstreamCall
from proxy.upstreams.scripted import Script, Stall
from tests.proxy.attempts import Ring, ask, ring
from tests.proxy.live import LoopThread
from tests.proxy.requests import BAD_TYPE_CALL, CALL, CUT_CALL, HOPELESS_CALL, LISBON, SLOPPY_CALL, TOOLS


def fits(call: tuple[str, Any]) -> bool:
    return call[0] == "get_weather" and set(call[1]) == {"city"}


STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def test_usage_counts_every_attempt(full: Ring) -> None:
    key = full.attempts.plan(
        "usage",
        Script(("Hm.\n", HOPELESS_CALL), usage=Usage(prompt_tokens=10, cached_tokens=2)),
        Script((CALL,), usage=Usage(prompt_tokens=30, cached_tokens=9)),
    )
    usage = ask(full.server, key, True).usage
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (40, 3, 43)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 11


PIECES = ("a ", "b ", "c\n")  # a token each


@STREAM
@pytest.mark.parametrize(
    ("limit", "attempts", "room"), [(20, 3, 17), (4, 3, 1), (3, 1, None), (None, 3, 1024)]
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
    key = full.attempts.plan(f"cut {limit} {stream}", Script(("Hm.\n", CUT_CALL), finish="length"), CALL)
    seen = ask(full.server, key, stream, max_tokens=limit)
    asked = full.attempts.asked[key]
    if second is None:
        assert (seen.verdict, seen.reason, seen.attempts) == ("failed", "length", 1)
        assert seen.content == "Hm.\n" + CUT_CALL
    else:
        assert (seen.verdict, seen.reason, seen.calls) == ("reasked", "tool_calls", (LISBON,))
        assert asked[1].sampling.max_tokens == second


def test_a_later_attempt_that_runs_away_is_one_that_failed(full: Ring) -> None:
    runaway = Script((*PIECES, CUT_CALL), finish="length")
    key = full.attempts.plan("runs away", Script((BAD_TYPE_CALL,)), runaway, CALL)
    seen = ask(full.server, key, False, max_tokens=4)
    assert (seen.verdict, seen.attempts, seen.calls) == ("reasked", 3, (LISBON,))
    assert [one.sampling.max_tokens for one in full.attempts.asked[key]] == [4, 4, 4]


UNDECLARED_CALL = CALL.replace("get_weather", "get_moon")
UNQUOTED_CALL = HOPELESS_CALL.replace("2", "two")
TWO_KEYS_CALL = HOPELESS_CALL.replace('"days": 2', '"days": 2, "days": 3')
OTHER_CASE_CALL = HOPELESS_CALL.replace("get_weather", "Get_Weather")
# how, what the model emits again and again, what the client gets as calls; none is text
GIVEN_UP = {
    "text": (GiveUp.text, HOPELESS_CALL, ()),
    "passthrough": (GiveUp.passthrough, HOPELESS_CALL, (("get_weather", {"days": 2}),)),
    "passthrough_cut": (GiveUp.passthrough, CUT_CALL, ()),
    "client": (GiveUp.client, HOPELESS_CALL, (("get_weather", {"days": 2}),)),
    "client_name_in_another_case": (GiveUp.client, OTHER_CASE_CALL, (("get_weather", {"days": 2}),)),
    "client_with_a_right_one": (
        GiveUp.client,
        f"{SLOPPY_CALL}\n{HOPELESS_CALL}",
        (("get_weather", {"city": "Lisbon"}), ("get_weather", {"days": 2})),
    ),
    "client_cut": (GiveUp.client, CUT_CALL, ()),
    "client_undeclared": (GiveUp.client, UNDECLARED_CALL, (("get_moon", {"not_executed": LISBON[1]}),)),
    "client_no_json": (GiveUp.client, UNQUOTED_CALL, (("get_weather", {"not_executed": '{"days": two}'}),)),
    "client_a_key_twice": (
        GiveUp.client,
        TWO_KEYS_CALL,
        (("get_weather", {"not_executed": '{"days": 2, "days": 3}'}),),
    ),
    "client_one_undeclared_of_two": (
        GiveUp.client,
        f"{HOPELESS_CALL}\n{UNDECLARED_CALL}",
        (("get_weather", {"days": 2}), ("get_moon", {"not_executed": LISBON[1]})),
    ),
    "client_could_execute_it": (GiveUp.client, UNQUOTED_CALL.replace("get_weather", "get_time"), ()),
    "client_no_name_at_all": (GiveUp.client, UNDECLARED_CALL.replace("get_moon", "get the moon"), ()),
}


@STREAM
@pytest.mark.parametrize(("how", "emitted", "calls"), GIVEN_UP.values(), ids=GIVEN_UP)
def test_giving_up(
    thread: LoopThread, how: GiveUp, emitted: str, calls: tuple[tuple[str, Any], ...], stream: bool
) -> None:
    with ring(GuardPolicy(give_up=how), thread=thread) as stage:
        seen = ask(stage.server, stage.attempts.plan("x", f"Hm.\n{emitted}"), stream)
        assert (seen.verdict, seen.attempts) == ("failed", 3)
        assert tuple((name, json.loads(arguments)) for name, arguments in seen.calls) == calls
        assert seen.reason == ("tool_calls" if calls else "stop")
        assert seen.give_up == (how if calls else "text")
        account = stage.accounts.kept[-1]
        assert account.given_up == seen.give_up
        assert (account.invalid, account.handed_over) == (0, sum(not fits(call) for call in calls))
        if calls:
            assert seen.content.strip() == "Hm."
        else:
            assert seen.content == f"Hm.\n{emitted}", "nothing of the model's own text is lost"
            assert "The model was asked 3 times and made no call" in seen.told


# arguments, the upstream's finish, and what the client gets as arguments; None is text
STRUCTURES = {
    "sound": ('{"days": 2}', "stop", {"days": 2}),
    "no_object": ("[2]", "stop", {"not_executed": "[2]"}),
    "no_json": ('{"days": two}', "stop", {"not_executed": '{"days": two}'}),
    "cut_without_a_word": ('{"days": 2', "stop", {"not_executed": '{"days": 2'}),
    "cut_by_the_limit": ('{"days": 2', "length", None),
}


@STREAM
@pytest.mark.parametrize(("arguments", "finish", "got"), STRUCTURES.values(), ids=STRUCTURES)
def test_the_client_gets_structured_calls_so_that_it_must_refuse_them(
    thread: LoopThread, arguments: str, finish: str, got: Any, stream: bool
) -> None:
    with ring(GuardPolicy(give_up=GiveUp.client), thread=thread) as stage:
        key = stage.attempts.plan("x", Script(("Hm.", UpstreamCall("get_weather", arguments)), finish))
        seen = ask(stage.server, key, stream)
        call = got is not None
        assert (seen.verdict, len(seen.calls)) == ("failed", call)
        assert [json.loads(arguments) for _, arguments in seen.calls] == ([got] if call else [])
        assert seen.give_up == ("client" if call else "text")
        assert seen.content.startswith(
            "Hm." if call else f"Hm.\n[The call of get_weather was not executed: {arguments}]"
        )


@STREAM
@pytest.mark.parametrize("how", GiveUp)
def test_a_request_says_how_it_is_given_up(full: Ring, how: GiveUp, stream: bool) -> None:
    key = full.attempts.plan(f"by header {how} {stream}", HOPELESS_CALL)
    seen = ask(full.server, key, stream, {"x-fortieth-give-up": how.value.upper()})
    if how is GiveUp.error:
        assert seen.error["code"] == "tool_call_failed"
    else:
        assert seen.give_up == how
        assert bool(seen.calls) == (how is not GiveUp.text)


def test_a_way_of_giving_up_that_does_not_exist(full: Ring) -> None:
    key = full.attempts.plan("which way", CALL)
    seen = ask(full.server, key, False, {"x-fortieth-give-up": "loudly"})
    assert (seen.status, seen.error["param"]) == (400, "x-fortieth-give-up")
    assert "text, error, client, passthrough" in seen.error["message"]


def test_a_call_that_goes_too_far_round_is_never_handed_over(full: Ring) -> None:
    history = [
        {"role": "user", "content": "round"},
        *(
            message
            for i in range(4)
            for message in (
                {
                    "role": "assistant",
                    "tool_calls": [
                        {
                            "id": f"c{i}",
                            "type": "function",
                            "function": {"name": LISBON[0], "arguments": LISBON[1]},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": f"c{i}", "content": "rain"},
            )
        ),
    ]
    full.attempts.plan("round", CALL)
    seen = ask(full.server, "round", False, {"x-fortieth-give-up": "client"}, messages=history)
    assert (seen.verdict, seen.calls, seen.give_up) == ("failed", (), "text")
    assert "Stopped:" in seen.content


@STREAM
def test_giving_up_with_an_error(thread: LoopThread, stream: bool) -> None:
    with ring(GuardPolicy(give_up=GiveUp.error), thread=thread) as stage:
        seen = ask(stage.server, stage.attempts.plan("x", f"Hm.\n{HOPELESS_CALL}"), stream)
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
    refused = isinstance(trouble.refusal, BadRequest)
    assert len(full.attempts.asked[key]) == 2 + refused, "without what was added to it, too"
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
    with ring(GuardPolicy(reask=limits, give_up=GiveUp.text), thread=thread) as stage:
        seen = ask(stage.server, stage.attempts.plan("x", HOPELESS_CALL, slow), stream)
        assert (seen.verdict, seen.content) == ("failed", HOPELESS_CALL)
        assert len(stage.attempts.asked["x"]) == (1 if limits.attempts == 0 else 2)
        assert all(played.closed for played in stage.upstream.played)


@STREAM
@pytest.mark.parametrize(
    ("slow", "verdict"),
    [
        (Script((CALL[:20], Stall(1.2), CALL[20:])), "reasked"),
        (Script((CALL[:20], Stall(30), CALL[20:])), "failed"),
        (Script((HOPELESS_CALL[:20], Stall(1.2), HOPELESS_CALL[20:])), "failed"),
        (Script((Stall(1.2), CALL)), "failed"),
    ],
    ids=["written", "never_ends", "refused", "not_begun"],
)
def test_what_is_being_written_when_time_is_over_may_end(
    thread: LoopThread, slow: Script, verdict: str, stream: bool
) -> None:
    limits = ReaskLimits(attempts=5, seconds=1.0)
    with ring(GuardPolicy(reask=limits, give_up=GiveUp.text), thread=thread) as stage:
        seen = ask(stage.server, stage.attempts.plan("x", HOPELESS_CALL, slow, CALL), stream)
        assert seen.verdict == verdict
        assert len(stage.attempts.asked["x"]) == 2, "nothing is asked for when the time is over"


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
