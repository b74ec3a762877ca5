"""Modes, drifting sessions, and the account that each request ends in."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.conversation.errors import UpstreamUnavailable
from proxy.conversation.verdict import GuardMode
from proxy.guard.policy import GuardPolicy
from proxy.records.request_record import Ending
from proxy.upstreams.scripted import Script
from tests.proxy.attempts import Ring, ask, ring
from tests.proxy.live import LoopThread
from tests.proxy.requests import CALL, HOPELESS_CALL, SLOPPY_CALL

STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


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
        would = "unjudged"
    assert seen.verdict == would
    if mode in (GuardMode.off, GuardMode.observe):
        off = ask(full.server, full.attempts.plan(key + "off", text), stream, {"x-fortieth-guard": "off"})
        assert (seen.content, seen.calls, seen.reason) == (off.content, off.calls, off.reason)
        assert bool(seen.calls) == (text in (CALL, HOPELESS_CALL)), "nothing repaired, nothing refused"
    account = next(one for one in reversed(full.accounts.kept) if one.mode is mode)
    assert account.verdict == would
    assert (account.attempts[0].verdict is None) == (mode is GuardMode.off), "nothing was judged"
    if text == HOPELESS_CALL and mode in (GuardMode.observe, GuardMode.repair):
        assert [problem.rule for problem in account.problems] == ["required"]


def test_a_mode_that_does_not_exist(full: Ring) -> None:
    seen = ask(full.server, full.attempts.plan("which mode", CALL), False, {"x-fortieth-guard": "maximal"})
    assert seen.status == 400
    assert "off, observe, repair, full, constrain" in seen.error["message"]


def test_a_mode_per_model(thread: LoopThread) -> None:
    with ring(GuardPolicy(models={"scripted": GuardMode.repair}), thread=thread) as stage:
        for model in ("scripted", "default", ""):
            key = stage.attempts.plan(f"model {model}", HOPELESS_CALL, CALL)
            assert ask(stage.server, key, False, model=model).attempts == 1
        key = stage.attempts.plan("header first", HOPELESS_CALL, CALL)
        assert ask(stage.server, key, False, {"x-fortieth-guard": "full"}).attempts == 2


def test_the_account_tells_everything(full: Ring) -> None:
    key = full.attempts.plan("account", f"Hm.\n{HOPELESS_CALL}", SLOPPY_CALL)
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


def test_a_turn_of_calls_alone_tells_when_they_were_sent(full: Ring) -> None:
    key = full.attempts.plan("calls alone", CALL)
    ask(full.server, key, False)
    times = full.accounts.kept[-1].timings
    assert times.judged is not None
    assert times.first is not None
    assert times.judged <= times.first <= times.total


def test_a_refused_request_has_an_account(full: Ring) -> None:
    key = full.attempts.plan("refused", Script((), refusal=UpstreamUnavailable("no model")))
    assert ask(full.server, key, False).status == 503
    account = full.accounts.kept[-1]
    assert (account.ending, account.error, account.attempts) == (Ending.failed, "no model", ())


def test_a_drifting_session_is_constrained_for_a_while(thread: LoopThread) -> None:
    with ring(GuardPolicy(), thread=thread) as stage:
        bad = stage.attempts.plan("bad", SLOPPY_CALL)
        good = stage.attempts.plan("good", CALL)
        prose = stage.attempts.plan("prose", "Hello.")

        def turn(key: str, session: str) -> bool:
            ask(stage.server, key, False, {"session-id": session})
            return bool(stage.attempts.asked[key][-1].constrained)

        assert [turn(bad, "a") for _ in range(4)] == [False, False, False, True]
        assert stage.accounts.kept[-1].drifted
        assert not turn(good, "b"), "another session"
        assert turn(prose, "a"), "a turn without calls says nothing"
        assert [turn(good, "a") for _ in range(6)] == [True] * 5 + [False]
        assert not stage.accounts.kept[-1].drifted
        observed = {"session-id": "a", "x-fortieth-guard": "repair"}
        for _ in range(3):
            ask(stage.server, bad, False, observed)
        assert not stage.attempts.asked[bad][-1].constrained, "only where the model may be asked again"


@pytest.mark.parametrize(
    ("headers", "fields", "session"),
    [
        ({"x-claude-code-session-id": "s", "x-claude-code-agent-id": "sub"}, {}, "s/sub"),
        ({"session_id": "s"}, {"prompt_cache_key": "p"}, "s"),
        ({"x-session-affinity": "s"}, {}, "s"),
        ({}, {"prompt_cache_key": "p", "user": "u"}, "p"),
        ({}, {"metadata": {"user_id": '{"session_id": "m"}'}}, "m"),
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
