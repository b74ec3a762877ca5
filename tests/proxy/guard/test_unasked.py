"""A call where none may be made: no tools, or `tool_choice: none`."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.upstreams.base import UpstreamCall
from proxy.upstreams.scripted import Script
from repair.tools import ToolSet
from repair.unasked import Unasked
from tests.proxy.attempts import Ring, ask
from tests.proxy.requests import CALL, TOOLS
from tests.repair.corpus import by_char, whole

WORDS = "Lisbon is sunny, as far as I know."
NO_TOOLS: dict[str, Any] = {"tools": []}
NONE: dict[str, Any] = {"tools": TOOLS, "tool_choice": "none"}
BARE = '{"name": "get_weather", "arguments": {"city": "Lisbon"}}'
SPLITS = pytest.mark.parametrize("split", [whole, by_char], ids=["at_once", "by_char"])
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@STREAM
@SPLITS
@pytest.mark.parametrize(
    ("fields", "text", "before"),
    [
        (NO_TOOLS, CALL, ""),
        (NO_TOOLS, f"I will look.\n{CALL}", "I will look.\n"),
        (NO_TOOLS, f"a < b, and\n<p>\nso:\n\n{CALL}", "a < b, and\n<p>\nso:\n\n"),
        (NONE, CALL, ""),
        (NONE, BARE, ""),
        (NONE, '[TOOL_CALLS]get_weather[ARGS]{"city": "Lisbon"}', ""),
    ],
    ids=["no_tools", "behind_words", "behind_tags", "none", "bare", "mistral"],
)
def test_the_model_is_asked_for_words(
    full: Ring, fields: dict[str, Any], text: str, before: str, split: Any, stream: bool
) -> None:
    key = full.attempts.plan("in words", Script(tuple(split(text))), WORDS)
    seen = ask(full.server, key, stream, **fields)
    assert (seen.verdict, seen.attempts, seen.reason, seen.calls) == ("reasked", 2, "stop", ())
    assert seen.content == before.rstrip("\n") + ("\n\n" if before else "") + WORDS
    again = full.attempts.asked[key][1]
    assert not again.constrained
    assert "Answer in words" in again.messages[-1].text


@STREAM
def test_a_structured_call_is_asked_for_in_words_too(full: Ring, stream: bool) -> None:
    key = full.attempts.plan("structured", UpstreamCall("get_weather", "{}"), WORDS)
    seen = ask(full.server, key, stream, **NONE)
    assert (seen.verdict, seen.attempts, seen.calls, seen.content) == ("reasked", 2, (), WORDS)


@STREAM
def test_once_and_never_silent(full: Ring, stream: bool) -> None:
    key = full.attempts.plan("again", CALL)
    seen = ask(full.server, key, stream, **NO_TOOLS)
    assert (seen.verdict, seen.attempts, seen.reason, seen.calls) == ("failed", 2, "stop", ())
    assert seen.content == CALL
    assert [one.rule for one in full.accounts.kept[-1].problems] == ["unasked_call"]


@STREAM
@SPLITS
@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (NO_TOOLS, f"So it is written:\n```\n{CALL}\n```\nThat is all."),
        (NO_TOOLS, f"A long line of words with a fence behind it.\n```\n{CALL}\n```"),
        (NO_TOOLS, f"{CALL}\nThis is what a call looks like, in words."),
        (NO_TOOLS, BARE),
        (NO_TOOLS, "<ul>\n<li>one</li>\n</ul>\n[1]: a note\n{ }"),
        ({**NONE, "response_format": {"type": "json_object"}}, BARE),
    ],
    ids=["in_a_fence", "ends_in_a_fence", "words_behind", "no_tools_json", "markup", "json_asked_for"],
)
def test_what_stays_text(full: Ring, fields: dict[str, Any], text: str, split: Any, stream: bool) -> None:
    full.attempts.plan("as it is", Script(tuple(split(text))))
    seen = ask(full.server, "as it is", stream, **fields)
    assert (seen.verdict, seen.attempts, seen.content) == ("none", 1, text)


@STREAM
def test_markup_that_the_client_speaks_of_is_its_own(full: Ring, stream: bool) -> None:
    key = full.attempts.plan("Tools are called with <tool_call>{...}</tool_call>.", CALL)
    seen = ask(full.server, key, stream, **NO_TOOLS)
    assert (seen.verdict, seen.attempts, seen.content) == ("none", 1, CALL)


@STREAM
@pytest.mark.parametrize("mode", ["off", "observe", "repair"])
def test_other_modes_hand_it_on(full: Ring, mode: str, stream: bool) -> None:
    key = full.attempts.plan("a mode", CALL, WORDS)
    seen = ask(full.server, key, stream, {"x-fortieth-guard": mode}, **NO_TOOLS)
    assert (seen.verdict, seen.attempts, seen.content) == ("none", 1, CALL)


def test_prose_does_not_wait() -> None:
    held = Unasked(ToolSet(()), tuple, json_asked=False)
    text = "Let me say so.\n\n- one\n- a < b [x] {y}\n" + "words " * 50
    assert "".join(map(held.feed, text)) == text
    assert [held.feed(one) for one in ("\n", "see\n", "[a](b)", " and" * 20)] == [
        "\n",
        "see\n",
        "",
        "[a](b)" + " and" * 20,
    ]
