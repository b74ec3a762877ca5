"""The guard over real HTTP, streamed and not: what the client gets of each turn, and what the model is
told.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.conversation.message import Role
from proxy.conversation.request import ToolMode
from proxy.upstreams.base import UpstreamCall, UpstreamReasoning
from proxy.upstreams.scripted import Script
from tests.proxy.attempts import Ring, Seen, ask
from tests.proxy.requests import BAD_TYPE_CALL, CALL, CUT_CALL, HOPELESS_CALL, LISBON, SLOPPY_CALL

PORTO = ("get_weather", '{"city": "Porto"}')
PORTO_CALL = CALL.replace("Lisbon", "Porto")
UNKNOWN_CALL = CALL.replace("get_weather", "get_wether")
TIME_CALL = '<tool_call>\n{"name": "get_time", "arguments": {}}\n</tool_call>'
NOON = ("get_time", "{}")
GOOD = UpstreamCall("get_weather", '{"city": "Lisbon"}')
BAD = UpstreamCall("get_weather", '{"days": 2}')
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


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
        (f"One moment.\n{BAD_TYPE_CALL}", f"Sorry!\n{CALL}"),
        Seen(200, "One moment.\n", "", (LISBON,), "tool_calls", "reasked", 2),
    ),
    "text_behind_is_kept": (
        (Script((f"{BAD_TYPE_CALL}\nThen.",), format="hermes"), CALL),
        Seen(200, "\nThen.", "", (LISBON,), "tool_calls", "reasked", 2),
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
    "a_kept_call_in_the_place_of_the_missing_one": (
        (f"{CALL}\n{BAD_TYPE_CALL}", CALL),
        Seen(200, calls=(LISBON,), reason="tool_calls", verdict="reasked", attempts=3),
    ),
    "a_kept_call_in_its_place_once": (
        (f"{CALL}\n{BAD_TYPE_CALL}", CALL, PORTO_CALL),
        Seen(200, calls=(LISBON, PORTO), reason="tool_calls", verdict="reasked", attempts=3),
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
    "the_correction_said_back_is_no_answer": (
        (HOPELESS_CALL, "The call of get_weather was not executed. Please say which city.", CALL),
        Seen(200, calls=(LISBON,), reason="tool_calls", verdict="reasked", attempts=3),
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
            'Let me see.\n[The call of get_weather was not executed: {"days": 2}]',
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
    "a_cut_list_keeps_what_was_whole": (
        (Script((f"{PORTO_CALL}\n{CUT_CALL}",), finish="length"), CALL),
        Seen(200, calls=(PORTO, LISBON), reason="tool_calls", verdict="reasked", attempts=2),
    ),
    "a_cut_list_may_go_on": (
        (Script((f"{PORTO_CALL}\n{CUT_CALL}",), finish="length"), f"{CALL}\n{TIME_CALL}"),
        Seen(200, calls=(PORTO, LISBON, NOON), reason="tool_calls", verdict="reasked", attempts=2),
    ),
    "structure_cut_in_the_last_of_two": (
        (
            Script((UpstreamCall(*PORTO), UpstreamCall("get_weather", '{"city": "Lis')), finish="length"),
            GOOD,
        ),
        Seen(200, calls=(PORTO, LISBON), reason="tool_calls", verdict="reasked", attempts=2),
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
    assert replace(seen, usage={}, give_up="", told="") == expected
    assert (seen.give_up, bool(seen.told)) == (("text", True) if seen.verdict == "failed" else ("", False))
    assert len(full.attempts.asked[key]) == seen.attempts
    assert all(played.closed for played in full.upstream.played)


def test_the_fork_names_what_was_wrong(full: Ring) -> None:
    key = full.attempts.plan("fork", f"Let me see.\n{BAD_TYPE_CALL}", CALL)
    ask(full.server, key, False, temperature=0.9, seed=7)
    first, second = full.attempts.asked[key]
    assert second.messages[: len(first.messages)] == first.messages
    attempt, correction = second.messages[len(first.messages) :]
    assert (attempt.role, attempt.text) == (Role.assistant, f"Let me see.\n{BAD_TYPE_CALL}")
    assert correction.role is Role.user
    for words in ("get_weather", "/days", "(type)", '"soon"', '"integer"'):
        assert words in correction.text
    assert (second.tool_choice.mode, second.tool_choice.name) == (ToolMode.named, "get_weather")
    assert second.sampling.temperature == 0.3
    assert second.sampling.seed == 7
    assert (first.constrained, second.constrained) == (False, True)
    assert (first.settled, second.settled) == ({}, {"get_weather": {"city": "Lisbon"}})
    assert not second.parallel_tool_calls


def test_structured_attempts_get_their_answer_as_results(full: Ring) -> None:
    key = full.attempts.plan("results", Script((BAD, UpstreamCall("get_time", "{}"))), GOOD)
    ask(full.server, key, False)
    call, bad, good = full.attempts.asked[key][1].messages[1:]
    assert [one.name for one in call.calls] == ["get_weather", "get_time"]
    assert [bad.call_id, good.call_id] == [one.id for one in call.calls]
    assert '"city" is a required property' in bad.text
    assert "right" in good.text


TWO_BAD = (BAD_TYPE_CALL, BAD_TYPE_CALL.replace("Lisbon", "Porto"))
# an attempt whose calls are refused, then what the next one need not write anew
SETTLED: dict[str, tuple[Script, dict[str, Any]]] = {
    "structure": (Script((UpstreamCall("get_weather", '{"city": "Rome", "days": "x"}'),)), {"city": "Rome"}),
    "nothing_right": (Script((BAD_TYPE_CALL.replace('"Lisbon"', "5.5e999999"),)), {}),
    "beside_a_right_one": (Script((f"{PORTO_CALL}\n{BAD_TYPE_CALL}",)), {"city": "Lisbon"}),
    "of_the_same_tool_twice": (Script(TWO_BAD), {}),
    "cut": (Script((BAD_TYPE_CALL[:-4],), finish="length"), {}),
    "another_tool": (Script((UNKNOWN_CALL,)), {}),
}


@pytest.mark.parametrize("name", SETTLED)
def test_what_was_right_in_a_refused_call_is_settled(full: Ring, name: str) -> None:
    script, settled = SETTLED[name]
    key = full.attempts.plan(f"settled {name}", script, CALL)
    ask(full.server, key, False)
    assert full.attempts.asked[key][1].settled == ({"get_weather": settled} if settled else {})


def test_the_fork_grows_and_cools(full: Ring) -> None:
    key = full.attempts.plan("grows", BAD_TYPE_CALL)
    ask(full.server, key, False)
    asked = full.attempts.asked[key]
    assert [len(one.messages) for one in asked] == [1, 3, 1], "then the conversation as it was"
    assert [one.sampling.temperature for one in asked] == [None] * 3, "which the client did not send"
    for sent, then in ((1.5, [1.5, 0.3, 1.5]), (0.0, [0.0, 0.0, 0.3])):
        ask(full.server, full.attempts.plan(f"cools {sent}", BAD_TYPE_CALL), False, temperature=sent, seed=7)
        asked = full.attempts.asked[f"cools {sent}"]
        assert [one.sampling.temperature for one in asked] == then
        assert [one.sampling.seed for one in asked] == [7, 7, 8]
    assert [one.way for one in full.accounts.kept[-1].attempts] == ["", "correction", "untouched"]


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
    assert (seen.verdict, seen.attempts, seen.calls) == ("failed", 2, ())
    assert seen.content == 'Hi.\n[The call of get_weather was not executed: {"days": 2}]'


@pytest.mark.parametrize("pair", [(CALL, BAD_TYPE_CALL), (GOOD, BAD)], ids=["text", "structure"])
@pytest.mark.parametrize(
    ("fields", "calls"),
    [
        ({"parallel_tool_calls": False}, (PORTO,)),
        ({"tool_choice": {"type": "function", "function": {"name": "get_time"}}}, (("get_time", "{}"),)),
        ({}, (LISBON, PORTO)),
    ],
    ids=["one_call", "another_tool", "free"],
)
def test_nothing_is_kept_against_the_clients_choice(
    full: Ring, pair: tuple[Any, ...], fields: dict[str, Any], calls: tuple[tuple[str, str], ...]
) -> None:
    due = TIME_CALL if "tool_choice" in fields else PORTO_CALL
    key = full.attempts.plan(f"against {fields} {pair}", Script(pair), due)
    seen = ask(full.server, key, False, **fields)
    assert (seen.verdict, seen.calls, seen.attempts) == ("reasked", calls, 2)
    told = "".join(message.text for message in full.attempts.asked[key][1].messages[2:])
    assert ("Right and kept" in told or "This call is right" in told) is (not fields)
    assert ("one call was allowed" in told) is ("parallel_tool_calls" in fields)


def test_only_the_call_that_was_cut_is_asked_for(full: Ring) -> None:
    key = full.attempts.plan("cut list", Script((f"{PORTO_CALL}\n{CUT_CALL}",), finish="length"), CALL)
    ask(full.server, key, False)
    told = full.attempts.asked[key][1].messages[-1].text
    assert told.count("was not executed") == 1
    assert "truncated" in told
    assert full.accounts.kept[-1].attempts[0].problems[0].rule == "truncated"
