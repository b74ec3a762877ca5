"""Stop strings of the client: they end the content, and never a call."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.codecs.openai_request import decode_request
from proxy.guard.structured import ask_for_arguments
from proxy.upstreams.base import UpstreamCall, UpstreamReasoning
from proxy.upstreams.scripted import Script
from repair.tools import ToolSet
from tests.proxy.attempts import Ring, Seen, ask
from tests.proxy.requests import CALL, HOPELESS_CALL, LISBON, TOOLS, body

STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
SPLIT = pytest.mark.parametrize("split", [False, True], ids=["at_once", "by_character"])
CUTTERS = ("\n", "}", "</", '"', "Lisbon")
XML_CALL = (
    "<tool_call>\n<function=get_weather>\n<parameter=city>\nLisbon\n</parameter>\n</function>\n</tool_call>"
)


def play(full: Ring, key: str, stream: bool, split: bool, text: str, *more: Any, **fields: Any) -> Seen:
    """The text in pieces, and what comes behind it."""
    steps = (*(text if split else (text,)), *more)
    key = full.attempts.plan(f"{key} {stream} {split} {fields.get('stop')}", Script(steps), CALL)
    return ask(full.server, key, stream, **fields)


@STREAM
@SPLIT
@pytest.mark.parametrize("stop", CUTTERS)
@pytest.mark.parametrize("call", [CALL, f"\n\n{CALL}\n", XML_CALL], ids=["bare", "blank_around", "xml"])
def test_no_call_is_cut(full: Ring, call: str, stop: str, split: bool, stream: bool) -> None:
    seen = play(full, f"call {call}", stream, split, call, stop=stop)
    assert (seen.calls, seen.reason, seen.attempts, seen.content) == ((LISBON,), "tool_calls", 1, "")


@STREAM
@pytest.mark.parametrize("stop", CUTTERS)
def test_nor_is_a_structured_one_or_the_reasoning(full: Ring, stop: str, stream: bool) -> None:
    thought = UpstreamReasoning(f"a{stop}b")
    key = full.attempts.plan(f"structure {stop} {stream}", Script((thought, UpstreamCall(*LISBON))))
    seen = ask(full.server, key, stream, stop=[stop])
    assert (seen.calls, seen.reasoning, seen.attempts) == ((LISBON,), f"a{stop}b", 1)


@STREAM
@SPLIT
def test_nor_the_thinking_in_the_text(full: Ring, split: bool, stream: bool) -> None:
    text = "<think>One.\nTwo.</think>\n\nFirst line\nsecond line"
    seen = play(full, "think", stream, split, text, stop="\n")
    assert (seen.reasoning, seen.content, seen.reason) == ("One.\nTwo.", "First line", "stop")


@STREAM
@SPLIT
@pytest.mark.parametrize(
    "fields", [{}, {"tools": []}, {"tool_choice": "none"}], ids=["tools", "bare", "none"]
)
@pytest.mark.parametrize("mode", ["full", "off", "observe", "repair"])
def test_the_content_ends_before_it_and_the_upstream_too(
    full: Ring, mode: str, fields: dict[str, Any], split: bool, stream: bool
) -> None:
    key = f"content {mode} {fields} {stream} {split}"
    steps = tuple("It rains. END of it") if split else ("It rains. END of it",)
    full.attempts.plan(key, Script((*steps, *["more "] * 50), finish="length"))
    seen = ask(full.server, key, stream, {"x-fortieth-guard": mode}, stop=["END", "never"], **fields)
    verdict = "unjudged" if mode == "off" and fields.get("tools") != [] else "none"
    assert (seen.content, seen.reason, seen.verdict, seen.attempts) == ("It rains. ", "stop", verdict, 1)
    played = full.upstream.played[-1]
    assert played.closed
    assert played.steps_played <= len(steps)
    assert seen.usage["prompt_tokens"] == 7
    assert seen.usage["completion_tokens"] == (13 if split else 1)


@STREAM
@SPLIT
def test_calls_before_it_go_out_and_what_stands_behind_it_never_was(
    full: Ring, split: bool, stream: bool
) -> None:
    text = f"Well.\n{CALL}\nObservation: 20 degrees\n{HOPELESS_CALL}"
    seen = play(full, "behind", stream, split, text, *["more "] * 50, format="hermes", stop="Observation:")
    assert (seen.calls, seen.reason, seen.attempts) == ((LISBON,), "tool_calls", 1)
    assert seen.content.split() == ["Well."]
    assert not full.upstream.played[-1].finished


@STREAM
def test_a_call_that_is_behind_it_is_not_made(full: Ring, stream: bool) -> None:
    seen = play(full, "line", stream, True, f"I look.\n{CALL}", stop="\n")
    assert (seen.content, seen.calls, seen.reason) == ("I look.", (), "stop")


@STREAM
def test_text_that_only_the_end_shows_to_be_content_ends_before_it_too(full: Ring, stream: bool) -> None:
    inline = CALL.replace("\n", "")
    seen = play(full, "quoted", stream, False, f'The page says "{inline}" and more.', stop="</tool_call>")
    assert (seen.calls, seen.reason) == ((), "stop")
    assert seen.content == 'The page says "' + inline.removesuffix("</tool_call>")


@STREAM
def test_what_only_began_one_is_shown(full: Ring, stream: bool) -> None:
    seen = play(full, "began", stream, True, "It rains. EN", stop="END")
    assert (seen.content, seen.reason) == ("It rains. EN", "stop")


@STREAM
def test_a_refused_call_is_asked_again_and_may_be_answered_in_words(full: Ring, stream: bool) -> None:
    key = full.attempts.plan(f"again {stream}", HOPELESS_CALL, Script(("Which city?\nTell me.", "more")))
    seen = ask(full.server, key, stream, stop="\n")
    assert (seen.verdict, seen.content, seen.reason) == ("reasked", "Which city?", "stop")


def test_the_explanation_of_the_guard_is_not_content_of_the_model(full: Ring) -> None:
    key = full.attempts.plan("given up", HOPELESS_CALL)
    seen = ask(full.server, key, False, {"x-fortieth-give-up": "text"}, stop="\n")
    assert seen.verdict == "failed"
    assert seen.content == "<tool_call>"
    assert seen.told


def test_arguments_asked_for_as_an_answer_are_not_cut() -> None:
    asked = decode_request(json.dumps(body(tools=TOOLS, stop="\n")).encode()).request
    tool = ToolSet.compile(asked.tools).get("get_weather")
    assert tool is not None
    assert ask_for_arguments(asked, tool, False, asked.sampling).sampling.stop == ()
