"""Asking again over real HTTP: servers that refuse what we add, and calls made of structured output."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.guard.policy import GuardPolicy
from tests.proxy.attempts import Accounts, ask
from tests.proxy.requests import BAD_TYPE_CALL, LISBON
from tests.proxy.upstreams.stage import hosted
from tests.proxy.upstreams.wire import Reply, WireUpstream, called, refused, told

BAD = called(("get_weather", '{"city": "Lisbon", "days": "soon"}'))
LACKS = called(("get_weather", '{"days": 2}'))
GOOD = called(LISBON)
ARGUMENTS = told('{"city": "Lisbon"}')
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


class Picky(WireUpstream):
    """Answers in turn what it does not refuse with 400, as servers do that know less than OpenAI's."""

    def __init__(self, refuses: tuple[str, ...], *replies: Reply) -> None:
        super().__init__(GOOD)
        self._refuses = refuses
        self._turns = list(replies)
        self.refusals = 0

    def choose(self, body: dict[str, Any]) -> Reply:
        named = isinstance(body.get("tool_choice"), dict)
        if any(one in body for one in self._refuses) or (named and "named" in self._refuses):
            self.refusals += 1
            return refused(400, f"unsupported: one of {', '.join(self._refuses)}")
        return self._turns.pop(0) if len(self._turns) > 1 else self._turns[0]


PICKY = {
    "temperature": ("temperature",),
    "named": ("named",),
    "both": ("temperature", "named"),
    "limit": ("max_tokens",),
    "all": ("temperature", "named", "max_tokens", "parallel_tool_calls"),
}


@STREAM
@pytest.mark.parametrize("refuses", PICKY.values(), ids=PICKY)
def test_servers_that_refuse_what_we_add_are_asked_without_it(refuses: tuple[str, ...], stream: bool) -> None:
    wire = Picky(refuses, BAD, GOOD)
    accounts = Accounts()
    with hosted(wire, sinks=(accounts,)) as chain:
        seen = ask(chain.server, "hi", stream, model="wire")
        assert (seen.verdict, seen.calls, seen.reason) == ("reasked", (LISBON,), "tool_calls")
    named = "named" in refuses
    fields = bool(set(refuses) & {"max_tokens", "parallel_tool_calls"})  # left out where they are sent
    assert wire.refusals == named + fields, "no temperature is sent where the client sent none"
    assert len(accounts.kept[-1].attempts) == 2 + named
    last = wire.heard[-1].body
    assert (last["tool_choice"] == "auto") is named


@STREAM
def test_at_last_the_arguments_are_asked_for_alone(stream: bool) -> None:
    wire = Picky((), BAD, BAD, ARGUMENTS)
    accounts = Accounts()
    with hosted(wire, sinks=(accounts,)) as chain:
        seen = ask(chain.server, "hi", stream, model="wire")
        assert (seen.verdict, seen.calls, seen.content) == ("reasked", (LISBON,), "")
    assert [one.way for one in accounts.kept[-1].attempts] == ["", "correction", "structured"]
    body = wire.heard[-1].body
    schema = body["response_format"]["json_schema"]["schema"]
    assert (schema["required"], "tools" in body) == (["city"], False)
    assert [message["role"] for message in body["messages"]] == ["user", "user"], "no failed attempt is shown"


def test_the_arguments_of_an_unreadable_text_that_names_its_tool_are_asked_for_alone() -> None:
    unread = told('```json\n{"name": "get_weather", "arguments": {"city": "Lisbon", "days": 2, 3}}\n```')
    wire = Picky((), unread, unread, ARGUMENTS)
    with hosted(wire) as chain:
        seen = ask(chain.server, "hi", False, model="wire")
        assert (seen.verdict, seen.calls) == ("reasked", (LISBON,))
    assert [one.body["tool_choice"] for one in wire.heard[:2]] == ["auto", "required"]


@pytest.mark.parametrize(
    "reply", [ARGUMENTS, told('```json\n{"city": "Lisbon"}\n```')], ids=["bare", "fenced"]
)
def test_a_server_without_structured_output_is_asked_for_the_same_in_words(reply: Reply) -> None:
    wire = Picky(("response_format",), BAD, BAD, reply)
    with hosted(wire) as chain:
        seen = ask(chain.server, "hi", False, model="wire")
        assert (seen.verdict, seen.calls) == ("reasked", (LISBON,))
    assert wire.refusals == 1


def test_what_the_model_lacks_is_not_invented() -> None:
    wire = Picky((), LACKS, LACKS, told('{"cannot_call_because": "Which city?"}'))
    with hosted(wire) as chain:
        seen = ask(chain.server, "hi", False, model="wire")
        assert (seen.verdict, seen.calls, seen.content) == ("reasked", (), "Which city?")
    forms = wire.heard[-1].body["response_format"]["json_schema"]["schema"]["anyOf"]
    assert [form["required"] for form in forms] == [["city"], ["cannot_call_because"]]


@pytest.mark.parametrize("words", ["I cannot.", '{"city": 5.5e999999}', '{"days": 2}'])
def test_structured_output_is_judged_like_any_call(words: str) -> None:
    wire = Picky((), BAD, BAD, told(words))
    with hosted(wire) as chain:
        seen = ask(chain.server, "hi", False, {"x-fortieth-give-up": "text"}, model="wire")
        assert (seen.verdict, seen.calls) == ("failed", ())


def test_with_two_calls_missing_they_are_asked_for_as_calls() -> None:
    two = called(("get_weather", '{"days": 1}'), ("get_weather", '{"days": 2}'))
    wire = Picky((), two, two, GOOD)
    accounts = Accounts()
    with hosted(wire, GuardPolicy(), sinks=(accounts,)) as chain:
        ask(chain.server, "hi", False, model="wire")
    assert [one.way for one in accounts.kept[-1].attempts] == ["", "correction", "untouched"]


def test_a_fork_that_is_too_long_for_the_context_is_left() -> None:
    wire = WireUpstream(told(BAD_TYPE_CALL))
    wire.plan(
        "hi", told(BAD_TYPE_CALL), refused(400, "context length exceeded", "context_length_exceeded"), GOOD
    )
    with hosted(wire) as chain:
        seen = ask(chain.server, "hi", False, model="wire")
        assert (seen.verdict, seen.calls) == ("reasked", (LISBON,))
    assert len(wire.heard[-1].body["messages"]) == 1
