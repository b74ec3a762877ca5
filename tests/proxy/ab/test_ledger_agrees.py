"""The sessions of real clients, kept by a ledger and replayed: both sides have the same figures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import anthropic

from proxy.ab.from_ledger import ledger_workload
from proxy.ab.measured import Delivered, Results
from proxy.ab.store import ResultStore
from proxy.cli.ab_run import run_ab
from proxy.conversation.request import ChatRequest
from proxy.conversation.verdict import GuardMode
from proxy.records.ledger import Entry, Ledger, LedgerLimits, read_entries
from proxy.upstreams.scripted import Script, ScriptedUpstream
from tests.proxy.ab.test_run import request
from tests.proxy.live import LiveServer, LoopThread, serving
from tests.proxy.requests import CALL, HOPELESS_CALL, SLOPPY_CALL, TOOLS, WEATHER

# What the model writes in each turn, when it is asked and when it is asked again.
TURNS = (
    (CALL, ""),
    (SLOPPY_CALL, ""),
    (HOPELESS_CALL, CALL),
    (f"I look.\n{CALL}\n{SLOPPY_CALL.replace('Lisbon', 'Oslo')}", ""),
    (HOPELESS_CALL, HOPELESS_CALL),
    ("It rains.", ""),
)


def play(asked: ChatRequest) -> Script:
    """By the number of the client's turns; an answer of the model behind the last of them is asked again."""
    texts = [message.text for message in asked.messages]
    mine = [text.startswith(("go", "seen")) for text in texts]
    first, again = TURNS[min(sum(mine), len(TURNS)) - 1]
    return Script((first if mine[-1] else again,), format="hermes")


def openai_loop(server: LiveServer, stream: bool) -> None:
    """An agent's loop as the SDK of OpenAI drives it; where a turn has no call the user goes on."""
    client = server.client()
    messages: list[Any] = [{"role": "user", "content": f"go {stream}"}]
    asked: Any = {"model": "scripted", "messages": messages, "tools": TOOLS}
    for number in range(len(TURNS)):
        if stream:
            with client.chat.completions.stream(**asked) as events:
                message = events.get_final_completion().choices[0].message
        else:
            message = client.chat.completions.create(**asked).choices[0].message
        messages.append(message.model_dump(include={"role", "content", "tool_calls"}, exclude_none=True))
        called = message.tool_calls or []
        results = [{"role": "tool", "tool_call_id": one.id, "content": "21 degrees"} for one in called]
        messages += (
            [*results[:-1], {**results[-1], "content": f"seen {number}"}]
            if results
            else [{"role": "user", "content": f"go on {number}"}]
        )


def anthropic_loop(server: LiveServer) -> None:
    client = anthropic.Anthropic(base_url=server.root, api_key="none", max_retries=0)
    tool: Any = {"name": "get_weather", "input_schema": WEATHER["function"]["parameters"]}
    messages: list[Any] = [{"role": "user", "content": "go"}]
    for number in range(len(TURNS)):
        answer = client.messages.create(model="scripted", max_tokens=50, messages=messages, tools=[tool])
        messages.append({"role": "assistant", "content": [one.model_dump() for one in answer.content]})
        called = [one for one in answer.content if one.type == "tool_use"]
        results = [{"type": "tool_result", "tool_use_id": one.id, "content": "21 degrees"} for one in called]
        if results:
            results[-1]["content"] = f"seen {number}"
        messages.append({"role": "user", "content": results or f"go on {number}"})


def turns_of(results: Results, arm: str) -> list[Any]:
    return sorted(results.turns_of(arm, 1), key=lambda turn: (int(turn.item), turn.number))


def by_session(entries: list[Entry]) -> list[Entry]:
    """In the order of the replay: one session after the other."""
    sessions = list(dict.fromkeys(entry.session for entry in entries))
    return sorted(entries, key=lambda entry: (sessions.index(entry.session), entry.id))


def test_the_figures_of_a_replay_are_those_of_the_ledger(thread: LoopThread, tmp_path: Path) -> None:
    file, out = tmp_path / "ledger.sqlite", tmp_path / "out"
    ledger = Ledger.open(file, LedgerLimits(requests=True))
    with serving(ScriptedUpstream(play), mode=GuardMode.full, ledger=ledger, thread=thread) as server:
        openai_loop(server, stream=True)
        openai_loop(server, stream=False)
        anthropic_loop(server)
    ledger.close()
    entries = by_session(list(read_entries(file, oldest_first=True)))
    assert len(entries) == 3 * len(TURNS)
    verdicts = Counter(entry.verdict for entry in entries)
    assert verdicts == {"clean": 3, "repaired": 6, "reasked": 3, "failed": 3, "none": 3}
    calls = sum(entry.record["calls"] for entry in entries)
    workload = ledger_workload(file)
    assert [item.turns for item in workload.items] == [len(TURNS)] * 3
    assert workload.recorded == {
        "requests": len(entries),
        "calls delivered": calls,
        "calls delivered against their schemas": 0,
        "prompt tokens": sum(entry.record["usage"]["prompt_tokens"] for entry in entries),
        **{f"requests with the verdict {name}": count for name, count in verdicts.items()},
    }
    with (
        serving(ScriptedUpstream(play), mode=GuardMode.off, thread=thread) as bare,
        serving(ScriptedUpstream(play), mode=GuardMode.full, thread=thread) as guarded,
    ):
        assert run_ab(request(out, bare.base_url, guarded.base_url, ledger=file)) == 0
        results = ResultStore(out).read()
        first, second = turns_of(results, bare.base_url), turns_of(results, guarded.base_url)
    for entry, turn in zip(entries, second, strict=True):
        record = entry.record
        assert (turn.delivered is Delivered.valid) is (record["calls"] > 0), (entry.verdict, turn)
        assert turn.broken is (entry.verdict == "failed")
        assert turn.attempts == len(record["attempts"])
        assert turn.prompt_tokens == record["usage"]["prompt_tokens"]
        assert turn.completion_tokens == record["usage"]["completion_tokens"]
    for entry, turn in zip(entries, first, strict=True):
        # of two calls the good one goes out, and the other stays in the text beside it
        flawed = turn.broken or turn.flaw.endswith("beside calls")
        assert flawed is (entry.verdict in ("repaired", "reasked", "failed")), (entry.verdict, turn)
