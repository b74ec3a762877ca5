"""The guard over real HTTP, streamed and not: modes, asking again, giving up, and the account of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from proxy.account import Ending
from proxy.chat import GuardMode, Role, ToolMode, Usage
from proxy.errors import BadRequest, UpstreamUnavailable
from proxy.guarding.policy import GiveUp, GuardPolicy, ReaskLimits
from proxy.routes import Limits
from proxy.upstreams.base import UpstreamCall, UpstreamReasoning
from proxy.upstreams.scripted import Script, ScriptedUpstream, Stall
from tests.proxy.attempts import Accounts, Attempts, Seen, ask
from tests.proxy.live import LiveServer, LoopThread, serving
from tests.proxy.requests import CALL, HOPELESS_CALL, SLOPPY_CALL, TOOLS

LISBON = ("get_weather", '{"city": "Lisbon"}')
PORTO_CALL = CALL.replace("Lisbon", "Porto")
UNKNOWN_CALL = CALL.replace("get_weather", "get_wether")
BAD_TYPE_CALL = CALL.replace('"Lisbon"', '"Lisbon", "days": "soon"')
CUT_CALL = CALL[:60]
TIME_CALL = '<tool_call>\n{"name": "get_time", "arguments": {}}\n</tool_call>'
GOOD = UpstreamCall("get_weather", '{"city": "Lisbon"}')
BAD = UpstreamCall("get_weather", '{"days": 2}')
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@dataclass(frozen=True, slots=True)
class Ring:
    """A guarded server, what its upstream plays and was asked, and the accounts it gave."""

    server: LiveServer
    attempts: Attempts
    upstream: ScriptedUpstream
    accounts: Accounts


@pytest.fixture(scope="module")
def thread() -> Iterator[LoopThread]:
    own = LoopThread()
    yield own
    own.close()


def ring(thread: LoopThread, policy: GuardPolicy, limits: Limits | None = None) -> Any:
    attempts, accounts = Attempts(), Accounts()
    upstream = ScriptedUpstream(attempts)
    running = serving(upstream, policy=policy, sinks=(accounts,), thread=thread, limits=limits)
    return running, Ring, (attempts, upstream, accounts)


@pytest.fixture(scope="module")
def full(thread: LoopThread) -> Iterator[Ring]:
    running, make, rest = ring(thread, GuardPolicy(drift=None))
    with running as server:
        yield make(server, *rest)


TURNS: dict[str, tuple[tuple[Any, ...], Seen]] = {
    "clean": ((CALL,), Seen(200, calls=(LISBON,), reason="tool_calls", verdict="clean", attempts=1)),
    "repaired": (
        (SLOPPY_CALL,),
        Seen(200, calls=(LISBON,), reason="tool_calls", verdict="repaired", attempts=1, fixes=1),
    ),
    "asked_again": (
        (HOPELESS_CALL, CALL),
        Seen(200, calls=(LISBON,), reason="tool_calls", verdict="reasked", attempts=2),
    ),
    "text_before_is_kept": (
        (f"One moment. {BAD_TYPE_CALL}", f"Sorry! {CALL}"),
        Seen(200, "One moment. ", "", (LISBON,), "tool_calls", "reasked", 2),
    ),
    "text_behind_is_kept": (
        (f"First. {BAD_TYPE_CALL} Then.", CALL),
        Seen(200, "First.  Then.", "", (LISBON,), "tool_calls", "reasked", 2),
    ),
    "third_time": (
        (HOPELESS_CALL, UNKNOWN_CALL, SLOPPY_CALL),
        Seen(200, calls=(LISBON,), reason="tool_calls", verdict="reasked", attempts=3, fixes=1),
    ),
    "never_right": (
        (HOPELESS_CALL,),
        Seen(200, HOPELESS_CALL, reason="stop", verdict="failed", attempts=3),
    ),
    "cut_off": (
        (CUT_CALL, CALL),
        Seen(200, calls=(LISBON,), reason="tool_calls", verdict="reasked", attempts=2),
    ),
    "the_good_one_is_kept": (
        (f"{PORTO_CALL}\n{BAD_TYPE_CALL}", CALL),
        Seen(
            200,
            calls=(("get_weather", '{"city": "Porto"}'), LISBON),
            reason="tool_calls",
            verdict="reasked",
            attempts=2,
        ),
    ),
    "order_is_kept": (
        (f"{BAD_TYPE_CALL}\n{TIME_CALL}", CALL),
        Seen(200, calls=(LISBON, ("get_time", "{}")), reason="tool_calls", verdict="reasked", attempts=2),
    ),
    "a_kept_call_sent_again_is_one": (
        (f"{BAD_TYPE_CALL}\n{TIME_CALL}", f"{TIME_CALL}\n{CALL}"),
        Seen(200, calls=(LISBON, ("get_time", "{}")), reason="tool_calls", verdict="reasked", attempts=2),
    ),
    "one_after_the_other": (
        (f"{BAD_TYPE_CALL}\n{HOPELESS_CALL}", f"{CALL}\n{BAD_TYPE_CALL}", PORTO_CALL),
        Seen(
            200,
            calls=(LISBON, ("get_weather", '{"city": "Porto"}')),
            reason="tool_calls",
            verdict="reasked",
            attempts=3,
        ),
    ),
    "a_further_call_is_not_guessed": (
        (f"{BAD_TYPE_CALL}\n{TIME_CALL}", f"{CALL}\n{PORTO_CALL}"),
        Seen(200, f"{BAD_TYPE_CALL}\n{TIME_CALL}", reason="stop", verdict="failed", attempts=3),
    ),
    "words_where_an_argument_is_missing": (
        (HOPELESS_CALL, "Which city do you mean?"),
        Seen(200, "Which city do you mean?", reason="stop", verdict="reasked", attempts=2),
    ),
    "words_for_a_malformed_call_are_no_answer": (
        (BAD_TYPE_CALL, "I am sorry.", CALL),
        Seen(200, calls=(LISBON,), reason="tool_calls", verdict="reasked", attempts=3),
    ),
    "reasoning_of_the_retry_stays_hidden": (
        (f"<think>hm</think>{HOPELESS_CALL}", f"<think>oh</think>{CALL}"),
        Seen(200, "", "hm", (LISBON,), "tool_calls", "reasked", 2),
    ),
    "structure": ((GOOD,), Seen(200, calls=(LISBON,), reason="tool_calls", verdict="clean", attempts=1)),
    "structure_repaired": (
        (UpstreamCall("get_weather", '{"city": "Lisbon",}'),),
        Seen(200, calls=(LISBON,), reason="tool_calls", verdict="repaired", attempts=1, fixes=1),
    ),
    "structure_asked_again": (
        (BAD, GOOD),
        Seen(200, calls=(LISBON,), reason="tool_calls", verdict="reasked", attempts=2),
    ),
    "structure_incomplete": (
        (UpstreamCall("get_weather", '{"city": "Lis', complete=False), GOOD),
        Seen(200, calls=(LISBON,), reason="tool_calls", verdict="reasked", attempts=2),
    ),
    "structure_one_of_two": (
        (Script((BAD, UpstreamCall("get_time", "{}"))), GOOD),
        Seen(200, calls=(LISBON, ("get_time", "{}")), reason="tool_calls", verdict="reasked", attempts=2),
    ),
    "structure_never_right": (
        (Script(("Let me see.", BAD)),),
        Seen(
            200,
            'Let me see.\n(not executed) get_weather: {"days": 2}',
            reason="stop",
            verdict="failed",
            attempts=3,
        ),
    ),
    "structure_echoed_in_the_text": (
        (Script((CALL, GOOD)),),
        Seen(200, calls=(LISBON,), reason="tool_calls", verdict="repaired", attempts=1, fixes=1),
    ),
    "structure_beside_another_call": (
        (Script((PORTO_CALL, GOOD)), GOOD),
        Seen(200, calls=(LISBON,), reason="tool_calls", verdict="reasked", attempts=2),
    ),
    "structure_with_reasoning": (
        (Script((UpstreamReasoning("hm"), GOOD)),),
        Seen(200, "", "hm", (LISBON,), "tool_calls", "clean", 1),
    ),
    "markup_leaked_from_structure": (
        (BAD_TYPE_CALL, GOOD),
        Seen(200, calls=(LISBON,), reason="tool_calls", verdict="reasked", attempts=2),
    ),
}


@STREAM
@pytest.mark.parametrize("name", TURNS)
def test_turns(full: Ring, name: str, stream: bool) -> None:
    scripts, expected = TURNS[name]
    key = full.attempts.plan(f"{name} {stream}", *scripts)
    seen = ask(full.server, key, stream)
    assert replace(seen, usage={}) == expected
    assert len(full.attempts.asked[key]) == seen.attempts
    assert all(played.closed for played in full.upstream.played)


def test_the_fork_names_what_was_wrong(full: Ring) -> None:
    key = full.attempts.plan("fork", f"Let me see. {BAD_TYPE_CALL}", CALL)
    ask(full.server, key, False, temperature=0.9, seed=7)
    first, second = full.attempts.asked[key]
    assert second.messages[: len(first.messages)] == first.messages
    attempt, correction = second.messages[len(first.messages) :]
    assert (attempt.role, attempt.text) == (Role.assistant, f"Let me see. {BAD_TYPE_CALL}")
    assert correction.role is Role.user
    for words in ("get_weather", "/days", "(type)", '"soon"', '"integer"'):
        assert words in correction.text
    assert (second.tool_choice.mode, second.tool_choice.name) == (ToolMode.named, "get_weather")
    assert second.sampling.temperature == 0.3
    assert second.sampling.seed == 7
    assert (first.constrained, second.constrained) == (False, True)
    assert not second.parallel_tool_calls


def test_structured_attempts_get_their_answer_as_results(full: Ring) -> None:
    key = full.attempts.plan("results", Script((BAD, UpstreamCall("get_time", "{}"))), GOOD)
    ask(full.server, key, False)
    call, bad, good = full.attempts.asked[key][1].messages[1:]
    assert [one.name for one in call.calls] == ["get_weather", "get_time"]
    assert [bad.call_id, good.call_id] == [one.id for one in call.calls]
    assert '"city" is a required property' in bad.text
    assert "right" in good.text


def test_the_fork_grows_and_cools(full: Ring) -> None:
    key = full.attempts.plan("grows", BAD_TYPE_CALL)
    ask(full.server, key, False)
    asked = full.attempts.asked[key]
    assert [len(one.messages) for one in asked] == [1, 3, 5]
    assert [one.sampling.temperature for one in asked] == [None, 0.3, 0.0]


@pytest.mark.parametrize("choice", ["required", "auto"])
def test_a_required_call_that_does_not_come(full: Ring, choice: str) -> None:
    key = full.attempts.plan(f"required {choice}", "Hello.", CALL)
    seen = ask(full.server, key, True, tool_choice=choice)
    assert seen.verdict == ("reasked" if choice == "required" else "none")
    assert seen.content == "Hello."
    assert bool(seen.calls) == (choice == "required")


def test_no_call_is_wanted(full: Ring) -> None:
    key = full.attempts.plan("none", Script(("Hi.", BAD)))
    seen = ask(full.server, key, True, tool_choice="none")
    assert (seen.verdict, seen.attempts, seen.calls) == ("none", 1, ())
    assert seen.content == 'Hi.\n(not executed) get_weather: {"days": 2}'


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


@STREAM
@pytest.mark.parametrize("mode", GuardMode)
@pytest.mark.parametrize(
    "text", [CALL, SLOPPY_CALL, HOPELESS_CALL, "Hello."], ids=["clean", "sloppy", "hopeless", "prose"]
)
def test_modes_by_header(full: Ring, mode: GuardMode, text: str, stream: bool) -> None:
    key = full.attempts.plan(f"mode {mode} {text} {stream}", text, CALL)
    seen = ask(full.server, key, stream, {"x-fortieth-guard": mode.value.upper()})
    asked = full.attempts.asked[key]
    reasks = mode in (GuardMode.full, GuardMode.constrain)
    assert len(asked) == (2 if reasks and text == HOPELESS_CALL else 1)
    assert asked[0].constrained == (mode is GuardMode.constrain)
    would = {CALL: "clean", SLOPPY_CALL: "repaired", HOPELESS_CALL: "reasked", "Hello.": "none"}[text]
    if mode is GuardMode.repair and text == HOPELESS_CALL:
        would = "failed"
    if mode is GuardMode.off:
        would = {SLOPPY_CALL: "none", HOPELESS_CALL: "clean"}.get(text, would)
    assert seen.verdict == would
    if mode in (GuardMode.off, GuardMode.observe):
        off = ask(full.server, full.attempts.plan(key + "off", text), stream, {"x-fortieth-guard": "off"})
        assert (seen.content, seen.calls, seen.reason) == (off.content, off.calls, off.reason)
        assert bool(seen.calls) == (text in (CALL, HOPELESS_CALL)), "nothing repaired, nothing refused"
    account = next(one for one in reversed(full.accounts.kept) if one.mode is mode)
    assert account.verdict == would
    if text == HOPELESS_CALL and mode in (GuardMode.observe, GuardMode.repair):
        assert [problem.rule for problem in account.problems] == ["required"]


def test_a_mode_that_does_not_exist(full: Ring) -> None:
    seen = ask(full.server, full.attempts.plan("which mode", CALL), False, {"x-fortieth-guard": "maximal"})
    assert seen.status == 400
    assert "off, observe, repair, full, constrain" in seen.error["message"]


def test_a_mode_per_model(thread: LoopThread) -> None:
    running, make, rest = ring(thread, GuardPolicy(models={"scripted": GuardMode.repair}))
    with running as server:
        stage = make(server, *rest)
        for model in ("scripted", "default", ""):
            key = stage.attempts.plan(f"model {model}", HOPELESS_CALL, CALL)
            assert ask(server, key, False, model=model).attempts == 1
        key = stage.attempts.plan("header first", HOPELESS_CALL, CALL)
        assert ask(server, key, False, {"x-fortieth-guard": "full"}).attempts == 2


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
    running, make, rest = ring(thread, GuardPolicy(give_up=how))
    with running as server:
        stage = make(server, *rest)
        seen = ask(server, stage.attempts.plan("x", f"Hm. {call}"), stream)
        expected = GIVEN_UP[how, call]
        assert (seen.content, seen.calls, seen.reason) == (expected.content, expected.calls, expected.reason)
        assert (seen.verdict, seen.attempts) == ("failed", 3)


@STREAM
def test_giving_up_with_an_error(thread: LoopThread, stream: bool) -> None:
    running, make, rest = ring(thread, GuardPolicy(give_up=GiveUp.error))
    with running as server:
        stage = make(server, *rest)
        seen = ask(server, stage.attempts.plan("x", f"Hm. {HOPELESS_CALL}"), stream)
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
    running, make, rest = ring(thread, GuardPolicy(reask=limits))
    with running as server:
        stage = make(server, *rest)
        seen = ask(server, stage.attempts.plan("x", HOPELESS_CALL, slow), stream)
        assert (seen.verdict, seen.content) == ("failed", HOPELESS_CALL)
        assert len(stage.attempts.asked["x"]) == (1 if limits.attempts == 0 else 2)
        assert all(played.closed for played in stage.upstream.played)


def test_a_client_waiting_for_another_attempt_sees_data(thread: LoopThread) -> None:
    limits = Limits(keep_alive_s=0.05)
    running, make, rest = ring(thread, GuardPolicy(), limits)
    with running as server:
        stage = make(server, *rest)
        stage.attempts.plan("wait", HOPELESS_CALL, Script((Stall(0.4), CALL)))
        url = server.base_url + "/chat/completions"
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


def test_the_account_tells_everything(full: Ring) -> None:
    key = full.attempts.plan("account", f"Hm. {HOPELESS_CALL}", SLOPPY_CALL)
    ask(full.server, key, True, {"x-request-id": "r-1", "session-id": "s-1"})
    account = full.accounts.kept[-1]
    assert (account.request_id, account.session, account.model) == ("r-1", "s-1", "scripted")
    assert (account.verdict, account.ending, account.reason) == ("reasked", Ending.finished, "tool_calls")
    assert (account.turn, account.mode, account.stream, account.calls) == (1, GuardMode.full, True, 1)
    first, second = account.attempts
    assert [problem.rule for problem in first.problems] == ["required"]
    assert [fix.kind for fix in second.fixes] == ["trailing_comma"]
    assert account.fixes == second.fixes
    assert account.usage.completion_tokens == 2
    times = account.timings
    assert times.first is not None
    assert times.judged is not None
    assert 0 < times.admitted <= times.first <= times.judged <= times.judged + times.reasking <= times.total


def test_a_refused_request_has_an_account(full: Ring) -> None:
    key = full.attempts.plan("refused", Script((), refusal=UpstreamUnavailable("no model")))
    assert ask(full.server, key, False).status == 503
    account = full.accounts.kept[-1]
    assert (account.ending, account.error, account.attempts) == (Ending.failed, "no model", ())


def test_a_drifting_session_is_constrained_for_a_while(thread: LoopThread) -> None:
    running, make, rest = ring(thread, GuardPolicy())
    with running as server:
        stage = make(server, *rest)
        bad = stage.attempts.plan("bad", SLOPPY_CALL)
        good = stage.attempts.plan("good", CALL)
        prose = stage.attempts.plan("prose", "Hello.")

        def turn(key: str, session: str) -> bool:
            ask(server, key, False, {"session-id": session})
            return bool(stage.attempts.asked[key][-1].constrained)

        assert [turn(bad, "a") for _ in range(4)] == [False, False, False, True]
        assert stage.accounts.kept[-1].drifted
        assert not turn(good, "b"), "another session"
        assert turn(prose, "a"), "a turn without calls says nothing"
        assert [turn(good, "a") for _ in range(6)] == [True] * 5 + [False]
        assert not stage.accounts.kept[-1].drifted
        observed = {"session-id": "a", "x-fortieth-guard": "repair"}
        for _ in range(3):
            ask(server, bad, False, observed)
        assert not stage.attempts.asked[bad][-1].constrained, "only where the model may be asked again"


@pytest.mark.parametrize(
    ("headers", "fields", "session"),
    [
        ({"x-claude-code-session-id": "s", "x-claude-code-agent-id": "sub"}, {}, "s/sub"),
        ({"session_id": "s"}, {"prompt_cache_key": "p"}, "s"),
        ({"x-session-affinity": "s"}, {}, "s"),
        ({}, {"prompt_cache_key": "p", "user": "u"}, "p"),
        ({}, {"metadata": {"user_id": '{"session_id": "m"}'}}, "m"),
        ({}, {"metadata": {"user_id": "plain"}}, "plain"),
        ({}, {"user": "u"}, "u"),
        ({}, {"user": 7, "metadata": "x"}, None),
    ],
)
def test_the_session_of_a_request(
    full: Ring, headers: dict[str, str], fields: dict[str, Any], session: str | None
) -> None:
    key = full.attempts.plan("session", CALL)
    assert ask(full.server, key, False, headers, **fields).status == 200
    own = full.accounts.kept[-1].session
    assert own == session if session else len(own) == 32


def test_without_a_name_the_beginning_is_the_session(full: Ring) -> None:
    key = full.attempts.plan("beginning", CALL)
    first = {"role": "user", "content": key}
    later = [first, {"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]
    sessions = []
    for messages in ([first], later, [{"role": "system", "content": "x"}, first]):
        ask(full.server, key, False, messages=messages)
        sessions.append(full.accounts.kept[-1].session)
    assert sessions[0] == sessions[1] != sessions[2]
    assert [account.turn for account in full.accounts.kept[-3:]] == [1, 2, 1]
