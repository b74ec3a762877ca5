"""What of the words that models and clients wrote is in a ledger's file, and with ledger_redact none."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.config import EngineConfig
from proxy.conversation.errors import UpstreamUnavailable
from proxy.conversation.verdict import GuardMode
from proxy.guard.policy import GuardPolicy, ReaskLimits
from proxy.records.ledger import Ledger, LedgerLimits, read_entries, to_record
from proxy.records.request_record import Ending
from proxy.upstreams.engine import EngineUpstream
from proxy.upstreams.scripted import Script, ScriptedUpstream, Stall
from tests.engine.tiny import make_model
from tests.proxy.attempts import Accounts, Attempts
from tests.proxy.live import LiveServer, LoopThread, serving
from tests.proxy.requests import CALL, HOPELESS_CALL, TOOLS, user

SECRET = "Xyzzy"
TOOL = {
    "type": "function",
    "function": {
        "name": "open_door",
        "description": f"Opens {SECRET}",
        "parameters": {
            "type": "object",
            "properties": {SECRET: {"type": "integer"}, "word": {"enum": [f"{SECRET} 1", f"{SECRET} 2"]}},
            "required": [SECRET],
            "additionalProperties": False,
        },
    },
}
CALLS = (
    {SECRET: "7"},  # repaired
    {SECRET: f"{SECRET}!"},
    {"word": f"{SECRET} 3"},
    {SECRET: 7, f"my/{SECRET}": 1},
    {f"{SECRET}~1": {SECRET: [SECRET]}},
)
WRITTEN = (
    *(
        f'<tool_call>\n{{"name": "open_door", "arguments": {json.dumps(call)}}}\n</tool_call>'
        for call in CALLS
    ),
    f'<tool_call>\n{{"name": "{SECRET}", "arguments": {{}}}}\n</tool_call>',
    f'<tool_call>\n{{"name": "open_door", "arguments": {{"{SECRET}": 1',
    f"It is {SECRET}.",
)


def wait_until(true: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LoopThread, EngineUpstream]]:
    thread = LoopThread()
    model = make_model(tmp_path_factory.mktemp("models") / "tiny", context=2048)
    upstream = thread.run(EngineUpstream.start(EngineConfig(model=str(model), max_batch=2), "tiny"), 120)
    yield thread, upstream
    thread.run(upstream.close())
    thread.close()


def leave(server: LiveServer, body: dict[str, Any], stream: bool) -> None:
    """After long enough for what the model writes before it stalls, on a busy machine too."""
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(server.base_url + "/chat/completions", json={**body, "stream": stream}, timeout=1.5)


def talk(file: Path, redact: bool, engine: tuple[LoopThread, EngineUpstream]) -> None:
    """Every kind of row: calls of every verdict, an attempt broken off, errors, prompts without a prefix."""
    ledger = Ledger.open(file, LedgerLimits(redact=redact))
    plan = Attempts()
    with serving(ScriptedUpstream(plan), mode=GuardMode.full, ledger=ledger) as server:
        for index, text in enumerate(WRITTEN):
            key = plan.plan(f"{SECRET} {index}", text)
            server.post({"messages": [user(key)], "tools": [TOOL]})
        server.post({"messages": [user(plan.plan("fails", Script((UpstreamUnavailable(SECRET),))))]})
        key = plan.plan("gone", Script((SECRET, Stall(30))))
        leave(server, {"messages": [user(key)]}, True)
    thread, upstream = engine
    with serving(upstream, thread=thread, ledger=ledger) as server:
        for word in ("one", "two"):
            begun = (
                f"You are {SECRET} {word} {redact} {SECRET}. "  # what was computed before would miss nothing
            )
            system = {"role": "system", "content": begun + "Be brief. " * 5}
            body: dict[str, Any] = {
                "messages": [system, user(f"Say {SECRET}")],
                "tools": [TOOL],
                "max_tokens": 4,
            }
            result = [
                {"role": "assistant", "content": SECRET},
                {"role": "tool", "tool_call_id": "c", "content": f"{word} {SECRET}"},
            ]
            server.post({**body, "prompt_cache_key": f"s{redact}"})
            server.post({**body, "messages": [*body["messages"], *result], "prompt_cache_key": f"s{redact}"})
    ledger.close()


def test_redacted_no_word_is_in_the_file(tmp_path: Path, engine: tuple[LoopThread, EngineUpstream]) -> None:
    for redact in (False, True):
        file = tmp_path / f"{redact}.sqlite"
        talk(file, redact, engine)
        written = b"".join(path.read_bytes() for path in tmp_path.glob(f"{redact}*"))
        assert (SECRET.encode() in written) is not redact
        records = [entry.record for entry in read_entries(file)]
        missed = [one["cache"] for one in records if one["cache"] and one["cache"]["before"]]
        assert missed, "a prompt lost its prefix, and the text around that place was looked at"
        assert all((one["before"] == "[redacted]") is redact for one in missed)
        assert {one["verdict"] for one in records} == {"repaired", "failed", "none"}
        assert [one["ending"] for one in records].count("abandoned") == 1
        rules = {problem["rule"] for one in records for problem in one["problems"]}
        assert {"required", "type", "unknown_tool"} <= rules


def test_the_log_quotes_names_of_arguments_and_errors_of_upstreams_alone(
    tmp_path: Path, engine: tuple[LoopThread, EngineUpstream], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    talk(tmp_path / "ledger.sqlite", False, engine)
    lines = [one.getMessage() for one in caplog.records]
    assert sum(f"at /{SECRET} (" in line for line in lines) == 2
    assert sum(line.startswith("failed: ") and f"turn 1: {SECRET} (" in line for line in lines) == 1
    assert sum(SECRET in line for line in lines) == 3


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("reasked", [False, True], ids=["first", "reasked"])
def test_what_an_abandoned_attempt_had_written_is_kept(stream: bool, reasked: bool) -> None:
    plan, accounts = Attempts(), Accounts()
    going_on = Script((*"abc", CALL[:30], Stall(30), CALL[30:]))
    policy = GuardPolicy(mode=GuardMode.full, reask=ReaskLimits(seconds=60))
    with serving(ScriptedUpstream(plan), policy=policy, sinks=(accounts,)) as server:
        key = plan.plan("go on", *((HOPELESS_CALL,) if reasked else ()), going_on)
        leave(server, {"messages": [user(key)], "tools": TOOLS}, stream)
        wait_until(lambda: accounts.kept)
    account = accounts.kept[-1]
    assert account.ending is Ending.abandoned
    assert len(account.attempts) == 1 + reasked
    last = account.attempts[-1]
    assert (last.text, last.error) == ("abc" + CALL[:30], "stopped")
    assert last.usage.completion_tokens == 4
    assert account.usage.completion_tokens >= 4
    assert [attempt.text for attempt in account.attempts[:-1]] == [HOPELESS_CALL] * reasked
    kept = {refused: to_record(account, False, refused)["attempts"] for refused in (False, True)}
    assert [one["text"] for one in kept[False]] == ["", last.text] if reasked else [last.text], (
        "not unless asked"
    )
    assert [one["text"] for one in kept[True]] == [attempt.text for attempt in account.attempts]


def test_what_a_broken_stream_had_written_is_kept() -> None:
    plan, accounts = Attempts(), Accounts()
    with serving(ScriptedUpstream(plan), sinks=(accounts,)) as server:
        key = plan.plan("x", Script(("abc", UpstreamUnavailable("it fell over"))))
        server.post({"messages": [user(key)]})
    (attempt,) = accounts.kept[-1].attempts
    assert attempt.text == "abc"
    assert "it fell over" in attempt.error
