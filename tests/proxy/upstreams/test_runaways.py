"""Structured calls that run away over real HTTP: their stream is left, and they are asked for again."""

from __future__ import annotations

import time

import pytest

from proxy.guard.policy import GuardPolicy
from proxy.upstreams.scripted import Stall
from tests.proxy.attempts import Accounts, ask
from tests.proxy.requests import LISBON, TOOLS
from tests.proxy.upstreams.stage import hosted
from tests.proxy.upstreams.wire import Cut, Heard, Reply, WireUpstream, call_chunks, called, chunk

STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
GOOD = called(LISBON)
CLOSED = {
    "type": "function",
    "function": {
        "name": "edit",
        "parameters": {
            "type": "object",
            "properties": {"path": {"type": "string"}, "text": {"type": "string"}},
            "additionalProperties": False,
        },
    },
}
COUNTED = " ".join(map(str, range(2000)))


def named(beginning: str) -> list[bytes]:
    """A name in pieces, no two alike."""
    head = {"index": 0, "id": "call_0", "type": "function"}
    first = chunk({"tool_calls": [{**head, "function": {"name": beginning, "arguments": ""}}]})
    rest = [
        chunk({"tool_calls": [{"index": 0, "function": {"name": f"_{number}"}}]}) for number in range(1000)
    ]
    return [first, *rest]


LOST = {
    "a name without end": (named("get_moon"), "unknown_tool"),
    "a declared name without end": (named("get_weather"), "unknown_tool"),
    "a name of no tool": (call_chunks(0, "get_moon", '{"a": "' + COUNTED), "unknown_tool"),
    "a key of no tool": (call_chunks(0, "edit", '{"colour": "' + COUNTED), "additionalProperties"),
    "the second of two": (
        [*call_chunks(0, *LISBON), *call_chunks(1, "get_moon", '{"a": "' + COUNTED)],
        "unknown_tool",
    ),
}


def is_left(heard: Heard) -> bool:
    until = time.monotonic() + 10
    while not heard.left and time.monotonic() < until:
        time.sleep(0.01)
    return heard.left


@STREAM
@pytest.mark.parametrize("place", LOST)
def test_it_is_ended_and_asked_again(place: str, stream: bool) -> None:
    steps, rule = LOST[place]
    wire = WireUpstream(GOOD)
    wire.plan("hi", Reply((*steps, Stall(300))), GOOD)
    accounts = Accounts()
    with hosted(wire, sinks=(accounts,)) as chain:
        seen = ask(chain.server, "hi", stream, model="wire", tools=[*TOOLS, CLOSED])
        assert (seen.verdict, seen.calls, seen.reason) == ("reasked", (LISBON,), "tool_calls")
    assert is_left(wire.heard[0]), "the other server may stop, too"
    first = accounts.kept[-1].attempts[0]
    assert first.problems[0].rule == rule
    assert first.usage.completion_tokens > 0


@STREAM
def test_one_that_runs_away_while_asked_again_is_ended_too(stream: bool) -> None:
    wire = WireUpstream(GOOD)
    bad = called(("get_weather", '{"city": "Lisbon", "days": "soon"}'))
    wire.plan("hi", bad, Reply((*named("get"), Stall(300))), GOOD)
    with hosted(wire) as chain:
        seen = ask(chain.server, "hi", stream, model="wire")
        assert (seen.verdict, seen.calls, seen.attempts) == ("reasked", (LISBON,), 3)


def test_a_long_call_of_a_declared_tool_is_waited_for() -> None:
    wire = WireUpstream(called(("edit", '{"path": "a", "text": "' + COUNTED + '"}')))
    with hosted(wire) as chain:
        seen = ask(chain.server, "hi", False, model="wire", tools=[CLOSED])
        assert (seen.verdict, len(seen.calls)) == ("clean", 1)


def test_a_long_call_whose_stream_breaks_is_asked_for_elsewhere_as_before() -> None:
    wire = WireUpstream(GOOD)
    wire.plan("hi", Reply((*call_chunks(0, "edit", '{"path": "' + COUNTED), Cut())), GOOD)
    accounts = Accounts()
    with hosted(wire, sinks=(accounts,)) as chain:
        seen = ask(chain.server, "hi", False, model="wire", tools=[*TOOLS, CLOSED])
        assert (seen.verdict, seen.calls) == ("clean", (LISBON,))
    assert len(accounts.kept[-1].attempts) == 1


def test_without_the_guard_it_goes_on() -> None:
    wire = WireUpstream(Reply((*named("get"), chunk({}, "tool_calls"))))
    with hosted(wire, GuardPolicy()) as chain:
        seen = ask(chain.server, "hi", False, {"x-fortieth-guard": "off"}, model="wire")
        assert seen.calls[0][0].endswith("_999")
